"""Records in, lines out (benchmarks room): a pure function, with files that are the same byte for byte."""
