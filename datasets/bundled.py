"""`digits` (datasets room): the data set that comes with scikit-learn and needs no file of its own."""

from __future__ import annotations

import gzip
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError

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
    rows = _rows()
    return build_dataset(
        request.name,
        (rows[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8),
        rows[:, -1].astype(np.int64),
        source="bundled with scikit-learn (UCI optical recognition of handwritten digits, test part)",
        test_fraction=Fraction(1, 3),
        classes=10,
        class_names=[str(digit) for digit in range(10)],
    )


def _rows() -> np.ndarray:
    """64 pixel sums and the label of each image, from scikit-learn's file: to import its readers takes a second.

    Raises:
        DataError: scikit-learn is not installed, or has no such file.
    """
    package = find_spec("sklearn")
    places = [] if package is None else package.submodule_search_locations or []
    for place in places:
        path = Path(place, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            with gzip.open(path, "rt", encoding="ascii") as file:
                return np.loadtxt(file, delimiter=",")
    raise DataError(
        "digits is the file datasets/data/digits.csv.gz of scikit-learn, and there is none here; "
        "`pip install --force-reinstall scikit-learn` brings it"
    )
