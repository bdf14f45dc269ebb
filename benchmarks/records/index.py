"""Which records there are (benchmarks room): names by cell, of folders and of the bundle, read once and kept."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Place = tuple[str, str, str]
"""Dataset, seed and key of a cell, as names of records have them."""

UNFINISHED = (".tmp", ".old")
"""How folders end that a kill left while a record was written."""


class Index:
    """The names of a folder of records by cell.

    A data set's folder is listed when it is first asked for. What others add or remove later is not seen until
    `forget`; so whoever decides by it looks whether the one folder is there.

    Args:
        runs: the folder.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._listed: dict[str, dict[Place, list[str]]] = {}

    def of(self, place: Place) -> Sequence[str]:
        """The names of a cell's records, sorted: one, unless it was recorded under several labels."""
        dataset = place[0]
        if dataset not in self._listed:
            self._listed[dataset] = by_place(f"{dataset}/{folder}" for folder in _folders(self._runs / dataset))
        return self._listed[dataset].get(place, ())

    def forget(self, dataset: str) -> None:
        """List a data set's folder anew when it is next asked for."""
        self._listed.pop(dataset, None)


def names(runs: Path) -> list[str]:
    """The names of all records that have a folder, `<dataset>/<folder>`, sorted; listed now."""
    return sorted(f"{dataset}/{folder}" for dataset in _folders(runs) for folder in _folders(runs / dataset))


def by_place(names: Iterable[str]) -> dict[Place, list[str]]:
    """Names by the cell that they say, sorted."""
    places: dict[Place, list[str]] = defaultdict(list)
    for name in sorted(names):
        places[place_of(name)].append(name)
    return dict(places)


def place_of(name: str) -> Place:
    """Dataset, seed and key of the record `<dataset>/<label>-<seed>-<key>`."""
    dataset, _, folder = name.partition("/")
    _, seed, key = f"--{folder}".rsplit("-", 2)
    return dataset, seed, key


def _folders(parent: Path) -> list[str]:
    """The folders in a folder that may be records or hold some; none where it is not there.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        with os.scandir(parent) as entries:
            return [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and not entry.name.endswith(UNFINISHED) and entry.is_dir()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{parent} cannot be listed: {error.strerror}") from None
