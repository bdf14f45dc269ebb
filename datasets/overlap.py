"""Rows that two data sets share, whatever the scale of either (datasets room): looked for in the data themselves.

`digits` holds pixels from 0 to 1, `optdigits` columns of mean 0 and deviation 1, and yet every row of the one is a row
of the other. So rows are compared up to a shift and a scale of each column, which have to be found first:

    start    bring both to one scale: as they are, by their largest value, or by mean and deviation of each column
    pair     for a sample of rows of the smaller one the nearest row of the other, if no second one is near
    fit      a shift and a scale for each column from these pairs; then all rows that agree, and again from them
    count    rows that agree in all columns to a thousandth of a deviation, in both directions

A pair of unrelated data sets never agrees in many columns, but tables of few answers do by chance; so rows are counted
again with the columns of one data set shuffled, and where that finds a comparable number there is nothing to say. Not
found are rows that were resized, turned or cut, columns in another order, and shares of a few rows in a hundred, or of
more where scales differ and the rest of the rows is of another kind.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from .dataset import Dataset

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]
    Rows = NDArray[np.bool_]

KNOWN = Path(__file__).with_name("overlaps.csv")
"""What was found among the data sets that come with fl-bench, by `fl-bench overlap --out datasets/overlaps.csv`."""

SAMPLE, TRUSTED, LEAST = 1000, 32, 16
"""Rows that are paired at first, the pairs of them that the first fit is made of, and the least that a fit needs."""

LOOSE, MOST = (0.1, 0.03, 0.01), 0.9
"""How far values may lie apart in fits to samples, in deviations, and in which share of the columns they must not."""

EQUAL = 1e-3
"""Values that differ by less are equal, in deviations of the column."""

PASSES = 3
"""Fits to all rows that agree; each knows more columns than the last."""

CHANCE = 10
"""So many times as many rows as by chance must agree."""


@dataclass(frozen=True)
class Overlap:
    """Two data sets that share rows."""

    first: str
    second: str
    rows: int
    """Of `first`."""
    found: int
    """Those that are rows of `second` too."""
    other_rows: int
    """Of `second`."""
    other_found: int
    """Those that are rows of `first` too."""

    def __str__(self) -> str:
        sides = [
            (self.found / self.rows, self.found, self.rows, self.first, self.second),
            (self.other_found / self.other_rows, self.other_found, self.other_rows, self.second, self.first),
        ]
        share, found, rows, one, other = max(sides)
        return f"{'all ' if share == 1 else f'{found} of '}{rows} rows of {one} are rows of {other}"


def known_overlaps(names: Iterable[str]) -> list[Overlap]:
    """What is known of some data sets without loading them: those of `KNOWN` that are both named."""
    wanted = set(names)
    return [row for row in read_overlaps(KNOWN.read_text("utf-8")) if {row.first, row.second} <= wanted]


def read_overlaps(text: str) -> list[Overlap]:
    """What `known_text` wrote.

    Raises:
        ValueError: it did not write this.
        TypeError: the same.
        IndexError: the same.
    """
    return [Overlap(row[0], row[1], *map(int, row[2:])) for row in list(csv.reader(io.StringIO(text)))[1:]]


def known_text(found: Iterable[Overlap]) -> str:
    """The text of `KNOWN`, a line per pair."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")  # which quotes names of users' files where they need it
    writer.writerows([[field.name for field in fields(Overlap)], *map(astuple, found)])
    return text.getvalue()


def overlap(first: Dataset, second: Dataset) -> Overlap | None:
    """The rows that two data sets share; None where there are no more than chance would give.

    Rows without any difference between their values count for nothing. The same data give the same answer.
    """
    one, other = _table(first), _table(second)
    if one.shape[1] != other.shape[1] or min(len(one), len(other)) < LEAST:
        return None
    turned = len(one) > len(other)
    small, large = (other, one) if turned else (one, other)
    agreed = next(filter(None, (_agreeing(*start) for start in _starts(small, large))), None)
    if agreed is None:
        return None
    counts = [(len(rows), int(rows.sum())) for rows in (reversed(agreed) if turned else agreed)]
    return Overlap(first.about.name, second.about.name, *counts[0], *counts[1])


def _table(data: Dataset) -> Array:
    """The rows that are not constant, flat."""
    rows = data.inputs.numpy().reshape(len(data.inputs), -1).astype(np.float64)
    return rows[np.ptp(rows, axis=1) > 0] if rows.shape[1] > 1 else rows


def _starts(small: Array, large: Array) -> Iterator[tuple[Array, Array]]:
    """Both tables on scales that may be the same one."""
    yield small, large
    yield small / (np.abs(small).max() or 1.0), large / (np.abs(large).max() or 1.0)
    yield _by_column(small), _by_column(large)


def _by_column(table: Array) -> Array:
    spread = table.std(axis=0)
    scaled: Array = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def _agreeing(small: Array, large: Array) -> tuple[Rows, Rows] | None:
    """Which rows of both agree, from one start; None where no fit holds or chance would do as well."""
    generator = numpy_stream(0, "overlap")
    rows = generator.permutation(len(small))[:SAMPLE]
    found, distances = _nearest(small[rows], large)
    sure = np.argsort(distances[:, 0] / np.maximum(distances[:, 1], 1e-300), kind="stable")[:TRUSTED]
    rows, found = rows[sure], found[sure]
    for apart in (*LOOSE, *(0.0,) * PASSES):
        fitted = _fitted(small, large, rows, found)
        if fitted is None:
            return None
        ours, theirs = fitted
        if apart:
            rows = generator.permutation(len(small))[:SAMPLE]
            found = _nearest(ours[rows], theirs)[0]
            kept = (np.abs(ours[rows] - theirs[found]) < apart).mean(axis=1) > MOST
        else:
            rows, (found, kept) = np.arange(len(small)), _equal(ours, theirs)
        rows, found = rows[kept], found[kept]
        if len(rows) < LEAST:
            return None
    by_chance = _equal(generator.permuted(ours, axis=0), theirs)[1].sum()
    return None if len(rows) < CHANCE * by_chance else (kept, _equal(theirs, ours)[1])


def _fitted(small: Array, large: Array, rows: Index, found: Index) -> tuple[Array, Array] | None:
    """Both tables on the scale of the smaller one's deviations, by least squares on paired rows.

    Columns that do not vary over the pairs say nothing and are left out; None where hardly any is left.
    """
    x, y = large[found], small[rows]
    told = (np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0)
    if told.sum() < min(2, small.shape[1]):
        return None
    x, y, unit = x[:, told], y[:, told], small[:, told].std(axis=0)
    centred = x - x.mean(axis=0)
    slope = (centred * y).sum(axis=0) / (centred**2).sum(axis=0)
    return small[:, told] / unit, ((large[:, told] - x.mean(axis=0)) * slope + y.mean(axis=0)) / unit


def _nearest(rows: Array, table: Array) -> tuple[Index, Array]:
    """The nearest row of the table for each row, and its distance beside that of the next one."""
    table = table.astype(np.float32)  # pairs need no more, and it takes half the time
    squares = (table**2).sum(axis=1)
    places, distances = [], []
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256].astype(np.float32)
        squared = squares - 2 * part @ table.T + (part**2).sum(axis=1, keepdims=True)
        two = np.argpartition(squared, 1, axis=1)[:, :2]
        values = np.take_along_axis(squared, two, axis=1)
        places.append(two[np.arange(len(two)), values.argmin(axis=1)])
        distances.append(np.sqrt(np.maximum(np.sort(values, axis=1), 0)))
    return np.concatenate(places), np.concatenate(distances).astype(np.float64)


def _equal(rows: Array, table: Array) -> tuple[Index, Rows]:
    """For each row one of the table that may be equal, and whether it is, in all columns.

    Equal rows have nearly equal shadows on a few random directions, where the nearest is found fast.
    """
    from scipy.spatial import KDTree  # commands that only read what was found do not wait for it

    directions = numpy_stream(0, "overlap", "directions").normal(size=(rows.shape[1], min(8, rows.shape[1])))
    reach = EQUAL * float(np.linalg.norm(np.abs(directions).sum(axis=0)))
    places = KDTree(table @ directions).query(rows @ directions, distance_upper_bound=reach)[1]
    near = places < len(table)
    places = np.where(near, places, 0)
    return places, near & (np.abs(rows - table[places]) < EQUAL).all(axis=1)
