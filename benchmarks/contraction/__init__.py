"""Does the personalization risk contract? Records with risks in, verdicts on the predictions out (benchmarks room)."""
