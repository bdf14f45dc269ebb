"""Chem97, Shuttle and DNA (datasets room): tables of the R packages mlmRev and mlbench, read without R.

rdata (extra `r`) reads R's own format, which holds data; nothing in it is run. mlbench keeps a file per table, mlmRev a
database of them: `Rdata.rdx` says at which byte of `Rdata.rdb` each object begins and how long it is; an object is its
size when unpacked (four bytes, the highest first) and a stream of zlib.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import lzma
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import DataError, one_line
from fl_bench.limits import R_BYTES

from .dataset import build_dataset
from .debian import debian_file, debian_places, unpacking
from .source import Request, dataset
from .tables import encode_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from .dataset import Dataset

LIBRARY = "lib/R/site-library"
INSTALL = "pip install 'fl-bench[r]'"


def _locate(package: str, path: str) -> Callable[[Request], tuple[bool, str]]:
    def locate(request: Request) -> tuple[bool, str]:
        found = debian_file(request, f"{LIBRARY}/{path}")
        if found is None:
            return False, unpacking(request, [package])
        return (True, str(found)) if importlib.util.find_spec("rdata") else (False, INSTALL)

    return locate


def _get(request: Request, package: str, path: str) -> Path:
    found = debian_file(request, f"{LIBRARY}/{path}")
    if found is None:
        ways = [f"{unpacking(request, [package])} (no R is needed)", f"{INSTALL}, if rdata is not there yet"]
        raise request.missing(debian_places(request, f"{LIBRARY}/{path}"), ways)
    return found


# the tables ---------------------------------------------------------------------------------------------------------

CHEM97 = "mlmRev/data/Rdata.rdx"
SHUTTLE = "mlbench/data/Shuttle.rda"
DNA = "mlbench/data/DNA.rda"


@dataset("chem97", modality="tabular", shape=(3,), classes=6, train=24818, test=6204, needs="package",
         locate=_locate("r-cran-mlmrev", CHEM97), clients=131)  # fmt: skip
def chem97(request: Request) -> Dataset:
    """Grades in A-level chemistry of 31022 pupils in 1997; the 131 local education authorities are its natural clients.

    Fielding, Yang and Goldstein, "Multilevel ordinal models for examination grades", 2003; R package mlmRev (GPL-2+).
    The features are gender, age in months around 18.5 years, and the mean grade in the GCSE exams two years before;
    the grade, A to F as 10, 8, ... 0 points, is the class.
    """
    return _chem97(request, authorities=None)


@dataset("chem97-60", modality="tabular", shape=(3,), classes=6, train=19264, test=4816, needs="package",
         family="chem97", locate=_locate("r-cran-mlmrev", CHEM97), clients=60)  # fmt: skip
def chem97_60(request: Request) -> Dataset:
    """Chem97 with the 60 of 131 local education authorities that have most pupils, which `max_train` leaves with rows.

    Rows, features and classes are those of `chem97`.
    """
    return _chem97(request, authorities=60)


def _chem97(request: Request, authorities: int | None) -> Dataset:
    """The table, or the rows of the largest authorities; of two with as many pupils, the one with the lower number."""
    frame = read_database(_get(request, "r-cran-mlmrev", CHEM97), "Chem97")
    _check(request, frame, ["lea", "score", "gender", "age", "gcsescore"], 31022)
    owners = frame["lea"].astype(str).to_numpy(dtype=str).astype(np.int64)
    if authorities is not None:
        found, pupils = np.unique(owners, return_counts=True)
        largest = found[np.argsort(-pupils, kind="stable")[:authorities]]
        frame, owners = frame[np.isin(owners, largest)], owners[np.isin(owners, largest)]
    features = [frame["gender"].astype(str) == "F", frame["age"], frame["gcsescore"]]
    labels, names = encode_labels(frame["score"].to_numpy().astype(np.int64), request.name)
    return build_dataset(
        request.name,
        np.stack([np.asarray(column, dtype=np.float64) for column in features], axis=1),
        labels,
        source="table Chem97 of the R package mlmRev",
        classes=len(names),
        class_names=names,
        natural=owners,
    )


@dataset("shuttle", modality="tabular", shape=(9,), classes=7, train=46400, test=11600, needs="package",
         locate=_locate("r-cran-mlbench", SHUTTLE))  # fmt: skip
def shuttle(request: Request) -> Dataset:
    """States of the space shuttle's radiators from 9 sensors; 79 % of the rows are of one class (Statlog).

    R package mlbench (GPL-2), from the UCI repository (CC BY 4.0).
    """
    frame = read_table(_get(request, "r-cran-mlbench", SHUTTLE), "Shuttle")
    _check(request, frame, [*(f"V{number}" for number in range(1, 10)), "Class"], 58000)
    return _last_column(request, frame, "Shuttle")


@dataset("dna", modality="tabular", shape=(180,), classes=3, train=2549, test=637, needs="package",
         locate=_locate("r-cran-mlbench", DNA))  # fmt: skip
def dna(request: Request) -> Dataset:
    """Splice junctions in DNA of primates: 60 bases in 3 bits each (Statlog).

    R package mlbench (GPL-2), from the UCI repository (CC BY 4.0).
    """
    frame = read_table(_get(request, "r-cran-mlbench", DNA), "DNA")
    _check(request, frame, [*(f"V{number}" for number in range(1, 181)), "Class"], 3186)
    return _last_column(request, frame, "DNA")


def _last_column(request: Request, frame: pd.DataFrame, table: str) -> Dataset:
    """A table of numbers whose last column is the class."""
    labels, names = encode_labels(frame["Class"].astype(str).to_numpy(dtype=str), request.name)
    columns = [frame[name].astype(str).astype(np.float64) for name in frame.columns[:-1]]  # R may call them factors
    return build_dataset(
        request.name,
        np.stack([column.to_numpy() for column in columns], axis=1),
        labels,
        source=f"table {table} of the R package mlbench",
        classes=len(names),
        class_names=names,
    )


def _check(request: Request, frame: pd.DataFrame, columns: list[str], rows: int) -> None:
    """Refuse a table that is not the published one."""
    if len(frame) != rows or not set(columns) <= set(frame.columns):
        raise DataError(
            f"the table of {request.name!r} should have {rows} rows and the columns {', '.join(columns[:3])}, ...; "
            f"found {len(frame)} rows and {one_line(', '.join(map(str, frame.columns)), 80)}"
        )


# R's format ---------------------------------------------------------------------------------------------------------


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A table of a file that R's `save` wrote.

    Raises:
        DataError: rdata is not installed, or the file cannot be read or holds no such table.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return _frame(_converted(path, _unpacked(path, content), ".rda"), name, path)


def read_database(index: Path, name: str) -> pd.DataFrame:
    """A table of the database that a package's installation makes of its data.

    Args:
        index: the file `Rdata.rdx`, beside which `Rdata.rdb` lies.
        name: of the table.
    Raises:
        DataError: rdata is not installed, or the files cannot be read or hold no such table.
    """
    path = index.with_suffix(".rdb")
    try:
        places = _converted(index, _unpacked(index, index.read_bytes()), ".rds")
        variables = places.get("variables") if isinstance(places, dict) else None
        place = variables.get(name) if isinstance(variables, dict) else None
        if place is None or np.shape(place) != (2,):
            raise DataError(f"{index} names no table {name}")
        begin, length = (int(number) for number in place)
        with path.open("rb") as file:
            file.seek(begin)
            (size,) = struct.unpack(">I", file.read(4))
            packed = file.read(min(max(length - 4, 0), R_BYTES))
        if size > R_BYTES:
            raise DataError(f"table {name} of {path} would take {size} bytes; {R_BYTES} is the limit")
        content = zlib.decompressobj().decompress(packed, size)
    except (OSError, ValueError, TypeError, struct.error, zlib.error) as error:
        raise DataError(f"table {name} of {path} cannot be read: {one_line(error)}") from error
    return _frame({name: _converted(path, content, ".rds")}, name, path)


def _unpacked(path: Path, content: bytes) -> bytes:
    """What a file holds, whichever way R packed it."""
    stream = io.BytesIO(content)
    try:
        match content[:2]:
            case b"\x1f\x8b":
                found = gzip.GzipFile(fileobj=stream).read(R_BYTES + 1)
            case b"BZ":
                found = bz2.BZ2File(stream).read(R_BYTES + 1)
            case b"\xfd7":
                with lzma.open(stream) as file:
                    found = file.read(R_BYTES + 1)
            case begin:
                raise DataError(f"{path} is not packed as R packs its data: it begins with {begin.hex() or 'nothing'}")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from error
    if len(found) > R_BYTES:
        raise DataError(f"{path} unpacks to more than {R_BYTES} bytes")
    return found


def _converted(path: Path, content: bytes, kind: str) -> Any:
    """R's objects as those of Python, by rdata; warnings about R's own classes are of no concern to tables."""
    try:
        import rdata
    except ImportError as error:
        raise DataError(f"{path} is read with rdata, which cannot be imported ({error}): {INSTALL}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rdata.conversion.convert(rdata.parser.parse_data(content, extension=kind), default_encoding="ASCII")
    except Exception as error:  # the reader raises almost anything on a damaged file
        raise DataError(f"{path} cannot be read as R's data: {one_line(error)}") from error


def _frame(objects: Any, name: str, path: Path) -> pd.DataFrame:
    import pandas as pd

    frame = objects.get(name) if isinstance(objects, dict) else None
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{path} holds no table {name}")
    return frame
