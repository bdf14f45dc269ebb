"""Folders (benchmarks room): the results folder is removed, or another takes its place, while a grid runs."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from .seen import BrokenError, Seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .place import Place

CHANGES = 24
"""The folder goes after at most so many changes in it."""


def folder_removed(place: Place) -> Seen:
    """The results folder is removed with all that is in it, at a random moment.

    Expected: exit code 0 or 1 and no traceback; whatever is recorded afterwards is right.

    Recovery: the same command runs again what is gone.
    """
    return _replace(place, lambda folder: shutil.rmtree(folder, ignore_errors=True))


def folder_replaced(place: Place) -> Seen:
    """The results folder is moved away and an empty one takes its name, at a random moment.

    Expected: exit code 0 or 1 and no traceback; records that were moved, and those that come later, are right.

    Recovery: the same command runs again what is gone.
    """

    def replace(folder: Path) -> None:
        folder.rename(place.new_folder("moved"))
        folder.mkdir()

    return _replace(place, replace)


FAULTS = (folder_removed, folder_replaced)
"""The faults of this family."""


def _replace(place: Place, replace: Callable[[Path], None]) -> Seen:
    seen = Seen()
    place.results(2)
    until = time.monotonic() + place.limit
    while seen.times < place.times(6) and time.monotonic() < until:
        results = place.results(2)
        command = place.start(results)
        seen.times += place.moment(command, CHANGES)
        if results.folder.exists():
            replace(results.folder)
        code = command.wait()
        seen.exits.add(code)
        if code not in (0, 1) or "Traceback" in command.said:
            raise BrokenError(f"it ended with {code}: {command.said[-500:]}")
        results.check()
        seen.cells += place.finish(results)
    return seen
