"""What is kept (benchmarks room): records of runs, in folders or in one file, and leases on those being made."""
