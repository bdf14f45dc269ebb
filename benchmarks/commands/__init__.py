"""The command line (benchmarks room): a file per command or pair of commands, which `cli.py` assembles."""
