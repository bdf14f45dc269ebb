"""Checkpoints: the state of a run after a round, replaced in one step, loaded without executing code."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
"""Version of the checkpoint's layout; another version is not read and the run starts again."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`; a crash leaves the previous checkpoint whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
    return state if isinstance(state, dict) and state.get("format") == FORMAT else None
