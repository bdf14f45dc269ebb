"""What a record is (benchmarks room): how a run ended, its cell, what it says of itself, a row per round and client."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from fl_bench.errors import DataError, StorageError

from ..grid.cell import identity_of
from ..grid.protocol import Protocol
from ..grid.repetition import Repetition
from .checks import Garbled, Status, check_clients, check_rounds
from .rows import parse_csv
from .texts import CLIENTS, ROUNDS, read_text, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from .rows import Row, Value

Table = Literal["rounds", "clients"]
"""A table of a record, by the name of the property that has it."""

FORMAT = 1
"""Version of the record's layout; newer ones are refused, older ones still load."""


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
        """A row per round.

        Raises:
            DataError: the table cannot be read, or is not what it should be.
        """
        return self._table(ROUNDS, check_rounds)

    @cached_property
    def clients(self) -> list[Row]:
        """A row per round and client.

        Raises:
            DataError: the table cannot be read, or is not what it should be.
        """
        return self._table(CLIENTS, check_clients)

    @property
    def name(self) -> str:
        """`<dataset>/<folder>`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def check(self, tables: Sequence[Table]) -> None:
        """Refuse a record with a table that is not what it should be; of rounds.csv the rows are kept.

        Raises:
            DataError: one cannot be read.
        """
        for table in tables:
            getattr(self, table)
        self.__dict__.pop("clients", None)  # a row per round and client: too many to keep for all records

    def let_go(self) -> None:
        """Forget the tables; they are read again when they are asked for."""
        for table in get_args(Table):
            self.__dict__.pop(table, None)

    def texts(self) -> Mapping[str, str]:
        """Its files as they are.

        Raises:
            DataError: one cannot be read.
        """
        return read_texts(self.folder) if self.packed is None else self.packed

    def _table(self, name: str, check: Callable[[Sequence[Row], Mapping[str, Any]], None]) -> list[Row]:
        path = self.folder / name
        rows = parse_csv(read_text(path) if self.packed is None else self.packed[name], path)
        try:
            check(rows, self.run)
        except Garbled as error:
            raise DataError(f"{path} {error}; restore it, or remove its folder to run it again") from None
        return rows
