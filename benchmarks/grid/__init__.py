"""What is asked (benchmarks room): YAML and command line in, cells out; nothing is trained or loaded here."""
