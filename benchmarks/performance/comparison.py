"""Contenders on one workload, round by round in turns (benchmarks room)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contenders.registry import contender
from .measure import Turns, finish, flops, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .contenders.contender import Contender
    from .measure import Row
    from .workloads import Workload

WARM_UP = 2
"""Rounds that are not measured: kernels are chosen and memory is allocated, and clients distil from the second on."""


def compare(
    benchmark: Any,
    keep: Callable[[str, Row], None],
    workload: Workload,
    names: Sequence[str],
    rounds: int,
    *,
    device: str = "cpu",
) -> None:
    """Run contenders in turns and keep a row of each, or the reason why it does not run here.

    Args:
        benchmark: pytest-benchmark's fixture; it times the last contender.
        keep: takes table and row.
        workload: what a round is.
        names: contenders; `plain` is the one that others are compared with, and `careful` where it takes part; the
            last one has to run.
        rounds: measured rounds of each.
        device: a torch device.
    """
    dealt = workload.deal()
    running: dict[str, Contender] = {}
    memory = {}
    try:
        for name in names:
            chosen = contender(name)
            reason = chosen.missing(workload)
            if reason is not None:
                keep("absent", {"workload": workload.name, "contender": name, "reason": reason})
                continue
            before = _allocated(device)
            running[name] = chosen(workload, dealt, device, 0)
            memory[name] = _allocated(device) - before
        turns = Turns({name: one.round for name, one in running.items()})
        benchmark.pedantic(turns.last, setup=turns.others, rounds=rounds, warmup_rounds=WARM_UP)
        seconds = turns.measured(rounds, WARM_UP)
        work = flops(workload)
        for name, one in running.items():
            row = {
                "workload": workload.name,
                "clients": workload.clients,
                "contender": name,
                "views": workload.views,
                "seconds": seconds[name],
                "images": workload.images_per_round,
                "steps": one.steps,
                "flops": work,
                "peak_bytes": memory[name] + _peak_of_a_round(one.round, device) if device != "cpu" else None,
                **ratio(seconds["plain"], seconds[name]),
            }
            if "careful" in running:
                row["careful"] = ratio(seconds["careful"], seconds[name])
            keep("rounds", row)
    finally:
        for one in running.values():
            one.close()


def _allocated(device: str) -> int:
    """Bytes of GPU memory in use, without what earlier contenders left to be collected; 0 on a CPU."""
    import gc

    import torch

    gc.collect()
    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else 0


def _peak_of_a_round(run: Callable[[], object], device: str) -> int:
    """Bytes of GPU memory that a round needs on top of what is allocated before it."""
    import torch

    finish(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    finish(device)
    return torch.cuda.max_memory_allocated(device) - before
