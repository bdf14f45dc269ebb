"""Steps recorded as CUDA graphs: launched as one, where launching their kernels takes the time (federation room).

A graph replays kernels with the addresses that it was recorded with. It is recorded anew in every phase, from the
second step on, and thrown away with the phase's tensors: recording costs about as much as a step without a graph, and
nothing old can be read by accident. Graphs share one pool of memory, so that recording need not ask the driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Execution

SHORTEST = 4
"""Steps from which on a graph pays; measured."""


class Recorder:
    """Repeats work on a GPU, recorded where that pays. The work must not wait for the device.

    `last` keeps the pool alive between phases.
    """

    last: torch.cuda.CUDAGraph | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._usable = True

    @classmethod
    def of(cls, execution: Execution, device: torch.device) -> Recorder | None:
        """A recorder, where the device has graphs and the run wants them."""
        return cls(device) if device.type == "cuda" and execution.graphs else None

    def repeat(self, work: Callable[[int | torch.Tensor], None], first: int, stop: int) -> None:
        """Do the work for the steps `first` ... `stop - 1`.

        Args:
            work: given a step; as an int, or, to be recorded, as a tensor of shape (1,) that the device counts up.
            first: the first step.
            stop: the step after the last.
        """
        if stop - first < SHORTEST or not self._usable:
            for step in range(first, stop):
                work(step)
            return
        step_now = torch.full((1,), first, dtype=torch.int64, device=self._device)
        here = torch.cuda.current_stream(self._device)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            work(step_now)  # what is set up at the first call must not be recorded
            step_now += 1
            graph = self._recorded(work, step_now)
            for step in range(first + 1, stop):
                if graph is None:
                    work(step)
                else:
                    graph.replay()
        here.wait_stream(aside)

    def _recorded(self, work: Callable[[int | torch.Tensor], None], step: torch.Tensor) -> torch.cuda.CUDAGraph | None:
        """A graph of the work that counts `step` up; None where the work cannot be recorded, which leaves no trace."""
        graph, before = torch.cuda.CUDAGraph(), type(self).last
        graph.capture_begin(pool=None if before is None else before.pool(), capture_error_mode="thread_local")
        try:
            work(step)
            step += 1
        except torch.OutOfMemoryError:
            _abandon(graph)
            type(self).last = None
            raise
        except RuntimeError:  # an objective that looks at its numbers on the host
            _abandon(graph)
            self._usable = False
            return None
        graph.capture_end()
        type(self).last = graph
        return graph


def _abandon(graph: torch.cuda.CUDAGraph) -> None:
    try:
        graph.capture_end()
    except RuntimeError:
        torch.cuda.synchronize()
