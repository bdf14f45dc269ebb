"""Writing records (benchmarks room): a folder is there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from .record import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def in_one_step(folder: Path, replaced: Path | None = None) -> Iterator[Path]:
    """A temporary folder that becomes `folder` at the end, in place of `replaced`; if anything fails, all is as before.

    Raises:
        RecordError: it cannot be written.
    """
    temporary, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if replaced is not None:
            shutil.rmtree(old, ignore_errors=True)
            replaced.rename(old)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced is not None and old.is_dir() and not replaced.exists():
            old.rename(replaced)
        raise RecordError(f"cannot write the record {folder}: {error.strerror or error}") from None
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
