"""Small labelled data sets for partition tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fl_bench.datasets.dataset import Dataset, build_dataset

MakeLabelled = Callable[..., Dataset]


@pytest.fixture(scope="session")
def labelled() -> MakeLabelled:
    """Makes a data set from training and test labels; its one feature is the row number."""

    def make(train: Sequence[int], test: Sequence[int], classes: int, natural: Sequence[int] | None = None) -> Dataset:
        labels = np.array([*train, *test], dtype=np.int64)
        return build_dataset(
            "labelled",
            np.arange(len(labels), dtype=np.float64)[:, None],
            labels,
            source="made by a test",
            train_size=len(train),
            classes=classes,
            natural=None if natural is None else np.array(natural),
        )

    return make
