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

    from .store import Store

QUARANTINE = "quarantine"
"""Where bad records are moved to, beside `runs`; nothing reads it."""


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


def set_aside(store: Store, place: Path) -> Path:
    """Move something to the quarantine, under a name that is free.

    Returns:
        Where it is now.

    Raises:
        RecordError: the disk does not take it.
    """
    inside = place.relative_to(store.runs) if place.is_relative_to(store.runs) else place.relative_to(store.results)
    target = free_name(store.results / QUARANTINE / inside)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(place, target)
    except OSError as error:
        raise RecordError(f"cannot move {place} to {target}: {error.strerror}") from None
    return target


def pull_from_bundle(store: Store, places: Iterable[Path]) -> dict[Path, Path]:
    """Write records of the bundle into the quarantine, then the bundle without them.

    Args:
        store: the results folder.
        places: of the records, inside of the bundle's path.
    Returns:
        Where each is now.

    Raises:
        DataError: the bundle does not read back.
        StorageError: the disk does not take it; the bundle is as it was.
    """
    texts, moved = dict(store.packed.texts), {}
    for place in places:
        name = place.relative_to(store.bundle).as_posix()
        target = free_name(store.results / QUARANTINE / name)
        with in_one_step(target) as temporary:
            for file, text in texts.pop(name).items():
                write_text(temporary / file, text)
        moved[place] = target
    if moved:
        write_bundle(store.bundle, texts, read_beside(store.bundle))
        store.look_again()
    return moved


def free_name(target: Path) -> Path:
    """The path, or the first of `<name>.2`, `<name>.3` ... that nothing has."""
    found, number = target, 2
    while found.exists():
        found, number = target.with_name(f"{target.name}.{number}"), number + 1
    return found
