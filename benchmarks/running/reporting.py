"""What a worker says of a finished round (benchmarks room), to whoever watches it on this machine or from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...federation.rows import RoundRow

CONTEXT = 600 * 2**20
"""Bytes of GPU memory that a process takes beside its tensors."""


def accuracy_of(row: RoundRow) -> float | None:
    """Mean client accuracy of the deployed view, percent; None where the round has none."""
    view = next((name for name in row.values if name.endswith(".acc_mean")), None)
    return None if view is None else row.values[view]


def gpu_capacity(device: str) -> int | None:
    """Bytes of memory that a GPU has; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.mem_get_info(device)[1]


def gpu_memory(device: str) -> tuple[int, int] | None:
    """The most bytes of a GPU's memory that this process has taken, and those that are free; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_reserved(device) + CONTEXT, torch.cuda.mem_get_info(device)[0]
