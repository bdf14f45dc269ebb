"""Rows that a user's data sets share with others: what runs found, in a file beside their records (benchmarks room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import DataError
from fl_bench.files import write_file
from fl_bench.limits import DECLARATION_BYTES

from ...datasets.overlap import known_text, read_overlaps
from .texts import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ...datasets.overlap import Overlap

NAME = "overlaps.csv"
"""The file's name in a results folder: a line per pair that was looked at, with 0 rows where none is shared."""


def looked_at(results: Path) -> list[Overlap]:
    """All pairs of data sets that were looked at; nothing where there is no file.

    Raises:
        DataError: it is none of ours.
    """
    place = results / NAME
    if not place.is_file():
        return []
    try:
        return read_overlaps(read_text(place, DECLARATION_BYTES))
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{place} does not say which data sets share rows: {error}; delete it, and run again") from None


def overlaps_in(results: Path) -> tuple[Overlap, ...]:
    """The pairs that share rows."""
    return tuple(one for one in looked_at(results) if one.found)


def keep(results: Path, found: Iterable[Overlap]) -> None:
    """Write all pairs that were looked at.

    Raises:
        StorageError: the folder does not take it.
    """
    write_file(results / NAME, known_text(found))


def text_of(folders: Iterable[Path]) -> dict[str, str]:
    """The file that says what was looked at in several folders together, by its name; none where nothing was.

    Raises:
        DataError: a folder's file is none of ours.
    """
    pairs: dict[tuple[str, str], Overlap] = {}
    for folder in folders:
        for one in looked_at(folder):
            pairs.setdefault((one.first, one.second), one)
    return {NAME: known_text(pairs.values())} if pairs else {}
