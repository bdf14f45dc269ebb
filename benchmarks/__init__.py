"""benchmarks room: from a grid to a claim; the README lists its wings in the order in which they import."""
