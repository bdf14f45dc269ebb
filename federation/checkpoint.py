"""Checkpoints: the state of a run after a round, replaced in one step, loaded without executing code."""

from __future__ import annotations

import hashlib
import zipfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from fl_bench.files import replacing

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
    """The state in `path`; None when there is none, or none that is whole (the run then starts again)."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()  # torch itself would take changed bytes for weights
            file.seek(0)
            state = None if damaged else torch.load(file, map_location=device, weights_only=True)
        except Exception:  # both readers raise almost anything on a damaged file
            return None
    return state if isinstance(state, dict) else None


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
