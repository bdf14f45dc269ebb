"""`python -P -m fl_bench.benchmarks.studies.clusters [DATASET ...]`: measure these data sets, write the section."""

from __future__ import annotations

import sys

from .measure import measure
from .page import RESULTS, write

if __name__ == "__main__":
    measure(sys.argv[1:], RESULTS)
    print(f"written: {write()}")
