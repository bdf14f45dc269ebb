"""benchmarks room: the command line, grids, executors, records and leaderboards."""
