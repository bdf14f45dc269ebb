"""Steps recorded as CUDA graphs: launched as one, where launching their kernels takes the time (federation room).

A graph replays kernels with the addresses that it was recorded with. It is recorded anew in every phase, from the
second step on, and thrown away with the phase's tensors: recording costs about as much as a step without a graph, and
nothing old can be read by accident. Graphs share one pool of memory, so that recording need not ask the driver.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .settings import Execution

SHORTEST = 4
"""Steps from which on a graph pays; measured."""


class NotRecordable(Exception):
    """The work waits for the device, or does something else that no graph can hold; it was begun, and not finished."""


class Recorder:
    """Repeats work on a GPU, recorded where that pays. `last` keeps the pool alive between phases."""

    last: torch.cuda.CUDAGraph | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device

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
        Raises:
            NotRecordable: it has to be done all over again, without a recorder.
        """
        if stop - first < SHORTEST:
            for step in range(first, stop):
                work(step)
            return
        step_now = torch.full((1,), first, dtype=torch.int64, device=self._device)
        here = torch.cuda.current_stream(self._device)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            with _not_waiting():
                work(step_now)  # what is set up at the first call must not be recorded
            step_now += 1
            graph = self._recorded(work, step_now)
            for _ in range(first + 1, stop):
                graph.replay()
        here.wait_stream(aside)

    def _recorded(self, work: Callable[[int | torch.Tensor], None], step: torch.Tensor) -> torch.cuda.CUDAGraph:
        """A graph of the work that counts `step` up."""
        graph, before = torch.cuda.CUDAGraph(), type(self).last
        pool = torch.cuda.graph_pool_handle() if before is None else before.pool()
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            work(step)
            step += 1
            graph.capture_end()
        except RuntimeError as error:
            type(self).last = None
            try:
                graph.capture_end()
            except RuntimeError:  # the recording is over, but memory would go on to come from its pool
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise NotRecordable from error
        type(self).last = graph
        return graph


@contextmanager
def _not_waiting() -> Iterator[None]:
    """Inside, work that waits for the device is not recordable."""
    before = torch.cuda.get_sync_debug_mode()
    _set_mode("error")
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "synchronizing" in str(error):
            raise NotRecordable from error
        raise
    finally:
        _set_mode(before)


def _set_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that the mode is a prototype
        torch.cuda.set_sync_debug_mode(mode)
