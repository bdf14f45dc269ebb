"""The least time that a round can take on a device (benchmarks room): its operations and bytes over measured ceilings.

    operations    of matrix products and convolutions, counted on one batch of each net and multiplied by the images
                  that pass through it (`Workload.work`), over the fastest matrix product in that number format
    bytes         weights read and written once a step, and images read once a pass, over the fastest copy
    activations   what the backward pass keeps of each image, written once and read once, over the fastest copy

All three are counted from shapes, whatever runs them. The floor is the longer of the first two: it leaves out
everything elementwise, and launches. So no program reaches it, and the gap says how much there is to gain at most.
Activations stand beside it, because a cache may hold some of them or none.
"""

from __future__ import annotations

import time
from functools import cache, partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ....federation.memory import kept_bytes
from ....federation.models.build import build_net, count_parameters
from ....federation.precision import gpu_arithmetic
from ....federation.settings import Training
from ..measure import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..measure import Row
    from ..workloads import Workload

FORMATS = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Number formats of training, and what their products have."""

REPEATS = 5
"""Products and copies to choose the fastest from."""

LAUNCHES = 1000
"""Kernels that are launched in a row, to say what one takes."""


class Need(NamedTuple):
    """What a round needs of a device."""

    operations: float
    bytes: float
    activations: float
    """Bytes of activations, written and read."""

    def seconds(self, ceilings: Row, precision: str) -> dict[str, float]:
        """The least time for operations and for bytes, the longer of both, and that of activations."""
        arithmetic, memory = self.operations / ceilings[precision], self.bytes / ceilings["copy"]
        return {
            "operations": arithmetic,
            "bytes": memory,
            "floor": max(arithmetic, memory),
            "activations": self.activations / ceilings["copy"],
        }


def measure_ceilings(device: str, *, tiny: bool) -> Row:
    """What a device does at most.

    Returns:
        Operations per second of the fastest product in each number format, bytes per second of the fastest `copy`,
        seconds of a `launch` of the smallest kernel, and of one that is `replayed` in a CUDA graph (None on a CPU).
    """
    size = 256 if tiny else 8192
    found: Row = {}
    for name, dtype in FORMATS.items():
        one, other = torch.rand(2, size, size, device=device).to(dtype)
        with gpu_arithmetic(Training(precision="tf32" if name == "tf32" else "float32"), torch.device(device)):
            found[name] = 2 * size**3 / fastest(partial(torch.matmul, one, other), device)
    source = torch.zeros(2**20 if tiny else 2**28, device=device)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.nbytes / fastest(partial(target.copy_, source), device)
    little = torch.zeros(1, device=device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            little.add_(1)

    found["launch"] = fastest(launch, device) / LAUNCHES
    found["replayed"] = fastest(_recorded(launch).replay, device) / LAUNCHES if device.startswith("cuda") else None
    return found


def need(workload: Workload) -> Need:
    """What a round of a workload needs after the first, clients' nets taking turns."""
    work, share = workload.work(), 1 / len(workload.nets)
    shape = (3, 32, 32) if workload.images == "noise-32" else (1, 28, 28)
    parts = [_of_net(name, shape, workload, work.trained * share, work.read * share) for name in workload.nets]
    if work.served:
        served = workload.server or workload.nets[0]
        parts.append(_of_net(served, shape, workload, work.served, work.assigned))
    return Need(*map(sum, zip(*parts, strict=True)))


def count_operations(run: Callable[[], object]) -> float:
    """Operations of the products and convolutions of a call, gradients included."""
    gradients = {torch.ops.aten.convolution_backward: _operations_of_gradients}
    with FlopCounterMode(display=False, custom_mapping=gradients) as counted:
        run()
    return float(counted.get_total_flops())


def fastest(run: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of a few calls, after one that warms up."""
    best = float("inf")
    for _ in range(REPEATS + 1):
        finish(device)
        began = time.perf_counter()
        run()
        finish(device)
        best = min(best, time.perf_counter() - began)
    return best


def _of_net(name: str, shape: tuple[int, ...], workload: Workload, trained: float, read: float) -> Need:
    """Images that pass through one net, with gradients and without."""
    forward, both, parameters, kept = _of_image(name, shape, workload.classes, workload.batch_size)
    moved = 4 * parameters * (2 * trained / workload.batch_size + read / 256)  # tests go 256 at a time
    pixels = 4 * prod(shape) * (trained + read)
    width = FORMATS[workload.precision].itemsize / torch.float32.itemsize
    return Need(both * trained + forward * read, moved + pixels, 2 * width * kept * trained)


@cache
def _of_image(name: str, shape: tuple[int, ...], classes: int, batch: int) -> tuple[float, float, int, float]:
    """Operations of an image forward, and with gradients; a net's parameters, and bytes that are kept of an image."""
    with torch.device("meta"):  # shapes are enough
        net, images = build_net(name, shape, classes), torch.zeros(batch, *shape)
    forward = count_operations(lambda: net(images)) / batch
    both = count_operations(lambda: net(images).sum().backward()) / batch
    return forward, both, count_parameters(net), kept_bytes(net, shape, batch, torch.float32) / batch


def _operations_of_gradients(
    gradient: list[int],
    inputs: list[int],
    weights: list[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """Each gradient of a convolution takes as many operations as the convolution. Torch counts the gradient of grouped
    weights as if they were dense, for MobileNetV2 seven times too many in all."""
    return int(conv_flop_count(inputs, weights, gradient, transposed=transposed)) * (wanted[0] + wanted[1])


def _recorded(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph
