"""Removing the folders of packed records (benchmarks room): what is not in the bundle, word for word, stays.

A folder is renamed out of the way before it is compared and deleted, so that nobody writes into it meanwhile. A kill in
between leaves it under that name, `.<folder>.packed`: the next removal deletes it, or puts it back where it differs.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fl_bench.errors import DataError, StorageError

from .index import names, place_of
from .texts import FILES, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .index import Place

ASIDE = ".packed"
"""How the name of a folder ends that is being removed; it begins with a dot."""


def remove_packed(
    runs: Path, packed: Mapping[str, Mapping[str, str]], held: Callable[[Place], bool] = lambda _: False
) -> list[str]:
    """Remove the folders whose records are in a bundle as they are.

    Args:
        runs: the folder of records.
        packed: the records of the bundle, as it was read back.
        held: whether somebody is running a cell; the folder of its record stays.
    Returns:
        The names of those removed, also what an earlier removal was killed over.

    Raises:
        StorageError: the disk does not let go of a folder.
    """
    removed = []
    try:
        for left in sorted(runs.glob(f"*/.*{ASIDE}")):
            name = f"{left.parent.name}/{left.name[1 : -len(ASIDE)]}"
            if _settle(left, runs / name, packed.get(name)):
                removed.append(name)
        for name in names(runs):
            folder = runs / name
            if name in packed and not held(place_of(name)):
                aside = folder.with_name(f".{folder.name}{ASIDE}")
                folder.rename(aside)
                if _settle(aside, folder, packed[name]):
                    removed.append(name)
    except OSError as error:
        raise StorageError(f"cannot remove {error.filename or runs}: {error.strerror}; it is in the bundle") from None
    return removed


def _settle(aside: Path, folder: Path, texts: Mapping[str, str] | None) -> bool:
    """Delete a folder that was renamed out of the way, or put it back where it is not what was packed."""
    if texts is not None and _is_part_of(aside, texts):
        shutil.rmtree(aside)
        return True
    if not folder.exists():
        aside.rename(folder)
    return False


def _is_part_of(folder: Path, texts: Mapping[str, str]) -> bool:
    """Whether everything in a folder is what was packed; a deletion that was cut short leaves a part."""
    try:
        return all(path.name in FILES and read_text(path) == texts[path.name] for path in folder.iterdir())
    except DataError:
        return False
