"""A file system and a clock with faults (benchmarks room): `shim.c`, compiled and put in front of a command."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .seen import NotHereError

if TYPE_CHECKING:
    from .place import Place

SOURCE = Path(__file__).with_name("shim.c")
"""What is compiled."""


def failing(
    place: Place, under: Path, call: str, error: str, *, match: str = "", after: int = 0, times: int = 1
) -> dict[str, str]:
    """The environment of a command whose calls fail.

    Args:
        place: where faults are injected.
        under: the folder that is meant.
        call: `open`, `mkdir`, `write`, `fsync`, `rename` or `read`.
        error: by name, `ENOSPC`.
        match: text that the path must have.
        after: how many such calls of each process go well before.
        times: how many fail then; -1 for all.
    Returns:
        Variables; `FAULTS_HIT` names a file that exists when a call has failed.
    """
    return {
        **_loaded(place, under),
        "FAULTS_CALL": call,
        "FAULTS_ERRNO": str(getattr(errno, error)),
        **({"FAULTS_MATCH": match} if match else {}),
        "FAULTS_AFTER": str(after),
        "FAULTS_TIMES": str(times),
        "FAULTS_HIT": str(place.new_folder("hit")),
    }


def late(place: Place, under: Path, seconds: int) -> dict[str, str]:
    """The environment of a command that sees what other commands create some seconds later."""
    own = place.new_folder("own")
    own.mkdir()
    return {**_loaded(place, under), "FAULTS_LATE": str(seconds), "FAULTS_OWN": str(own)}


def ahead(place: Place, under: Path, seconds: int) -> dict[str, str]:
    """The environment of a command whose clock is ahead, and the times of the files that it writes with it."""
    return {**_loaded(place, under), "FAULTS_CLOCK": str(seconds), "FAULTS_STAMP": str(seconds)}


def _loaded(place: Place, under: Path) -> dict[str, str]:
    return {"LD_PRELOAD": str(_library(place)), "FAULTS_UNDER": str(under.resolve())}


def _library(place: Place) -> Path:
    """The compiled library, once per scratch folder.

    Raises:
        NotHereError: the system has no such libraries, or no compiler.
    """
    library = place.folder / "shim.so"
    if not library.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not sys.platform.startswith("linux") or compiler is None:
            raise NotHereError("it needs Linux and a C compiler, for a library in front of the command")
        command = [compiler, "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise NotHereError(f"shim.c cannot be compiled here: {done.stderr.strip().splitlines()[-1]}")
    return library
