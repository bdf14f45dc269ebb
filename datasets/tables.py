"""Arrays, JSON and tables of mixed columns to numbers (datasets room): one-hot categories, class codes."""

from __future__ import annotations

import io
import json
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import ZipFile, ZipInfo

import numpy as np

from fl_bench.errors import DataError
from fl_bench.limits import ARRAY_HEADER, JSON_MEMORY, refuse_larger

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Content = TypeVar("Content", dict[str, Any], list[Any])
MOST_CATEGORIES = 256
"""A text column with more distinct values is an identifier or free text, not a category."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file; pickled objects are never opened.

    Raises:
        DataError: the file is no npz file, is damaged, holds Python objects, or declares more than memory holds.
    """
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
            refuse_larger(f"{path} unpacked", sum(_declared(archive, member) for member in members))
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except DataError:
        raise
    except Exception as error:  # both readers raise almost anything on a damaged file
        raise DataError(
            f"{path} cannot be read as plain arrays ({error}); write it with np.savez and without Python objects"
        ) from error


def _declared(archive: ZipFile, member: ZipInfo) -> int:
    """Bytes of an array, as its header says, which the archive must confirm."""
    with archive.open(member) as packed:
        header = io.BytesIO(packed.read(ARRAY_HEADER))
    version = np.lib.format.read_magic(header)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{member.filename} has the format version {version}")
    shape, _, dtype = readers[version](header)
    size = prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or size != member.file_size - header.tell():
        raise ValueError(f"{member.filename} does not hold the {shape} {dtype} that it declares")
    return size


def _array(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    with archive.open(member) as packed:
        array: np.ndarray = np.lib.format.read_array(packed, allow_pickle=False)
    return array


def read_json(path: Path, kind: type[Content]) -> Content:
    """What a JSON file holds.

    Args:
        path: the file.
        kind: what it must hold, `dict` or `list`.

    Raises:
        DataError: the file cannot be read, is no JSON, holds something else, or more than memory does.
    """
    try:
        refuse_larger(f"{path} in memory", JSON_MEMORY * path.stat().st_size)
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise DataError(f"{path} should hold a {kind.__name__} in JSON, found {type(content).__name__}")
    return content


def encode_labels(values: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes 0, 1, ... in the order of the values: by number where all are whole numbers, as text otherwise.

    Args:
        values: whole numbers, booleans or text, shape (rows,).
        name: the data set, for the error.
    Returns:
        Codes (rows,), int64, and the name of each class.
    Raises:
        DataError: the values are something else, or all the same.
    """
    if values.dtype.kind not in "iubUT":
        raise DataError(f"classes of {name!r} must be whole numbers or text, found {values.dtype}")
    texts = values.astype(str)
    names, codes = np.unique(texts, return_inverse=True)
    try:
        order = np.argsort([int(text) for text in names], kind="stable")
    except ValueError:
        order = np.arange(len(names))
    if len(names) < 2:
        raise DataError(f"{name!r} needs at least two classes, found {names.tolist()}")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[codes], tuple(str(text) for text in names[order])


def encode_features(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Numbers and booleans as they are (missing: NaN), categories one-hot in sorted order (missing: all 0).

    Args:
        frame: one column per feature.
        name: the data set, for the error.
    Returns:
        float64, shape (rows, columns).
    Raises:
        DataError: there is no column, one holds too many distinct texts to be a category, or all of them together are
            more than memory holds.
    """
    import pandas as pd

    columns = []
    for title, column in frame.items():
        if pd.api.types.is_numeric_dtype(column) and not isinstance(column.dtype, pd.CategoricalDtype):
            columns.append(column.to_numpy(dtype=np.float64, na_value=np.nan)[:, None])
            continue
        texts = column.astype("object").where(column.notna(), None)
        categories = sorted({str(value) for value in texts if value is not None})
        if len(categories) > MOST_CATEGORIES:
            raise DataError(
                f"column {title!r} of {name!r} has {len(categories)} distinct texts; at most {MOST_CATEGORIES} can be "
                "one-hot encoded: remove the column or turn it into numbers"
            )
        refuse_larger(f"{name!r} with a column per text", 8 * len(frame) * (len(columns) + len(categories)))
        shown = np.array([str(value) if value is not None else "" for value in texts])
        known = np.array([value is not None for value in texts])
        columns += [((shown == category) & known).astype(np.float64)[:, None] for category in categories]
    if not columns:
        raise DataError(f"{name!r} has no feature column")
    return np.concatenate(columns, axis=1)


def encode_target(column: pd.Series, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes and names of a target column; see `encode_labels`.

    Raises:
        DataError: a class is missing in some row, or the column holds measurements, not classes.
    """
    if column.isna().any():
        raise DataError(f"column {column.name!r} of {name!r} has {int(column.isna().sum())} rows without a class")
    values = column.to_numpy(dtype=object)
    if all(isinstance(value, (float, np.floating)) and float(value).is_integer() for value in values):
        values = np.array([int(value) for value in values])
    elif any(isinstance(value, (float, np.floating)) for value in values):
        raise DataError(f"column {column.name!r} of {name!r} holds measurements ({values[0]}, ...), not classes")
    else:
        values = np.array([str(value) for value in values])
    return encode_labels(values, name)
