"""Tables of records (benchmarks room): rows as CSV and back, every number to its last bit."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Value: TypeAlias = "float | int | str | None"
Row: TypeAlias = "dict[str, Value]"


CLOCKS = ("seconds_training", "seconds_server", "seconds_evaluation", "seconds_checkpoint")
"""Columns whose sum is the time of a round; further clocks are parts of these."""


def seconds_of(row: Mapping[str, Value]) -> float:
    """Seconds of one round."""
    return sum(float(row.get(name) or 0) for name in CLOCKS)


def csv_text(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as CSV: columns in order of first appearance, clocks last; floats by `repr`, None as nothing."""
    columns = dict.fromkeys(name for row in rows for name in row)
    ordered = sorted(columns, key=lambda name: name.startswith("seconds_"))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(ordered)
    writer.writerows([_text(row.get(name)) for name in ordered] for row in rows)
    return buffer.getvalue()


def parse_csv(text: str, path: Path) -> list[Row]:
    """Rows of a text that `csv_text` made, with numbers as numbers.

    Args:
        text: the table.
        path: where it is from, for messages.
    Raises:
        DataError: it is no such table.
    """
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove its folder to run it again") from None
    if not lines:
        raise DataError(f"{path} is empty; restore it, or remove its folder to run it again")
    if len(set(lines[0])) < len(lines[0]):
        raise DataError(f"{path} has two columns of one name; restore it, or remove its folder to run it again")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise DataError(f"{path}, line {number} has {len(line)} cells under {len(lines[0])} headings")
    return [dict(zip(lines[0], map(_value, line), strict=True)) for line in lines[1:]]


def _text(value: Value) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


@lru_cache(maxsize=2**16)
def _value(text: str) -> Value:
    """A cell; there are a million per hundred runs, and most have been seen before."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
