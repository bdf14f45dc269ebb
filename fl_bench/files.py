"""Files that are there whole or as they were, whatever ends the program meanwhile (shared by every room)."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
