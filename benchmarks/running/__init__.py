"""Who computes (benchmarks room): what an executor is, the local one, the runner of one cell, where it ran."""
