"""What was declared of a comparison before it was run (benchmarks room): `comparison.json` beside the records.

A list that only grows: a grid that declares something else later adds to it, with its date and how many of its runs
were recorded by then. Packed records carry the file with them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError, DataError
from fl_bench.files import write_file
from fl_bench.limits import DECLARATION_BYTES, RECORD_DEPTH

from ..grid.configure import configure
from ..grid.declaration import Declaration, check_question
from . import bundle
from .texts import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .record import Record
    from .store import Store

FORMAT = 1
"""Version of the file's form."""

CLOCK = "%Y-%m-%dT%H:%M:%S+00:00"
"""How dates are written, as in records."""


@dataclass(frozen=True)
class Declared:
    """A declaration, with when and by what it was made."""

    grid: str
    sha256: str
    """Of the grid's file."""
    date: str
    """UTC, as `CLOCK`."""
    recorded: int
    """Runs of the grid that were recorded by then."""
    runs: int
    """All runs of the grid as it was started."""
    comparison: Declaration
    question: str = ""
    """What the grid is run to answer; a file says nothing of an empty one."""

    def __post_init__(self) -> None:
        try:
            datetime.strptime(self.date, CLOCK)  # the form says UTC
        except ValueError:
            raise ConfigError(f"date must look like 2026-01-31T12:00:00+00:00, found {self.date!r:.80}") from None
        check_question(self.question)
        if not 0 <= self.recorded <= self.runs:
            raise ConfigError(f"recorded must lie between 0 and {self.runs} runs, found {self.recorded}")


@dataclass(frozen=True)
class _File:
    format: int
    declared: tuple[Declared, ...]


def read_declarations(store: Store) -> tuple[Declared, ...]:
    """All declarations of a results folder, oldest first; those of its bundle where the folder has no file.

    Raises:
        DataError: the file, or the bundle, is not what it should be.
    """
    path = _path(store)
    if not store.is_bundle and path.is_file():
        return _parse(read_text(path, DECLARATION_BYTES), path)
    if not store.bundle.is_file():
        return ()
    text = bundle.read_beside(store.bundle)
    return () if text is None else _parse(text, store.bundle / bundle.BESIDE)


def declare(store: Store, declared: Declared) -> Declared | None:
    """Write a declaration behind those that are there, unless the grid's newest one says the same already.

    Returns:
        The grid's declaration before, if this one differs from it.

    Raises:
        DataError: what is there cannot be read.
        StorageError: the disk does not take it.
    """
    before = read_declarations(store)
    own = [one for one in before if one.grid == declared.grid]
    if own and own[-1].comparison == declared.comparison:
        return None
    write_file(_path(store), as_text([*before, declared]))
    return own[-1] if own else None


def unpack_declarations(store: Store) -> Path | None:
    """Write the file that a bundle carries beside it; None where it carries none, or where there is one already.

    Raises:
        DataError: the bundle's is not what it should be.
        StorageError: the disk does not take it.
    """
    path = _path(store)
    text = None if path.exists() else bundle.read_beside(store.bundle)
    if text is None:
        return None
    write_file(path, as_text(_parse(text, store.bundle / bundle.BESIDE)))
    return path


def agreed(several: Sequence[Sequence[Declared]]) -> tuple[Declared, ...] | None:
    """The declarations of several results folders as those of one, by date; None where one grid's last ones differ.

    Args:
        several: the declarations of each folder, oldest first.
    """
    last: dict[str, Declaration] = {}
    for declared in several:
        for grid, comparison in {one.grid: one.comparison for one in declared}.items():
            if last.setdefault(grid, comparison) != comparison:
                return None
    found: list[Declared] = []
    for one in sorted((one for declared in several for one in declared), key=lambda one: one.date):
        before = [other for other in found if other.grid == one.grid]
        if not before or before[-1].comparison != one.comparison:
            found.append(one)
    return tuple(found)


def history(declared: Sequence[Declared], grid: str | None = None) -> tuple[Declared, ...]:
    """The declarations of one grid, of which the last counts: of that which declared last, or of a named one.

    Raises:
        ConfigError: nothing was declared by a grid of that name.
    """
    name = declared[-1].grid if declared and grid is None else grid
    found = tuple(one for one in declared if one.grid == name)
    if grid is not None and not found:
        known = ", ".join(dict.fromkeys(one.grid for one in declared)) or "none"
        raise ConfigError(f"no grid {grid!r} declared a comparison here (known: {known})")
    return found


def recorded_before(declared: Declared, records: Iterable[Record]) -> int:
    """How many of some records began before a declaration, by their clocks."""
    return sum(str(record.run["clocks"]["started"]) < declared.date for record in records)


def now() -> str:
    """The date of a declaration that is made now."""
    return datetime.now(UTC).strftime(CLOCK)


def as_text(declared: Sequence[Declared]) -> str:
    """The file's content."""
    written = [{key: value for key, value in asdict(one).items() if key != "question" or value} for one in declared]
    return json.dumps({"format": FORMAT, "declared": written}, indent=1) + "\n"


def _path(store: Store) -> Path:
    return store.results / bundle.BESIDE


def _parse(text: str, path: Path) -> tuple[Declared, ...]:
    remedy = "restore it, or remove it: the comparison then counts as not declared"
    try:
        if text.count("{") + text.count("[") > RECORD_DEPTH**2:
            raise ValueError("it holds more lists and mappings than declarations do")
        values = json.loads(text)
        if isinstance(values, dict) and type(values.get("format")) is int and values["format"] > FORMAT:
            raise DataError(f"{path} has format {values['format']}, this fl-bench reads up to {FORMAT}: update")
        return configure(_File, values, "").declared
    except (ValueError, RecursionError) as error:  # a ConfigError is one
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
