"""How good the estimate of a cohort's memory is (benchmarks room): what it says beside what a round takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ....federation.memory import member_bytes
from ....federation.models.build import build_net
from ..contenders.ours import Stacked
from ..measure import finish

if TYPE_CHECKING:
    from ..measure import Row
    from ..workloads import Workload

STACKS = (1, 5, 25)
"""Clients that are trained at once."""


def measure_memory(workload: Workload, device: str) -> list[Row]:
    """Estimate and measured peak of the bytes that training takes beyond what is stored, by number of clients at once.

    Returns:
        Rows with `stack`, `estimate`, and `peak` and `ratio`, estimate over peak, which are None on a CPU.
    """
    dealt = workload.deal()
    shape = tuple(dealt.dataset.about.shape)
    each = max(
        member_bytes(build_net(name, shape, workload.classes), shape, workload.batch_size, 0, torch.float32)
        for name in workload.nets
    )
    rows: list[Row] = []
    for stack in (count for count in STACKS if count <= workload.clients):
        peak = None
        if device.startswith("cuda"):
            running = Stacked(workload, dealt, device, 0, stack=stack)
            running.round()
            finish(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            running.round()
            finish(device)
            peak = torch.cuda.max_memory_allocated(device) - before
            running.close()
            del running
            torch.cuda.empty_cache()
        rows.append(
            {"stack": stack, "estimate": stack * each, "peak": peak, "ratio": stack * each / peak if peak else None}
        )
    return rows
