"""The folder of a job array (benchmarks room): what its tasks are to do, and what each of them says.

    <results>/.jobs/<name>/order.json     an order of the worker protocol, with all cells; every task takes from them
                           submitted      the ids of its jobs, once the batch system has taken or refused them
                           <task>.jsonl   what a task says, a line of JSON each (`Said`); a requeued task appends
                           batch/         the files of the batch system: its scripts, and what tasks print

Whoever has the folder can follow the tasks, the process that submitted them or another. It goes once all is done. A
folder is an array's from when it has an order until it has none: that file comes last and goes last.
"""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import StorageError
from fl_bench.files import write_file

from ..records.record import RecordError
from .wire import MOST_LINE, ProtocolError, from_line, read_as, to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FOLDER = ".jobs"
"""Where the folders of job arrays are, in a results folder."""

STALE = 3600.0
"""Seconds after which a folder without an order is none that somebody makes: its command was killed."""


@dataclass(frozen=True)
class Said:
    """What a task says."""

    kind: Literal["began", "started", "round", "ended", "left", "stopped", "broken", "full"]
    """`started`, `round` and `ended` are events of a cell. `left`: nothing was free any more. `stopped`: the task was
    asked to end. `broken`: it cannot work; other tasks may. `full`: its disk takes no record."""
    key: str = ""
    """Of the cell."""
    round: int = 0
    accuracy: float | None = None
    seconds: float = 0.0
    """Since this attempt at the cell began."""
    reason: str = ""
    """Why the task stopped or is broken; where it began."""


@dataclass(frozen=True)
class Array:
    """The folder of a job array."""

    path: Path

    @classmethod
    def new(cls, results: Path, order: bytes, spent: Iterable[tuple[str, float]] = ()) -> Array:
        """Make a folder.

        Args:
            results: the results folder.
            order: what tasks are to do, a line.
            spent: seconds that cells took in tasks of earlier arrays, by key.
        Raises:
            RecordError: the disk does not take it.
        """
        array = cls(results / FOLDER / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}")
        try:
            array.path.mkdir(parents=True)
            with array.log("earlier").open("wb") as file:
                file.writelines(to_line(asdict(Said("round", key, seconds=seconds))) for key, seconds in spent)
            write_file(array.order, order.decode())
        except OSError as error:
            raise RecordError(f"cannot write {array.path}: {error.strerror}") from error
        except StorageError as error:
            raise RecordError(str(error)) from error
        return array

    @classmethod
    def all(cls, results: Path) -> list[Array]:
        """Those of a results folder, by age."""
        return [cls(place.parent) for place in sorted((results / FOLDER).glob("*/order.json"))]

    @classmethod
    def sweep(cls, results: Path) -> None:
        """Remove folders of which a killed command had made no array within `STALE`, and `.jobs` when it is empty."""
        for place in (results / FOLDER).glob("*"):
            array = cls(place)
            with suppress(OSError):
                if not array.order.exists() and time.time() - place.stat().st_mtime > STALE:
                    array.remove()
        with suppress(OSError):  # there are others
            (results / FOLDER).rmdir()

    @property
    def name(self) -> str:
        """The folder's name, which is part of the name of the jobs."""
        return self.path.name

    @property
    def order(self) -> Path:
        """The order's file."""
        return self.path / "order.json"

    @property
    def submitted(self) -> Path:
        """The file with the ids of its jobs."""
        return self.path / "submitted"

    @property
    def age(self) -> float:
        """Seconds since its order was written, by the clocks of this machine and of the file server."""
        with suppress(OSError):
            return time.time() - self.order.stat().st_mtime
        return float("inf")

    def taken(self, ids: Iterable[str]) -> None:
        """Note the jobs that the batch system made of it, none where it refused; a full disk is no reason to stop."""
        with suppress(StorageError):
            write_file(self.submitted, "\n".join(ids) + "\n")

    @property
    def batch(self) -> Path:
        """The folder of the batch system's files."""
        return self.path / "batch"

    def log(self, task: str) -> Path:
        """What a task says."""
        return self.path / f"{task}.jsonl"

    def speaker(self, task: str) -> Callable[[Said], None]:
        """What a task says things with: each is a line that is there once this returns."""

        def say(said: Said) -> None:
            with self.log(task).open("ab") as file:
                file.write(to_line(asdict(said)))

        return say

    def remove(self) -> None:
        """Remove the folder; whoever is killed meanwhile leaves the order, by which the next one finds the rest."""
        for place in [*self.path.glob("*")] if self.path.is_dir() else []:
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            elif place != self.order:
                with suppress(OSError):
                    place.unlink()
        shutil.rmtree(self.path, ignore_errors=True)

    def printed(self) -> str:
        """The last line that a task printed where errors go; empty without one."""
        texts = [path.read_text(errors="replace").split("\n") for path in sorted(self.batch.glob("*.err"))]
        lines = [line.strip() for text in texts for line in text if line.strip()]
        return lines[-1] if lines else ""


@dataclass
class Watch:
    """Reads what the tasks of an array say, as it comes."""

    array: Array
    ended: set[str] = field(default_factory=set)
    """Keys of the cells that ended in this array."""
    last: dict[str, Said] = field(default_factory=dict)
    """The last thing that each task said."""
    _spent: dict[tuple[str, str, int], float] = field(default_factory=dict)
    """Seconds of each attempt: the key of the cell, the task, the number of the attempt."""
    _read: dict[str, int] = field(default_factory=dict)
    """Bytes of each log that were read."""
    _attempts: dict[tuple[str, str], int] = field(default_factory=dict)

    def spent(self, key: str) -> float:
        """Seconds that all attempts at a cell took so far, to the end of their last rounds."""
        return sum(seconds for (cell, *_), seconds in self._spent.items() if cell == key)

    def news(self) -> list[Said]:
        """What was said since the last time, task by task.

        Raises:
            ProtocolError: a line that no task wrote.
        """
        found = []
        for path in sorted(self.array.path.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path.stem, 0))
                while (line := file.readline(MOST_LINE + 1)).endswith(b"\n"):  # the last one may be half there
                    self._read[path.stem] = file.tell()
                    try:
                        said = read_as(Said, from_line(line, "a line"), "line")
                    except ProtocolError as error:
                        raise ProtocolError(f"{path}: {error}") from None
                    self._take(path.stem, said)
                    found.append(said)
        return found

    def _take(self, task: str, said: Said) -> None:
        if task != "earlier":
            self.last[task] = said
        place = (said.key, task)
        if said.kind == "started":
            self._attempts[place] = self._attempts.get(place, 0) + 1
        elif said.kind == "round":
            self._spent[(*place, self._attempts.get(place, 0))] = said.seconds
        elif said.kind == "ended":
            self.ended.add(said.key)
