"""Putting back what a kill took away (benchmarks room): records that were being replaced, and those to be set aside."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from ..grid.cell import safe_name
from .bundle import read_beside, write_bundle
from .index import UNFINISHED, place_of
from .reading import read_record
from .record import RecordError
from .writing import in_one_step, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .index import Place
    from .store import Store

QUARANTINE, SUPERSEDED = "quarantine", "superseded"
"""Where bad records are moved to, and those that somebody took away, beside `runs`; nothing reads them there."""


def lost_record(store: Store, old: Path) -> Path | None:
    """The name that a record had which `--retry` was about to replace when its process was killed.

    Args:
        store: the results folder.
        old: a folder that ends in `.old`.
    Returns:
        Where it belongs; None where there is a record of its cell, or somebody is running it, or it is none.
    """
    try:
        record = read_record(old)
    except DataError:
        return None
    label, cell = safe_name(record.label), record.cell
    name = f"{old.parent.name}/{label}-{cell['seed']}-{record.run['key']}"
    if store.folders_of(place_of(name)) or store.held(place_of(name)):
        return None
    return store.runs / name


def recover(store: Store) -> dict[Path, Path]:
    """Put every record back that was being replaced when its process was killed; the others are as they were.

    Returns:
        Where they are now, by where they were.

    Raises:
        RecordError: the disk does not take it.
    """
    back = {}
    for old in sorted(store.runs.glob(f"*/*{UNFINISHED[1]}")):
        place = lost_record(store, old)
        if place is not None:
            try:
                old.rename(place)
            except OSError as error:
                raise RecordError(f"cannot put {old} back as {place.name}: {error.strerror}") from None
            back[old] = place
    if back:
        store.look_again()
    return back


def set_aside(store: Store, place: Path, where: str = QUARANTINE) -> Path:
    """Move something to the quarantine, or to another such folder, under a name that is free.

    Returns:
        Where it is now.

    Raises:
        RecordError: the disk does not take it.
    """
    inside = place.relative_to(store.runs) if place.is_relative_to(store.runs) else place.relative_to(store.results)
    target = free_name(store.results / where / inside)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(place, target)
    except OSError as error:
        raise RecordError(f"cannot move {place} to {target}: {error.strerror}") from None
    return target


def pull_from_bundle(store: Store, places: Iterable[Path], where: str = QUARANTINE) -> dict[Path, Path]:
    """Write records of the bundle into the quarantine, or another such folder, then the bundle without them.

    Args:
        store: the results folder.
        places: of the records, inside of the bundle's path.
        where: the folder.
    Returns:
        Where each is now.

    Raises:
        DataError: the bundle does not read back.
        StorageError: the disk does not take it; the bundle is as it was.
    """
    texts, moved = dict(store.packed.texts), {}
    for place in places:
        name = place.relative_to(store.bundle).as_posix()
        target = free_name(store.results / where / name)
        with in_one_step(target) as temporary:
            for file, text in texts.pop(name).items():
                write_text(temporary / file, text)
        moved[place] = target
    if moved:
        write_bundle(store.bundle, texts, read_beside(store.bundle))
        store.look_again()
    return moved


def supersede(store: Store, places: Iterable[Place]) -> dict[Path, Path]:
    """Move all records of some cells to `superseded`, packed ones too, and what unfinished runs of them left.

    Args:
        store: the results folder.
        places: of the cells, as `place_of` says.
    Returns:
        Where each record is now, by where it was; nothing is deleted.

    Raises:
        RecordError: somebody is running one of the cells, or the disk does not take it.
        DataError: the bundle does not read back.
    """
    wanted = list(dict.fromkeys(places))
    store.look_again()
    for place in wanted:
        if store.held(place):
            raise RecordError(f"{place[0]}, seed {place[1]}, key {place[2]} is being run; stop that run first")
    packed = [store.bundle / name for place in wanted for name in store.packed.of(place)]
    moved = pull_from_bundle(store, packed, SUPERSEDED)
    for place in wanted:
        for folder in store.folders_of(place):
            moved[folder] = set_aside(store, folder, SUPERSEDED)
        if store.part_of(place).exists():
            set_aside(store, store.part_of(place), SUPERSEDED)
    store.look_again()
    return moved


def free_name(target: Path) -> Path:
    """The path, or the first of `<name>.2`, `<name>.3` ... that nothing has."""
    found, number = target, 2
    while found.exists():
        found, number = target.with_name(f"{target.name}.{number}"), number + 1
    return found
