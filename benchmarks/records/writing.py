"""Writing records (benchmarks room): a folder is there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from .record import AlreadyRecorded, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def in_one_step(folder: Path, replaced: Path | None = None, *, temporary: Path | None = None) -> Iterator[Path]:
    """A temporary folder that becomes `folder` at the end, in place of `replaced`; if anything fails, all is as before.

    Args:
        folder: the name that the folder gets, which must not be taken.
        replaced: what makes room for it, unless another has put something else in its place meanwhile.
        temporary: where to write; beside `folder` when None.
    Raises:
        AlreadyRecorded: the name is taken, or `replaced` has changed.
        RecordError: it cannot be written.
    """
    temporary = folder.with_name(folder.name + ".tmp") if temporary is None else temporary
    old = folder.with_name(folder.name + ".old")
    try:
        seen = None if replaced is None else _identity(replaced)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if replaced is not None:
            shutil.rmtree(old, ignore_errors=True)
            replaced.rename(old)
            if _identity(old) != seen:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        temporary.rename(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced is not None and old.is_dir() and not replaced.exists():
            old.rename(replaced)
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise AlreadyRecorded(f"{folder} was recorded meanwhile; a finished record is never overwritten") from None
        raise RecordError(f"cannot write the record {folder}: {error.strerror or error}") from None
    shutil.rmtree(old, ignore_errors=True)


def _identity(folder: Path) -> tuple[int, int]:
    """Tells a folder from another that gets its name later."""
    found = folder.stat()
    return found.st_ino, found.st_mtime_ns


def write_text(path: Path, text: str) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
