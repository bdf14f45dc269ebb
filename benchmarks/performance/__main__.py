"""`python -m fl_bench.benchmarks.performance [FILE ...]`: keep what pytest-benchmark measured, and write the page.

Without a file the page is written again from the stored results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .page import write
from .store import keep

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(f"kept in {keep([Path(name) for name in sys.argv[1:]])}")
    print(f"written: {', '.join(str(path) for path in write())}")
