"""What a record is (benchmarks room): how a run ended, its cell, what it says of itself, a row per round and client."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import DataError, StorageError

from ..grid.cell import identity_of
from ..grid.protocol import Protocol
from ..grid.repetition import Repetition
from . import bundle
from .rows import parse_csv, read_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .rows import Row, Value

FORMAT = 1
"""Version of the record's layout; newer ones are refused, older ones still load."""

Status = Literal["done", "diverged", "failed", "timeout", "unsupported"]


class RecordError(StorageError):
    """A record that cannot be written: the disk is full, or the folder cannot be written to."""


class AlreadyRecorded(RecordError):
    """A record that would take the place of a finished one."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it has to tell."""

    status: Status
    reason: str | None
    """Why it is not `done`, in one line."""
    facts: Mapping[str, Any]
    """What the run says beside its rounds; see `Run.facts`."""
    provenance: Mapping[str, Any]
    clocks: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Value]] = ()
    clients: Sequence[Mapping[str, Value]] = ()
    traceback: str | None = None
    """Of a failed run."""


@dataclass(frozen=True)
class Record:
    """A finished run, as read from its folder or from a bundle."""

    folder: Path
    """Where it is; inside of a bundle, the bundle's path and the record's name."""
    run: Mapping[str, Any] = field(repr=False)
    """The content of run.json."""
    packed: Mapping[str, str] | None = field(default=None, repr=False)
    """The texts of its files where it comes from a bundle."""

    @property
    def status(self) -> Status:
        """How the run ended."""
        status: Status = self.run["status"]
        return status

    @property
    def reason(self) -> str | None:
        """Why it is not `done`."""
        reason: str | None = self.run["reason"]
        return reason

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return str(self.run["label"])

    @property
    def cell(self) -> Mapping[str, Any]:
        """The resolved cell."""
        cell: Mapping[str, Any] = self.run["cell"]
        return cell

    @cached_property
    def repetition(self) -> Repetition:
        """Which repetition of its comparison it is."""
        return Repetition.of(self.cell)

    @cached_property
    def protocol(self) -> Protocol:
        """The versions of the code that made it."""
        return Protocol.of(self.cell)

    @cached_property
    def identity(self) -> str:
        """What it shares with records of the same run under other protocols."""
        return identity_of(self.cell)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the run says beside its rounds."""
        facts: Mapping[str, Any] = self.run["facts"]
        return facts

    @property
    def seconds(self) -> float:
        """Wall seconds of the run, all its parts together."""
        return float(self.run["clocks"]["seconds_total"])

    @cached_property
    def rounds(self) -> list[Row]:
        """A row per round."""
        return self._table("rounds.csv")

    @cached_property
    def clients(self) -> list[Row]:
        """A row per round and client."""
        return self._table("clients.csv")

    @property
    def name(self) -> str:
        """`<dataset>/<folder>`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def texts(self) -> Mapping[str, str]:
        """Its files as they are.

        Raises:
            DataError: one cannot be read.
        """
        return read_texts(self.folder) if self.packed is None else self.packed

    def _table(self, name: str) -> list[Row]:
        path = self.folder / name
        return read_csv(path) if self.packed is None else parse_csv(self.packed[name], path)


def read_texts(folder: Path) -> dict[str, str]:
    """The files of a record's folder as they are.

    Raises:
        DataError: one cannot be read.
    """
    try:
        return {name: (folder / name).read_bytes().decode() for name in bundle.FILES}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} cannot be read ({error}); restore it, or remove it to run it again") from None
