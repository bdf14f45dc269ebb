"""Pictures made of characters."""

from __future__ import annotations

import numpy as np

from fl_bench.benchmarks.tables.charts import curves, shaded


def test_a_curve_puts_values_where_they_belong() -> None:
    # three rounds from 0 to 10 on three lines: bottom left, middle, top right
    drawn = curves({"up": [0.0, 5.0, 10.0]}, height=3).splitlines()
    assert drawn[0].index("●") > drawn[1].index("●") > drawn[2].index("●")
    assert drawn[0].strip().startswith("10.00")
    assert drawn[2].strip().startswith("0.00")
    assert drawn[-1] == "● up"


def test_a_flat_curve_and_a_single_round() -> None:
    assert "●" in curves({"flat": [3.0, 3.0]})
    assert "●" in curves({"one": [3.0]})


def test_shades_grow_with_counts_and_any_sample_shows() -> None:
    drawn = shaded(np.array([[0, 1], [50, 100]]), rows=["a", "client b"]).splitlines()
    assert drawn[1:] == ["       a    ░░  1", "client b  ▒▒██  150"]
