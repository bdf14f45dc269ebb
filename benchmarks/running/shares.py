"""Shares of a GPU (benchmarks room): how much of its memory cells take, as measured; and that they take no more."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from ..grid.cell import short_hash
from .reporting import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..grid.cell import Cell

MARGIN = 1.2
"""Memory that a cell is given for each byte that one like it was seen to take."""

LEAST = 0.02
"""The smallest share of a GPU."""


class Shares:
    """The share of a GPU's memory that each cell is given: all of it, until a cell like it was measured."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._capacity: int | None = None

    def measured(self, cell: Cell, peak: int, capacity: int) -> None:
        """Take note of what a cell was seen to take.

        Args:
            cell: the cell.
            peak: the most bytes that its process has taken so far.
            capacity: bytes of the GPU. Shares fit the smallest GPU that was seen.
        """
        kind = _kind(cell)
        self._peaks[kind] = max(peak, self._peaks.get(kind, 0))
        self._capacity = min(capacity, self._capacity or capacity)

    def of(self, cell: Cell) -> float:
        """The share of a cell, above 0 and at most 1."""
        peak = self._peaks.get(_kind(cell))
        if peak is None or not self._capacity:
            return 1.0
        return min(1.0, max(LEAST, math.ceil(100 * MARGIN * peak / self._capacity) / 100))


def _kind(cell: Cell) -> str:
    """The same for cells that differ in their repetition alone."""
    parts = {"dataset": cell.dataset.name, "setting": cell.setting(), "method": cell.method_identity()}
    return short_hash(parts, 20)


def hold_to(device: str, share: float) -> None:
    """Let torch allocate no more than a share of a GPU's memory in this process, what CUDA itself takes included.

    Args:
        device: a torch device; nothing is done on a CPU.
        share: above 0 and at most 1.
    """
    if not device.startswith("cuda"):
        return
    import torch

    capacity = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.0, share - CONTEXT / capacity), device)


def ran_out(files: Mapping[str, str]) -> bool:
    """Whether the files of a record say that the cell ran out of GPU memory; they may say anything."""
    try:
        run = json.loads(files["run.json"])
        return bool(run["status"] == "failed" and str(run["reason"]).startswith("OutOfMemoryError: "))
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
