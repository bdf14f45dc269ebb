"""Results for other tools (benchmarks room): records as data frames, as files, and as runs of experiment trackers."""
