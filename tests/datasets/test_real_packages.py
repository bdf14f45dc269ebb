"""The data sets of Debian's and npm's packages as these packages have them, where they are unpacked or installed."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.datasets.catalogue import available, dataset_info, load_dataset

LARGEST = {"chem97": 6681, "chem97-60": 5297, "shuttle": 45586, "dna": 1654, "emoji": 1102, "glyphs": 166}
"""Rows of the largest class."""


@pytest.mark.parametrize("name", sorted(LARGEST))
def test_the_real_thing_is_what_the_listing_says(name: str) -> None:
    found, remedy = available(name)
    if not found:
        pytest.skip(f"its package is not here: {remedy[:120]}")
    data, facts = load_dataset(name), dataset_info(name)
    test = len(data.labels) - data.train_size
    stated = facts.shape, facts.classes, facts.train, facts.test, facts.modality
    assert stated == (data.about.shape, data.about.classes, data.train_size, test, data.about.modality)
    assert np.bincount(data.labels.numpy()).max() == LARGEST[name]
