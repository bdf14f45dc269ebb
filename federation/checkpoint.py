"""Checkpoints: the state of a run after a round, replaced in one step, loaded without executing code."""

from __future__ import annotations

import errno
import hashlib
import zipfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fl_bench.errors import StorageError
from fl_bench.files import replacing, system_error

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


def is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as it was written.

    Raises:
        OSError: the disk does not give it.
    """
    with path.open("rb") as file:
        return _is_whole(file)


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
