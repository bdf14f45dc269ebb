"""The files of records (benchmarks room): read as text, ordinary files of a bounded size only."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from fl_bench.errors import DataError
from fl_bench.limits import RECORD_BYTES, TABLE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

RUN, ROUNDS, CLIENTS = FILES = ("run.json", "rounds.csv", "clients.csv")
"""What a record consists of."""


def limit_of(name: str) -> int:
    """The most bytes that a file of a record may have, by its name."""
    return RECORD_BYTES if name == RUN else TABLE_BYTES


def read_text(path: Path, most: int | None = None) -> str:
    """A file of a record as it is, line ends too; or another one that lies beside records.

    Args:
        path: the file.
        most: the bytes that it may have; None: by its name, as a record's.
    Raises:
        DataError: it is missing, no ordinary file, too large, or no UTF-8 text.
    """
    again = "restore it, or remove its folder to run it again" if most is None else "restore or remove it"
    than, most = ("any record's", limit_of(path.name)) if most is None else ("it may have", most)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would have us wait for ever
            raise DataError(f"{path} cannot be read (it is no ordinary file); {again}")
        if found.st_size > most:
            raise DataError(f"{path} has {found.st_size} bytes, more than {than} ({most}); {again}")
        with path.open("rb") as file:
            return file.read(most).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({_why(error)}); {again}") from None


def read_texts(folder: Path) -> dict[str, str]:
    """The files of a record's folder as they are, by name.

    Raises:
        DataError: one cannot be read.
    """
    return {name: read_text(folder / name) for name in FILES}


def _why(error: OSError | UnicodeDecodeError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
