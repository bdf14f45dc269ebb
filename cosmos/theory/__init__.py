"""Does the personalization risk contract? Fits, one-step regressions and verdicts for curves of risks; no torch."""
