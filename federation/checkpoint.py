"""Checkpoints: the state of a run after a round, replaced in one step, loaded without executing code (federation room).

Finished rounds are in a file of their own beside it (`journal.py`), so that a round costs what it adds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fl_bench.errors import StorageError
from fl_bench.files import replacing, system_error

from .journal import Mark, beside, copy_rounds

CODE = ("fl_bench", "fl_bench.datasets", "fl_bench.federation", "fl_bench.methods", "fl_bench.cosmos")
"""Packages whose code decides the numbers of a run."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`; a crash leaves the previous checkpoint whole.

    Raises:
        StorageError: the disk does not take it.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in `path`; None when there is none, or none that is whole (the run then starts again).

    Raises:
        StorageError: there is one that the disk does not give.
    """
    try:
        with path.open("rb") as file:
            if not _is_whole(file):  # torch itself would take changed bytes for weights
                return None
            file.seek(0)
            try:
                state = torch.load(file, map_location=device, weights_only=True)
            except Exception:  # it raises almost anything on what it did not write
                return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return state if isinstance(state, dict) else None


def take_over(earlier: Path, path: Path) -> bool:
    """Make an earlier checkpoint, with its rounds, that of another file, where every byte is as it was written.

    The rounds are copied, for whoever wrote them may be at it yet, and the earlier state goes away in the step in which
    the new one appears: a kill leaves one of them whole.

    Args:
        earlier: the checkpoint.
        path: what it is to be called.
    Returns:
        Whether it was whole; nothing was done otherwise.

    Raises:
        StorageError: it cannot be opened, or the disk does not take the rounds.
        OSError: it cannot be renamed.
    """
    state = load(earlier, torch.device("cpu"))
    if state is None:
        return False
    mark = Mark.of(state)
    if mark is None or not copy_rounds(beside(earlier), beside(path), mark):
        return False
    os.replace(earlier, path)
    beside(earlier).unlink(missing_ok=True)
    return True


def _is_whole(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except Exception as error:  # it raises almost anything on a damaged file
        cause = system_error(error)
        if cause is None or cause.errno in (None, errno.EINVAL):  # EINVAL: it names a place that no file has
            return False
        raise cause from None


def made_with(device: torch.device) -> dict[str, str]:
    """What must be the same for a run to go on from a checkpoint as if it had never stopped."""
    return {"code": _code(), "torch": str(torch.__version__), "device": device.type}


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for package in CODE:
        folder = Path(str(import_module(package).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
