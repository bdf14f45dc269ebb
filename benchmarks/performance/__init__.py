"""The performance suite (benchmarks room): fl-bench against other ways to do the same rounds, and how cost grows.

`make bench` runs it under pytest-benchmark, keeps what it measured in `results/`, and writes docs/performance.md.
"""
