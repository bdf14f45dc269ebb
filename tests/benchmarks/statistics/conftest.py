"""Tables made of plain numbers, and the worked example of Demsar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.statistics.table import Condition, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture(scope="session")
def table_of() -> Callable[..., Table]:
    """A table of numbers of shape (data sets, seeds, methods); NaN is missing."""

    def make(
        values: np.ndarray,
        methods: Sequence[str] = (),
        datasets: Sequence[str] = (),
        settings: Sequence[str] = (),
        classes: int | None = 10,
    ) -> Table:
        methods = methods or [f"m{place:02d}" for place in range(values.shape[2])]
        datasets = datasets or [f"d{place:02d}" for place in range(len(values))]
        order = np.argsort(methods)
        conditions = [
            Condition(
                dataset=datasets[place],
                setting=settings[place] if settings else "",
                setting_text="",
                setting_name=settings[place] if settings else "",
                classes=classes,
                seeds=tuple(range(values.shape[1])),
                accuracy=tuple(
                    tuple(None if np.isnan(value) else float(value) for value in rows[:, method]) for method in order
                ),
                status=tuple(
                    tuple("missing" if np.isnan(value) else "done" for value in rows[:, method]) for method in order
                ),
            )
            for place, rows in enumerate(values)
        ]
        return Table(
            methods=tuple(sorted(methods)),
            conditions=tuple(sorted(conditions, key=lambda at: (at.dataset, at.setting))),
            selection="the last round",
            tuning="untuned defaults",
        )

    return make


@pytest.fixture
def demsar() -> np.ndarray:
    """J. Demsar, JMLR 7, 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.

    The paper prints 0.975 twice for `voting` and ranks the two 2 and 3: it ranked unrounded numbers. A fourth decimal
    here does the same. Table 2 of the paper is the first two columns.
    """
    return np.array(
        [
            [0.763, 0.768, 0.771, 0.798],  # adult (sample)
            [0.599, 0.591, 0.590, 0.569],  # breast cancer
            [0.954, 0.971, 0.968, 0.967],  # breast cancer wisconsin
            [0.628, 0.661, 0.654, 0.657],  # cmc
            [0.882, 0.888, 0.886, 0.898],  # ionosphere
            [0.936, 0.931, 0.916, 0.931],  # iris
            [0.661, 0.668, 0.609, 0.685],  # liver disorders
            [0.583, 0.583, 0.563, 0.625],  # lung cancer
            [0.775, 0.838, 0.866, 0.875],  # lymphography
            [1.000, 1.000, 1.000, 1.000],  # mushroom
            [0.940, 0.962, 0.965, 0.962],  # primary tumor
            [0.619, 0.666, 0.614, 0.669],  # rheum
            [0.972, 0.981, 0.9751, 0.975],  # voting
            [0.957, 0.978, 0.946, 0.970],  # wine
        ]
    )
