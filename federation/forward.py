"""Forward passes of stacked models: one model after the other, some side by side in threads, or all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from .payloads import Tree

CHUNK = 256
"""Samples per forward pass on a CPU: activations of more leave its cache, and convolutions take twice as long."""

_DOUBLES: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()
"""Modules of an architecture for threads, by the one that everything else uses."""

Result = TypeVar("Result")


def side_by_side(
    module: nn.Module, threads: int, jobs: Sequence[int], work: Callable[[nn.Module, int], Result]
) -> dict[int, Result]:
    """Do jobs that each need a module of an architecture to themselves, by number, some at a time.

    Args:
        module: one of the architecture.
        threads: how many at a time.
        jobs: their numbers, in the order in which they are begun.
        work: does one job with a module whose weights do not matter.
    """
    if threads == 1 or len(jobs) < 2:
        return {job: work(module, job) for job in jobs}
    doubles = _DOUBLES.setdefault(module, [])
    with torch.inference_mode(
        mode=False
    ):  # they may be asked for first where nothing is trained, and trained with later
        while len(doubles) < min(threads, len(jobs)):
            doubles.append(deepcopy(module))
    free = doubles[: min(threads, len(jobs))]

    def do(job: int) -> Result:
        mine = free.pop()
        try:
            return work(mine, job)
        finally:
            free.append(mine)

    with ThreadPoolExecutor(len(free)) as pool:
        return dict(zip(jobs, pool.map(do, jobs), strict=True))


def bind(module: nn.Module, parameters: Tree, buffers: Tree, row: int) -> None:
    """Make a module's parameters and buffers views of one row of stacked storage."""
    for name, parameter in module.named_parameters():
        parameter.data = parameters[name][row]
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name][row]


def stacked_outputs(module: nn.Module, weights: Tree, inputs: Tensor, *, shared: bool) -> Tensor:
    """Outputs of stacked models, shape (models, samples, ...).

    Args:
        module: a net of the architecture, in the mode it is to run in.
        weights: parameters and buffers, name to (models, ...).
        inputs: shape (samples, ...), or (models, samples, ...) where each model has its own.
        shared: which of the two.
    """
    one = torch.vmap(lambda tree, x: functional_call(module, tree, (x,)), in_dims=(0, None if shared else 0))
    outputs: Tensor = one(weights, inputs)
    return outputs
