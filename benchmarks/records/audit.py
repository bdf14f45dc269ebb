"""Looking through a results folder (benchmarks room): what is wrong with each record, and what kills have left."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import DataError

from ...federation.settings import UNSEEN
from .bundle import BESIDE, NAME
from .declarations import read_declarations
from .index import UNFINISHED, by_place, names, place_of
from .models import MODELS, models_of, read_models
from .reading import read_record
from .recovery import lost_record
from .removal import ASIDE
from .texts import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .index import Place
    from .record import Record
    from .store import Store

Kind = Literal["record", "packed", "bundle", "replaced", "leftover", "odd", "pairing", "declaration"]
"""What a finding is about: a record with a folder, one in the bundle, the bundle, a record that was being replaced when
a process was killed, something else that a kill left, a record that is not comparable with most of its comparison, one
of several where no side has most, the file of what was declared."""


@dataclass(frozen=True)
class Finding:
    """Something in a results folder that should not be so."""

    kind: Kind
    place: Path
    """The folder or file; inside of a bundle, the bundle's path and the record's name."""
    problem: str
    remedy: str
    """What to do about it; `--quarantine` does it where it can."""


def audit(store: Store) -> tuple[list[Finding], list[Record]]:
    """Look through a results folder or a bundle; changes nothing.

    Args:
        store: the folder or the bundle.
    Returns:
        What was found, by place, and the records that are sound in themselves: those of one comparison may still
        contradict each other.
    """
    findings, sound = [], []
    try:
        packed = list(store.packed.texts)
    except DataError as error:
        findings.append(Finding("bundle", store.bundle, _problem(error, store.bundle), "restore it from a copy"))
        packed = []
    try:
        if not findings:
            read_declarations(store)
    except DataError as error:
        place = store.results / BESIDE
        findings.append(Finding("declaration", place, _problem(error, place), "restore it, or remove it"))
    folders = [] if store.is_bundle else names(store.runs)
    for name in packed:
        place = store.bundle / name
        record, problem = _look_at(partial(store.packed.read, name), place)
        if problem:
            findings.append(Finding("packed", place, problem, "restore the bundle, or run the grid again"))
        elif record is not None and (store.is_bundle or not store.folders_of(place_of(name))):
            sound.append(record)
    for name in folders:
        place = store.runs / name
        record, problem = _look_at(partial(store.read, name), place)
        if problem:
            findings.append(Finding("record", place, problem, "restore it, or move it away and run the grid again"))
        elif record is not None:
            sound.append(record)
    for twins in by_place(folders).values():
        findings += [
            Finding("record", store.runs / other, f"is the same run as {twins[0]}", "keep one of them")
            for other in twins[1:]
        ]
    if not store.is_bundle:
        findings += _leftovers(store)
    return sorted(findings, key=lambda one: (str(one.place), one.problem)), sound


def _look_at(read: Callable[[], Record], place: Path) -> tuple[Record | None, str]:
    """A record, and all that is wrong with it; nothing where it is sound."""
    try:
        record = read()
        problems = [*incomplete(record), *(_strangers(place) if record.packed is None else ())]
        record.let_go()
        if (models := models_of(record)) is not None:
            read_models(models).check()
    except DataError as error:
        return None, _problem(error, place)
    return record, ", and ".join(problems)


def incomplete(record: Record) -> Iterator[str]:
    """What a record lacks of what its cell asked for, though every field is sound by itself."""
    rounds, clients = record.rounds, record.clients
    wanted = record.cell["training"]["rounds"]
    if record.status == "done" and len(rounds) != wanted:
        yield f"is done with {len(rounds)} of {wanted} rounds in rounds.csv"
    if record.status != "done" and len(rounds) > wanted:
        yield f"has {len(rounds)} rounds in rounds.csv, {wanted} were asked for"
    counts = Counter((row["round"], row["client"]) for row in clients)
    if any(count > 1 for count in counts.values()):
        yield "has a client twice in one round in clients.csv"
    seen = Counter(row["round"] for row in clients)
    if set(seen) != {row["round"] for row in rounds} or len(set(seen.values())) > 1:
        yield f"has {len(clients)} rows in clients.csv, not as many for each of {len(rounds)} rounds"
    for view in record.facts.get("views") or ():
        if clients and view != UNSEEN and f"{view}.acc" not in clients[0]:
            yield f"lacks the column {view}.acc in clients.csv"


def _strangers(folder: Path) -> Iterator[str]:
    others = sorted(set(os.listdir(folder)) - {*FILES, MODELS})
    if others:
        yield f"holds what is no file of a record: {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}"


def _leftovers(store: Store) -> Iterator[Finding]:
    """What processes that were killed have left."""
    for path in sorted([*store.runs.glob("*/*"), *store.runs.glob(".*"), *store.results.glob(f".{NAME}.tmp")]):
        if path.name.startswith(".") and store.held(_place_of_hidden(path)):
            continue
        if path.suffix == UNFINISHED[1]:
            back = lost_record(store, path)
            if back is not None:
                yield Finding("replaced", path, "was being replaced at a kill", f"`run` puts it back as {back.name}")
            else:
                yield Finding("leftover", path, "was replaced by a newer record", "remove it")
        elif path.suffix == UNFINISHED[0]:
            yield Finding("leftover", path, "was being written when its process was killed", "remove it")
        elif path.name.startswith(".") and path.name.endswith(ASIDE):
            yield Finding("leftover", path, "was being removed after packing", "`fl-bench pack --remove` goes on")
        elif path.name.startswith(".probe-"):
            yield Finding("leftover", path, "is the trace of a test whether the folder takes files", "remove it")
        elif path.suffix == ".part" and _is_done(store, path):
            yield Finding("leftover", path, "is the checkpoint of a run that is done", "the next `run` removes it")
        elif path.is_file() and path.parent.parent == store.runs:
            yield Finding("leftover", path, "is no record", "move it out of the folder")


def _place_of_hidden(path: Path) -> Place:
    """The cell of `.<seed>-<key>.<suffix>`."""
    seed, _, key = path.name[1 : -len(path.suffix)].rpartition("-")
    return path.parent.name, seed, key


def _is_done(store: Store, part: Path) -> bool:
    try:
        return any(read_record(folder).status == "done" for folder in store.folders_of(_place_of_hidden(part)))
    except DataError:
        return False


def _problem(error: DataError, place: Path) -> str:
    """What is wrong, without the place and the remedy, which a finding has apart."""
    return str(error).removeprefix(f"{place}").removeprefix(os.sep).partition("; ")[0].strip()
