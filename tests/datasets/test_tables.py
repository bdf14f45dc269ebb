"""Mixed columns to numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fl_bench.datasets.tables import encode_features


def test_categories_are_one_hot_and_missing_ones_all_zero() -> None:
    frame = pd.DataFrame(
        {"colour": ["red", None, "blue", ""], "size": [1.0, np.nan, 3.0, 4.0], "new": [True, False] * 2}
    )
    # Columns: colour "", blue, red; size; new. The empty text is a category, a missing value is none.
    assert np.array_equal(
        encode_features(frame, "t"),
        [[0, 0, 1, 1, 1], [0, 0, 0, np.nan, 0], [0, 1, 0, 3, 1], [1, 0, 0, 4, 0]],
        equal_nan=True,
    )
