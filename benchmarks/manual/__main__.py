"""`python -m fl_bench.benchmarks.manual`: write the reference in docs/method-interface.md again."""

from __future__ import annotations

from .page import write

if __name__ == "__main__":
    print(f"written: {write()}")
