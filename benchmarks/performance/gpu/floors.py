"""The least time that a round can take on a device (benchmarks room): its operations and bytes over measured ceilings.

    operations    of matrix products and convolutions, counted on one batch of each net and multiplied by the images
                  that pass through it (`Workload.work`), over the fastest matrix product in that number format
    bytes         weights read and written once a step, and images read once a pass, over the fastest copy

Both are counted from shapes, whatever runs them. The floor is the longer of the two. It leaves out activations, of
which a cache may hold all or none, everything elementwise, and launches. So no program reaches it, and the gap says
how much there is to gain at most.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ....federation.models.build import build_net, count_parameters
from ..measure import finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..measure import Row
    from ..workloads import Workload

FORMATS = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Number formats of training, and what their products have."""

REPEATS = 5
"""Products and copies to choose the fastest from."""


class Need(NamedTuple):
    """What a round needs of a device."""

    operations: float
    bytes: float

    def seconds(self, ceilings: Row, precision: str) -> dict[str, float]:
        """The least time for operations and for bytes, and the longer of both."""
        arithmetic, memory = self.operations / ceilings[precision], self.bytes / ceilings["copy"]
        return {"operations": arithmetic, "bytes": memory, "floor": max(arithmetic, memory)}


def measure_ceilings(device: str, *, tiny: bool) -> Row:
    """Operations per second of the fastest product in each number format, and bytes per second of the fastest copy."""
    size = 256 if tiny else 8192
    found: Row = {}
    usual = torch.backends.cuda.matmul.allow_tf32
    try:
        for name, dtype in FORMATS.items():
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            one, other = torch.rand(2, size, size, device=device).to(dtype)
            found[name] = 2 * size**3 / _fastest(partial(torch.matmul, one, other), device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = usual
    source = torch.zeros(2**20 if tiny else 2**28, device=device)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.nbytes / _fastest(partial(target.copy_, source), device)
    return found


def need(workload: Workload) -> Need:
    """What a round of a workload needs after the first, clients' nets taking turns."""
    work, share = workload.work(), 1 / len(workload.nets)
    shape = (3, 32, 32) if workload.images == "noise-32" else (1, 28, 28)
    total = Need(0.0, 0.0)
    for name in workload.nets:
        total = _plus(total, _of_net(name, shape, workload, work.trained * share, work.read * share))
    if work.served:
        served = workload.server or workload.nets[0]
        total = _plus(total, _of_net(served, shape, workload, work.served, work.assigned))
    return total


def _of_net(name: str, shape: tuple[int, ...], workload: Workload, trained: float, read: float) -> Need:
    """Images that pass through one net, with gradients and without."""
    with torch.device("meta"):  # shapes are enough
        net, batch = build_net(name, shape, workload.classes), torch.zeros(2, *shape)
    forward = _operations(lambda: net(batch)) / len(batch)
    both = _operations(lambda: net(batch).sum().backward()) / len(batch)
    weights = 4 * count_parameters(net)
    moved = 2 * weights * trained / workload.batch_size + weights * read / 256  # tests go 256 at a time
    pixels = 4 * batch[0].numel() * (trained + read)
    return Need(both * trained + forward * read, moved + pixels)


def _operations(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counted:
        run()
    return float(counted.get_total_flops())


def _plus(one: Need, other: Need) -> Need:
    return Need(one.operations + other.operations, one.bytes + other.bytes)


def _fastest(run: Callable[[], object], device: str) -> float:
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first warms up
        began = time.perf_counter()
        run()
        finish(device)
        best = min(best, time.perf_counter() - began)
    return best
