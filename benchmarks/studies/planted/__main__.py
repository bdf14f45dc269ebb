"""`python -P -m fl_bench.benchmarks.studies.planted [--page]`: run the planted study, write its section of the page.

With `--page` the section is written again from the committed files, and nothing is run.
"""

from __future__ import annotations

import sys

from .files import ARMS, CURVES, OUTCOMES, keep
from .page import arm_row, mean_curves, write
from .predictions import check_predictions
from .study import run_all

if __name__ == "__main__":
    if "--page" not in sys.argv[1:]:
        curves, judgements = run_all()
        keep(ARMS, [arm_row(name, curves[name], judgements[name]) for name in curves])
        keep(OUTCOMES, list(check_predictions(curves, judgements)))
        keep(CURVES, list(mean_curves(curves)))
    print(f"written: {write()}")
