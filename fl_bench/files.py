"""Files that are there whole or as they were, whatever ends the program meanwhile (shared by every room)."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BINARY = getattr(os, "O_BINARY", 0)
"""Keeps Windows from changing line ends."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, in a folder that is made: it takes the place of `path` when the block is done.

    What was written has reached the disk by then. If the block fails, `path` is as it was and nothing is left over.

    Raises:
        StorageError: the disk does not take it: what the block raised, or an error behind that, is the system's.
    """
    target = path.resolve()  # a link stays, and what it names is replaced
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):  # what went wrong matters more
            temporary.unlink()
        cause = system_error(error)
        if cause is not None:
            raise StorageError(f"cannot write {path}: {cause.strerror or cause}") from error
        raise


def put_at(path: Path, content: bytes, place: int) -> None:
    """Write bytes into a file from a place on, and cut off what was behind; before the place, nothing is touched.

    It has reached the disk by then. A file that begins here, at place 0, is made with its folder. If it fails, whatever
    is behind the place is to be written again.

    Raises:
        StorageError: the disk does not take it, or the file does not reach to the place.
    """
    try:
        if place == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | (os.O_CREAT if place == 0 else 0) | BINARY, 0o666), "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size < place:
                raise StorageError(f"cannot write {path}: it has {size} bytes, {place} were written; was it changed?")
            file.seek(place)
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def system_error(error: BaseException) -> OSError | None:
    """The system's error behind an error: itself, or what it was raised from or while handling; None without one.

    torch says `unexpected pos` of a full disk, while handling what the system said.
    """
    behind: BaseException | None = error if isinstance(error, Exception) else None  # who interrupts means to
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return behind


def write_file(path: Path, text: str) -> None:
    """Write a text file with the line ends that `text` has; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
