"""The records of a results folder (benchmarks room): one folder per cell, written in one step and never changed.

    <results>/runs/<dataset>/<label>-<seed>-<key>/      run.json     status, resolved cell, facts, provenance, clocks
                                                        rounds.csv   a row per round
                                                        clients.csv  a row per round and client
                                                        models.safetensors  what clients deploy, where asked for
                              .<seed>-<key>.part/       who is running the cell, and its checkpoint until the run has
                                                        ended by itself (`lease.py`)

    <results>/records.tar.xz                            records that were packed into one file (`bundle.py`)

A record is found, and a run continued, under whatever label: what decides is the key.

Everything that may differ between two runs of one cell is a clock: columns that start with `seconds_`, and
`clocks` in run.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from fl_bench.errors import ConfigError, DataError

from ..grid.cell import safe_name
from . import bundle, continuing, lease
from .adoption import check_texts
from .index import Index, names, place_of
from .models import MODELS, write_models
from .packed import Packed
from .reading import check_name, read_record
from .record import FORMAT, AlreadyRecorded, Outcome, Record, RecordError
from .rows import csv_text
from .texts import FILES, RUN, read_texts
from .writing import in_one_step, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ...federation.kept import Kept
    from ..grid.cell import Cell
    from .index import Place
    from .lease import Claim, Holder
    from .record import Table


class Damaged(NamedTuple):
    """A record that cannot be read."""

    name: str
    """`<dataset>/<folder>`."""
    problem: str
    """What is wrong with it, where, and what would do."""


class Store:
    """The records of one results folder, those in folders and those that were packed.

    Args:
        results: the folder; or a bundle, whose records alone are meant then.
    """

    def __init__(self, results: Path) -> None:
        self.is_bundle = bundle.is_bundle(results)
        self.results = results.parent if self.is_bundle else results
        self.runs = self.results / "runs"
        self.bundle = results if self.is_bundle else results / bundle.NAME
        self.packed = Packed(self.bundle, needed=self.is_bundle)
        self._index = Index(self.runs)
        self._known: dict[str, tuple[object, Record]] = {}

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

    def why_not_writable(self) -> str:
        """Why records can probably not be written here; nothing where they can. Nothing is made to find out."""
        place = next(place for place in (self.runs, *self.runs.parents) if place.exists())
        if os.access(place, os.W_OK | os.X_OK):
            return ""
        return f"cannot write records to {self.results}: {place} may not be written to; name another folder with --out"

    def find(self, cell: Cell) -> Record | None:
        """The record of a cell, under whatever label; None when there is none.

        Raises:
            DataError: there is one, but it cannot be read.
        """
        own = cell.folder
        place = place_of(own)
        for name in (own, *self._index.of(place)):  # its own, as it may be younger than the index
            if (self.runs / name).is_dir():
                return self._read_once(name)
        packed = self.packed.of(place)
        return self.packed.read(packed[0]) if packed else None

    def _read_once(self, name: str) -> Record:
        """The record of a folder; one that is there as it was is not read again."""
        folder = self.runs / name
        state = bundle.state(folder / RUN)
        known = self._known.get(name)
        if known is None or known[0] != state:
            known = self._known[name] = (state, check_name(read_record(folder)))
        return known[1]

    def folders_of(self, place: Place) -> list[Path]:
        """The folders of a cell's records, as far as they were there when the store last looked."""
        return [self.runs / name for name in self._index.of(place)]

    def look_again(self) -> None:
        """See what others have recorded or packed since: what there is of a data set is remembered between calls."""
        self._index = Index(self.runs)
        self.packed.look_again()

    def folders(self) -> list[Path]:
        """The folders of all records that have one, sorted."""
        return [] if self.is_bundle else [self.runs / name for name in names(self.runs)]

    def names(self) -> list[str]:
        """All records by name, `<dataset>/<folder>`, sorted; the folder of a cell hides its record in the bundle.

        Raises:
            DataError: the bundle cannot be read.
        """
        unpacked = [] if self.is_bundle else names(self.runs)
        hidden = set(map(place_of, unpacked))
        return sorted([*unpacked, *(name for name in self.packed.texts if place_of(name) not in hidden)])

    def read(self, name: str) -> Record:
        """The record of a name.

        Raises:
            DataError: it cannot be read.
        """
        folder = self.runs / name
        if folder.is_dir() and not self.is_bundle:
            try:
                return check_name(read_record(folder))
            except DataError:
                if folder.is_dir():  # else it was packed and removed this moment
                    raise
        if name not in self.packed.texts:
            self.look_again()
        if name not in self.packed.texts:
            raise DataError(f"there is no record {folder}; was it removed meanwhile?")
        return self.packed.read(name)

    def records(self) -> list[Record]:
        """All records, by dataset, label and seed.

        Raises:
            DataError: one of them cannot be read.
        """
        records, damaged = self.readable()
        if damaged:
            raise DataError(damaged[0].problem)
        return records

    def readable(self, tables: Sequence[Table] = ()) -> tuple[list[Record], list[Damaged]]:
        """The records that can be read, by dataset, label and seed, and those that cannot.

        Args:
            tables: which of their tables are read and checked at once; the others are when they are asked for.
        Raises:
            DataError: the bundle cannot be read.
        """
        records, damaged = [], []
        for name in self.names():
            try:
                record = self.read(name)
                record.check(tables)
            except DataError as error:
                damaged.append(Damaged(name, str(error)))
            else:
                records.append(record)
        records.sort(key=lambda one: (one.cell["dataset"], one.label, one.cell["seed"], one.folder.name))
        return records, damaged

    def repeated(self, cells: Sequence[Cell]) -> Iterator[Record]:
        """Records with the dataset and seed of a cell; one that cannot be read is left to whoever needs it."""
        places = {(safe_name(cell.dataset.name), str(cell.seed)) for cell in cells}
        for name in self.names() if places else ():
            if place_of(name)[:2] in places:
                with contextlib.suppress(DataError):
                    yield self.read(name)

    def unpack(self) -> tuple[list[Path], list[Damaged]]:
        """Write the records of the bundle into folders, each in one step; what is there already stays.

        Returns:
            The folders that were written, and the records that are damaged, which were not.

        Raises:
            DataError: the bundle cannot be read, or a folder holds another record of the same name.
            RecordError: one cannot be written; those before it are there.
        """
        written, damaged = [], []
        for name, texts in self.packed.texts.items():
            folder = self.runs / name
            try:
                self.packed.read(name).check(("rounds", "clients"))
            except DataError as error:
                damaged.append(Damaged(name, str(error)))
                continue
            if folder.is_dir():
                if read_texts(folder) != texts:
                    raise DataError(f"{folder} is another record than the one in {self.bundle}; remove one of them")
                continue
            with in_one_step(folder) as temporary:
                for file in FILES:
                    write_text(temporary / file, texts[file])
            written.append(folder)
        return written, damaged

    def held(self, place: Place) -> bool:
        """Whether somebody is running a cell."""
        return lease.holder(self.part_of(place)) is not None

    @contextlib.contextmanager
    def claim(self, cell: Cell) -> Iterator[Claim]:
        """Hold the cell against other processes and machines that share the folder, in a `with` block; see `lease.py`.

        Raises:
            Held: another process holds it; says which, since when, and when its lease ends.
            RecordError: the claim cannot be written.
        """
        with lease.claiming(self._part(cell)) as claim:
            self.look_again()
            yield claim

    def holder(self, cell: Cell) -> Holder | None:
        """Who is running a cell; None when nobody is.

        Raises:
            RecordError: the file system does not say.
        """
        return lease.holder(self._part(cell))

    def checkpoint(self, cell: Cell) -> Path | None:
        """The newest checkpoint of an unfinished run; None when there is none."""
        return continuing.newest_checkpoint(self._part(cell))

    def has_checkpoint(self, cell: Cell) -> bool:
        """Whether an unfinished run left a checkpoint."""
        return self.checkpoint(cell) is not None

    def leave_checkpoint(self, cell: Cell, state: bytes, rounds: bytes) -> None:
        """Put a checkpoint that was made elsewhere where the next run of the cell goes on from it.

        Args:
            cell: whose.
            state: the content of the checkpoint.
            rounds: the finished rounds that belong to it.
        Raises:
            Held: another process is running the cell.
            StorageError: the disk does not take it.
        """
        with self.claim(cell) as claim:
            continuing.keep(claim, state, rounds, 0)

    def drop_checkpoint(self, cell: Cell) -> None:
        """Forget what an unfinished run left."""
        shutil.rmtree(self._part(cell), ignore_errors=True)

    def drop_checkpoint_of(self, record: Record) -> None:
        """Forget what the unfinished run of a record left, unless it is going on."""
        part = self.part_of(place_of(record.name))
        if lease.holder(part) is None:
            shutil.rmtree(part, ignore_errors=True)

    def write(
        self,
        cell: Cell,
        outcome: Outcome,
        *,
        models: Kept | None = None,
        replace: bool = False,
        claim: Claim | None = None,
    ) -> Path:
        """Write a record in one step: it is there whole, or not at all.

        Args:
            cell: whose record.
            outcome: what to write.
            models: what the run keeps beside it.
            replace: whether a record that is not `done` makes room (`--retry`); others are never replaced.
            claim: under which it was made; the record gets its name only while it holds.
        Raises:
            Lost: another process has taken the cell over.
            AlreadyRecorded: there is a finished record.
            RecordError: it cannot be written; nothing of it is left, checkpoint and other records are as before.
        """
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
        files = {"rounds.csv": csv_text(outcome.rounds), "clients.csv": csv_text(outcome.clients)}
        texts = {**files, "run.json": json.dumps(run, indent=1) + "\n"}
        return self._put(cell, texts, models=models, replace=replace, claim=claim)

    def adopt(self, cell: Cell, texts: Mapping[str, str], *, replace: bool = False, claim: Claim | None = None) -> Path:
        """Write a record that another machine made, byte for byte, in one step; nothing that it holds is believed.

        Args:
            cell: whose record it has to be.
            texts: the texts of its files.
            replace: whether a record that is not `done` makes room; others are never replaced.
            claim: as in `write`.
        Raises:
            DataError: it is no record of the cell.
            Lost: another process has taken the cell over.
            AlreadyRecorded: there is a finished record.
            RecordError: it cannot be written; nothing of it is left, checkpoint and other records are as before.
        """
        check_texts(cell, texts)
        return self._put(cell, texts, replace=replace, claim=claim)

    def _put(
        self,
        cell: Cell,
        texts: Mapping[str, str],
        *,
        models: Kept | None = None,
        replace: bool,
        claim: Claim | None,
    ) -> Path:
        folder = self.runs / cell.folder
        self.look_again()
        present = self.find(cell)
        if present is not None and (present.status == "done" or not replace):
            raise AlreadyRecorded(
                f"{present.folder} is finished ({present.status}); a finished record is never overwritten"
            )
        replaced = present.folder if present is not None and present.packed is None else None
        with in_one_step(folder, replaced, temporary=None if claim is None else claim.record) as temporary:
            for name, text in texts.items():
                write_text(temporary / name, text)
            if models is not None:
                write_models(temporary / MODELS, models)
            if claim is not None:
                claim.check()
        self.look_again()
        return folder

    def _part(self, cell: Cell) -> Path:
        """`part_of` a cell; the label is no part of the name, as it is none of the key."""
        return self.part_of(place_of(cell.folder))

    def part_of(self, place: Place) -> Path:
        """Where what is there of a cell lies until its run has ended by itself."""
        dataset, seed, key = place
        return self.runs / dataset / f".{seed}-{key}.part"


def read_results(results: Path, tables: Sequence[Table] = ()) -> tuple[list[Record], list[Damaged]]:
    """All records of a results folder or of a bundle that can be read, at least one, and those that cannot.

    Args:
        results: the folder or the bundle.
        tables: which of their tables are read and checked at once.
    Raises:
        ConfigError: there are none; says where there are some.
        DataError: the bundle cannot be read, or no record can.
    """
    if bundle.is_bundle(results) and not results.is_file():
        raise ConfigError(f"there is no bundle {results}; `fl-bench pack FOLDER` makes one of a results folder")
    records, damaged = Store(results).readable(tables)
    if damaged and not records:
        raise DataError(f"none of {len(damaged)} records can be read. {damaged[0].problem}")
    if not records:
        near = sorted(place.parent for pattern in ("*/runs", f"*/{bundle.NAME}") for place in results.glob(pattern))
        found = f"; there are records in {', '.join(map(str, dict.fromkeys(near)))}" if near else ""
        raise ConfigError(f"{results} has no records{found}; `fl-bench run --out {results}` makes some")
    return records, damaged
