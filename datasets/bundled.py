"""`digits` (datasets room): the data set that comes with scikit-learn and needs no file of its own."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .dataset import build_dataset
from .source import Request, dataset

if TYPE_CHECKING:
    from .dataset import Dataset


@dataset("digits", modality="image", shape=(1, 8, 8), classes=10, train=1198, test=599, family="optdigits")
def digits(request: Request) -> Dataset:
    """Handwritten digits, 8x8 grey (UCI optdigits test set, bundled with scikit-learn).

    Pixel sums in 0..16 are divided by 16. There is no official test set: a third is held out, stratified, the same
    rows for every seed.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return build_dataset(
        request.name,
        (images / 16).astype(np.float32).reshape(-1, 1, 8, 8),
        labels,
        source="bundled with scikit-learn (UCI optical recognition of handwritten digits, test part)",
        test_fraction=Fraction(1, 3),
        classes=10,
        class_names=[str(digit) for digit in range(10)],
    )
