"""Records of runs (benchmarks room): one folder per cell, written in one step, never executed when read.

    <results>/runs/<dataset>/<label>-<seed>-<key>/      run.json     status, resolved cell, facts, provenance, clocks
                                                        rounds.csv   a row per round
                                                        clients.csv  a row per round and client
                              .<seed>-<key>.part/       checkpoint.pt, only until the record is there
                              .<seed>-<key>.lock        who is running the cell, only while it runs

A record is found, and a run continued, under whatever label: what decides is the key.

Everything that may differ between two runs of one cell is a clock: columns that start with `seconds_`, and
`clocks` in run.json.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
import shutil
import socket
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from fl_bench.errors import DataError, FLBenchError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .cell import Cell

FORMAT = 1
"""Version of the record's layout; newer ones are refused, older ones still load."""

Status = Literal["done", "diverged", "failed", "timeout", "unsupported"]
Value: TypeAlias = "float | int | str | None"
Row: TypeAlias = "dict[str, Value]"


class RecordError(StorageError):
    """A record that cannot be written: the disk is full, or the folder cannot be written to."""


class Locked(FLBenchError):
    """Another process is running the cell."""


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
    """A finished run, as read from its folder."""

    folder: Path
    run: Mapping[str, Any] = field(repr=False)
    """The content of run.json."""

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
        return read_csv(self.folder / "rounds.csv")

    @cached_property
    def clients(self) -> list[Row]:
        """A row per round and client."""
        return read_csv(self.folder / "clients.csv")


class Store:
    """The records below one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.runs = results / "runs"

    def check_writable(self) -> None:
        """Refuse a results folder that records could not be written to, before anything runs.

        Raises:
            RecordError: says which folder and why.
        """
        probe = self.runs / f".probe-{os.getpid()}"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise RecordError(
                f"cannot write records to {self.results}: {error.strerror}; name another folder with --out"
            ) from None

    def find(self, cell: Cell) -> Record | None:
        """The record of a cell, under whatever label; None when there is none.

        Raises:
            DataError: there is one, but it cannot be read.
        """
        folder = self.runs / cell.folder
        others = folder.parent.glob(f"*-{cell.seed}-{cell.key}") if folder.parent.is_dir() else []
        for place in (folder, *sorted(others)):
            if place.is_dir():
                return read_record(place)
        return None

    def folders(self) -> list[Path]:
        """The folders of all records, sorted."""
        return sorted(
            folder
            for folder in self.runs.glob("*/*")
            if folder.is_dir() and not folder.name.startswith(".") and folder.suffix not in (".tmp", ".old")
        )

    def records(self) -> list[Record]:
        """All records, by dataset, label and seed.

        Raises:
            DataError: one of them cannot be read.
        """
        found = [read_record(folder) for folder in self.folders()]
        return sorted(
            found,
            key=lambda record: (str(record.cell["dataset"]), record.label, record.cell["seed"], record.folder.name),
        )

    def checkpoint(self, cell: Cell) -> Path:
        """Where the cell's checkpoint is kept while it runs; makes the folder.

        Raises:
            RecordError: the folder cannot be made.
        """
        part = self._hidden(cell, "part")
        try:
            part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"cannot keep checkpoints in {part}: {error.strerror}") from None
        return part / "checkpoint.pt"

    def has_checkpoint(self, cell: Cell) -> bool:
        """Whether an unfinished run left a checkpoint."""
        return (self._hidden(cell, "part") / "checkpoint.pt").is_file()

    def drop_checkpoint(self, cell: Cell) -> None:
        """Forget what an unfinished run left."""
        shutil.rmtree(self._hidden(cell, "part"), ignore_errors=True)

    def write(self, cell: Cell, outcome: Outcome, *, replace: bool = False) -> Path:
        """Write a record in one step: it is there whole, or not at all.

        Args:
            cell: whose record.
            outcome: what to write.
            replace: whether a record that is not `done` makes room (`--retry`); others are never replaced.
        Raises:
            RecordError: it cannot be written; nothing of it is left, checkpoint and other records are as before.
        """
        folder = self.runs / cell.folder
        temporary, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
        run = {
            "format": FORMAT,
            "status": outcome.status,
            "reason": outcome.reason,
            "label": cell.label,
            "key": cell.key,
            "cell": cell.as_dict(),
            "facts": outcome.facts,
            "provenance": outcome.provenance,
            "clocks": outcome.clocks,
            **({} if outcome.traceback is None else {"traceback": outcome.traceback}),
        }
        present = self.find(cell)
        if present is not None and (present.status == "done" or not replace):
            raise RecordError(
                f"{present.folder} is finished ({present.status}); a finished record is never overwritten"
            )
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write(temporary / "rounds.csv", csv_text(outcome.rounds))
            _write(temporary / "clients.csv", csv_text(outcome.clients))
            _write(temporary / "run.json", json.dumps(run, indent=1) + "\n")
            if present is not None:
                shutil.rmtree(old, ignore_errors=True)
                present.folder.rename(old)
            temporary.rename(folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if present is not None and old.is_dir() and not present.folder.exists():
                old.rename(present.folder)
            raise RecordError(f"cannot write the record {folder}: {error.strerror or error}") from None
        shutil.rmtree(old, ignore_errors=True)
        return folder

    @contextlib.contextmanager
    def lock(self, cell: Cell) -> Iterator[None]:
        """Hold the cell against other processes and machines that share the folder.

        A lock whose process is gone from this machine is taken over; one of another machine is respected.

        Raises:
            Locked: another process holds it; says which, and how to break a lock that a dead machine left.
            RecordError: the lock cannot be written.
        """
        path = self._hidden(cell, "lock")
        try:
            _take(path)
        except OSError as error:
            raise RecordError(f"cannot write the lock {path}: {error.strerror}") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _hidden(self, cell: Cell, suffix: str) -> Path:
        """What is there of a cell only while it runs; the label is no part of the name, as it is none of the key."""
        return (self.runs / cell.folder).parent / f".{cell.seed}-{cell.key}.{suffix}"


def read_record(folder: Path) -> Record:
    """Read a record; nothing in it is executed.

    Raises:
        DataError: run.json is missing, is not what it should be, or was written by a newer fl-bench.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} is no record: it has no run.json; remove the folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove the folder to run it again") from None
    if not isinstance(run, dict) or not isinstance(run.get("format"), int):
        raise DataError(f"{path} does not say its format; restore it, or remove the folder to run it again")
    if run["format"] > FORMAT:
        raise DataError(
            f"{path} has format {run['format']}, this fl-bench reads up to {FORMAT}; a newer fl-bench wrote it: update"
        )
    wanted = {"status": str, "label": str, "cell": dict, "facts": dict, "provenance": dict, "clocks": dict, "key": str}
    wrong = [name for name, kind in wanted.items() if not isinstance(run.get(name), kind)]
    if not wrong and run["status"] not in get_args(Status):
        wrong = ["status"]
    if not wrong and not {"dataset", "partition", "method", "seed", "training"} <= run["cell"].keys():
        wrong = ["cell"]
    if wrong:
        raise DataError(f"{path} lacks or garbles {', '.join(wrong)}; restore it, or remove the folder to run it again")
    run.setdefault("reason", None)
    return Record(folder, run)


def csv_text(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as CSV: columns in order of first appearance, clocks last; floats by `repr`, None as nothing."""
    columns = dict.fromkeys(name for row in rows for name in row)
    ordered = sorted(columns, key=lambda name: name.startswith("seconds_"))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(ordered)
    writer.writerows([_text(row.get(name)) for name in ordered] for row in rows)
    return buffer.getvalue()


def read_csv(path: Path) -> list[Row]:
    """Rows of a file that `csv_text` made, with numbers as numbers.

    Raises:
        DataError: the file is missing or is not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove its folder to run it again") from None
    if not lines:
        raise DataError(f"{path} is empty; restore it, or remove its folder to run it again")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise DataError(f"{path}, line {number} has {len(line)} cells under {len(lines[0])} headings")
    return [dict(zip(lines[0], map(_value, line), strict=True)) for line in lines[1:]]


def without_clocks(folder: Path) -> dict[str, Any]:
    """All of a record but its clocks; two runs of one cell on one machine agree in it exactly."""
    record = read_record(folder)
    run = {name: value for name, value in record.run.items() if name != "clocks"}
    tables = {
        name: [{key: str(value) for key, value in row.items() if not key.startswith("seconds_")} for row in rows]
        for name, rows in (("rounds", record.rounds), ("clients", record.clients))
    }
    return {**run, **tables}


def _text(value: Value) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _value(text: str) -> Value:
    if not text:
        return None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _take(path: Path) -> None:
    """Write a lock, or raise `Locked`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only processes of this machine judge a lock of this machine, one after the other under `flock`: so none
    # takes away a lock that another has just taken over.
    with _turn(path.parent):
        holder = _holder(path)
        if holder is not None and not _is_gone(holder):
            raise Locked(
                f"process {holder['pid']} on {holder['host']} is running it (if that is no more: remove {path})"
            )
        path.unlink(missing_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            raise Locked(f"another machine has just taken it ({path})") from None
        with os.fdopen(handle, "w") as file:
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "born": _birth(os.getpid())}, file)


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock; None for no lock. An unreadable one is being written this moment: someone holds it."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        holder = None
    return holder if isinstance(holder, dict) and {"pid", "host"} <= holder.keys() else {"pid": "?", "host": "?"}


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder ran on this machine and does no more; a process number may have been given away again."""
    if holder["host"] != socket.gethostname():
        return False
    pid = holder["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return holder.get("born") != _birth(pid)


def _birth(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
