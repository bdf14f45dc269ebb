"""Choosing settings on validation data, with an equal budget for every method (benchmarks room)."""
