"""Where a round on a device goes (benchmarks room): kernels, gaps between them, and the host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from torch.profiler import ProfilerActivity, profile

from ..measure import finish

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..contenders.contender import Contender
    from ..measure import Row

LARGEST = 15
"""Kernels that are listed, the longest first."""


def profile_round(running: Contender, device: str) -> Row:
    """Profile one round.

    Args:
        running: what was warmed up.
        device: a torch device; on a CPU there are operators instead of kernels, and no gaps.
    Returns:
        Seconds of a round with the profiler (`wall`), of kernels one after the other (`kernels`), those in which at
        least one ran (`busy`) and none did (`gaps`); how many `launches`; and the `largest`, with seconds and calls.
    """
    card = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if card else [])]
    with profile(activities=activities) as seen:
        began = time.perf_counter()
        running.round()
        finish(device)
        wall = time.perf_counter() - began
    spent: dict[str, list[float]] = {}
    spans = []
    for event in seen.events():
        on_card = str(event.device_type).endswith("CUDA")
        if card and on_card:
            spans.append((event.time_range.start, event.time_range.end))
            spent.setdefault(event.name, []).append(1e-6 * (event.time_range.end - event.time_range.start))
        elif not card:
            spent.setdefault(event.name, []).append(1e-6 * event.self_cpu_time_total)
    busy = 1e-6 * covered(spans) if card else None
    order = sorted(spent, key=lambda name: -sum(spent[name]))
    return {
        "wall": wall,
        "kernels": sum(map(sum, spent.values())),
        "busy": busy,
        "gaps": None if busy is None else wall - busy,
        "launches": sum(map(len, spent.values())),
        "largest": [
            {"name": name[:120], "seconds": sum(spent[name]), "calls": len(spent[name])} for name in order[:LARGEST]
        ],
    }


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much of a line spans cover, overlaps counted once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
