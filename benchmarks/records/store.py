"""Records of runs (benchmarks room): one folder per cell, written in one step, never executed when read.

    <results>/runs/<dataset>/<label>-<seed>-<key>/      run.json     status, resolved cell, facts, provenance, clocks
                                                        rounds.csv   a row per round
                                                        clients.csv  a row per round and client
                              .<seed>-<key>.part/       checkpoint.pt, only until the record is there
                              .<seed>-<key>.lock        who is running the cell, only while it runs

    <results>/records.tar.xz                            records that were packed into one file (`bundle.py`)

A record is found, and a run continued, under whatever label: what decides is the key.

Everything that may differ between two runs of one cell is a clock: columns that start with `seconds_`, and
`clocks` in run.json.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, DataError, StorageError

from ..grid.repetition import Repetition
from . import bundle
from .locks import take_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ..grid.cell import Cell

FORMAT = 1
"""Version of the record's layout; newer ones are refused, older ones still load."""

Status = Literal["done", "diverged", "failed", "timeout", "unsupported"]
Value: TypeAlias = "float | int | str | None"
Row: TypeAlias = "dict[str, Value]"


class RecordError(StorageError):
    """A record that cannot be written: the disk is full, or the folder cannot be written to."""


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
        return _texts(self.folder) if self.packed is None else self.packed

    def _table(self, name: str) -> list[Row]:
        path = self.folder / name
        return read_csv(path) if self.packed is None else parse_csv(self.packed[name], path)


class Store:
    """The records of one results folder, those in folders and those that were packed.

    Args:
        results: the folder; or a bundle, whose records alone are meant then.
    """

    def __init__(self, results: Path) -> None:
        self._bundle_alone = bundle.is_bundle(results)
        self.results = results.parent if self._bundle_alone else results
        self.runs = self.results / "runs"
        self.bundle = results if self._bundle_alone else results / bundle.NAME

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
        dataset, ending = f"{folder.parent.name}/", f"-{cell.seed}-{cell.key}"
        for name in self._packed:
            if name.startswith(dataset) and name.endswith(ending):
                return self.read(name)
        return None

    def folders(self) -> list[Path]:
        """The folders of all records that have one, sorted."""
        if self._bundle_alone:
            return []
        return sorted(
            folder
            for folder in self.runs.glob("*/*")
            if folder.is_dir() and not folder.name.startswith(".") and folder.suffix not in (".tmp", ".old")
        )

    def names(self) -> list[str]:
        """All records by name, `<dataset>/<folder>`, sorted; the folder of a cell hides its record in the bundle.

        Raises:
            DataError: the bundle cannot be read.
        """
        unpacked = [f"{folder.parent.name}/{folder.name}" for folder in self.folders()]
        hidden = set(map(_cell_of, unpacked))
        return sorted([*unpacked, *(name for name in self._packed if _cell_of(name) not in hidden)])

    def read(self, name: str) -> Record:
        """The record of a name.

        Raises:
            DataError: it cannot be read.
        """
        folder = self.runs / name
        if folder.is_dir() and not self._bundle_alone:
            return read_record(folder)
        place, texts = self.bundle / name, self._packed[name]
        return Record(place, _parsed(texts["run.json"], place / "run.json"), texts)

    def records(self) -> list[Record]:
        """All records, by dataset, label and seed.

        Raises:
            DataError: one of them cannot be read.
        """
        return sorted(
            map(self.read, self.names()),
            key=lambda record: (str(record.cell["dataset"]), record.label, record.cell["seed"], record.folder.name),
        )

    def unpack(self) -> list[Path]:
        """Write the records of the bundle into folders, each in one step; what is there already stays.

        Returns:
            The folders that were written.

        Raises:
            DataError: the bundle cannot be read, or a folder holds another record of the same name.
            RecordError: one cannot be written; those before it are there.
        """
        written = []
        for name, texts in self._packed.items():
            folder = self.runs / name
            if folder.is_dir():
                if _texts(folder) != texts:
                    raise DataError(f"{folder} is another record than the one in {self.bundle}; remove one of them")
                continue
            with _in_one_step(folder) as temporary:
                for file in bundle.FILES:
                    _write(temporary / file, texts[file])
            written.append(folder)
        return written

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
        run = {
            "format": FORMAT,
            "status": outcome.status,
            "reason": outcome.reason,
            "label": cell.label,
            "key": cell.key,
            **({"tuning": cell.tuning} if cell.tuning else {}),
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
        replaced = present.folder if present is not None and present.packed is None else None
        with _in_one_step(folder, replaced) as temporary:
            _write(temporary / "rounds.csv", csv_text(outcome.rounds))
            _write(temporary / "clients.csv", csv_text(outcome.clients))
            _write(temporary / "run.json", json.dumps(run, indent=1) + "\n")
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
            take_lock(path)
        except OSError as error:
            raise RecordError(f"cannot write the lock {path}: {error.strerror}") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    @cached_property
    def _packed(self) -> bundle.Texts:
        if not self.bundle.is_file() and not self._bundle_alone:
            return {}
        return bundle.read_bundle(self.bundle)

    def _hidden(self, cell: Cell, suffix: str) -> Path:
        """What is there of a cell only while it runs; the label is no part of the name, as it is none of the key."""
        return (self.runs / cell.folder).parent / f".{cell.seed}-{cell.key}.{suffix}"


def read_results(results: Path) -> list[Record]:
    """All records of a results folder or of a bundle, at least one.

    Raises:
        ConfigError: there are none; says where there are some.
        DataError: one of them cannot be read.
    """
    if bundle.is_bundle(results) and not results.is_file():
        raise ConfigError(f"there is no bundle {results}; `fl-bench pack FOLDER` makes one of a results folder")
    records = Store(results).records()
    if not records:
        near = sorted(place.parent for pattern in ("*/runs", f"*/{bundle.NAME}") for place in results.glob(pattern))
        found = f"; there are records in {', '.join(map(str, dict.fromkeys(near)))}" if near else ""
        raise ConfigError(f"{results} has no records{found}; `fl-bench run --out {results}` makes some")
    return records


def read_record(folder: Path) -> Record:
    """Read the record of a folder; nothing in it is executed.

    Raises:
        DataError: run.json is missing, is not what it should be, or was written by a newer fl-bench.
    """
    path = folder / "run.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{folder} is no record: it has no run.json; remove the folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove the folder to run it again") from None
    return Record(folder, _parsed(text, path))


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """The content of a run.json that was read from `path`, checked."""
    try:
        run = json.loads(text)
    except (ValueError, RecursionError) as error:
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
    return run


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
        return parse_csv(path.read_bytes().decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove its folder to run it again") from None


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


def _cell_of(name: str) -> tuple[str, str, str]:
    """Dataset, seed and key of the record `<dataset>/<label>-<seed>-<key>`."""
    dataset, _, folder = name.partition("/")
    _, seed, key = f"--{folder}".rsplit("-", 2)
    return dataset, seed, key


def _texts(folder: Path) -> dict[str, str]:
    """The files of a record's folder as they are."""
    try:
        return {name: (folder / name).read_bytes().decode() for name in bundle.FILES}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} cannot be read ({error}); restore it, or remove it to run it again") from None


@contextlib.contextmanager
def _in_one_step(folder: Path, replaced: Path | None = None) -> Iterator[Path]:
    """A temporary folder that becomes `folder` at the end, in place of `replaced`; if anything fails, all is as before.

    Raises:
        RecordError: it cannot be written.
    """
    temporary, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if replaced is not None:
            shutil.rmtree(old, ignore_errors=True)
            replaced.rename(old)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced is not None and old.is_dir() and not replaced.exists():
            old.rename(replaced)
        raise RecordError(f"cannot write the record {folder}: {error.strerror or error}") from None
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
