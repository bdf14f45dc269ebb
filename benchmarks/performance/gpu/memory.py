"""How good the estimate of a cohort's memory is (benchmarks room), and what happens where memory ends.

Two kinds of phases are looked at: local training, and the distillation of COSMOS, whose consistency term sends a batch
through the net twice.
"""

from __future__ import annotations

import gc
import math
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import torch

from ....cosmos.objectives import ConsistentDistillation
from ....federation.batches import Teaching
from ....federation.graphs import Recorder
from ....federation.memory import member_bytes, room
from ....federation.precision import gpu_arithmetic
from ....methods.losses import cross_entropy
from ..contenders.ours import Stacked
from ..measure import finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ....federation.cohort import Cohort
    from ..measure import Row
    from ..workloads import Workload

BATCHES = (8, 32, 64)
"""Samples per step."""

STACKS = (1, 5, 25)
"""Clients that are trained at once."""

PHASES = ("local", "distillation")
"""Kinds of phases."""

STEPS = 8
"""Steps of a client: enough for a CUDA graph."""

MORE = 1.2
"""How many times as many clients as fit are trained to fill the memory."""

MOST = 1000
"""Clients at most, where memory has room for more."""

TOLERATED = 0.25
"""How far the estimate may be from the measured peak, relative to the peak."""

LEFT = 0.6
"""Share of the memory that a cohort takes that it is left with, to see it go on in halves."""


def measure_memory(workload: Workload, device: str) -> list[Row]:
    """Estimate and measured peak of what a phase takes beyond what is stored, for the workload's first net.

    Returns:
        A row for each number of clients at once, samples per step and kind of phase, with `estimate` and `peak` in
        bytes, the `ratio` of the first to the second and whether that is `good`. On a CPU one row for each kind of
        phase, in which the last three are None.
    """
    sizes = [(stack, batch) for stack in STACKS for batch in BATCHES if stack <= workload.clients]
    if not device.startswith("cuda"):
        sizes = sizes[:1]  # there is no peak to be measured
    rows: list[Row] = []
    for (stack, batch), phase in product(sizes, PHASES):
        with _training(replace(workload, batch_size=batch), device, clients=stack, stack=stack) as cohort:
            estimate = stack * _estimate(cohort)
            peak = _peak(cohort, device, phase)
        ratio = None if peak is None else estimate / peak
        good = None if ratio is None else abs(ratio - 1) <= TOLERATED
        row = {"phase": phase, "stack": stack, "batch": batch, "estimate": estimate, "peak": peak}
        rows.append({**row, "ratio": ratio, "good": good})
    return rows


def fill_memory(workload: Workload, device: str) -> Row:
    """Train more clients than the estimate says to fit; the engine takes as many at once as it allows.

    Returns:
        `clients`, those that are estimated to fit `at once`, the `estimate` of these and the `peak`, in bytes; and how
        often memory `ran out`, which should be never. The last two are None on a CPU.
    """
    with _training(workload, device, clients=1, stack=None) as cohort:
        each = _estimate(cohort)
    fits = room(torch.device(device), workload.clients * each) // each
    clients = min(MOST, math.ceil(MORE * fits))
    with _training(workload, device, clients=clients, stack=None) as cohort:
        before = times_run_out(device)
        peak = _peak(cohort, device)
        ran_out = None if before is None else (times_run_out(device) or 0) - before
    at_once = min(clients, fits)
    return {"clients": clients, "at once": at_once, "estimate": at_once * each, "peak": peak, "ran out": ran_out}


def halve(workload: Workload, device: str) -> Row:
    """Train a cohort with less memory than it takes at once, so that it goes on in halves; on a CPU it is told to.

    Returns:
        `clients`, how often memory `ran out` (at least once on a card; None on a CPU), and the largest `difference` of
        a weight from those of the same training with all memory.
    """
    clients = min(8, workload.clients)
    with _training(workload, device, clients=clients, stack=clients) as cohort:
        peak = _peak(cohort, device)
        whole = {name: tensor.cpu().clone() for name, tensor in cohort.parameters.items()}
    stack = math.ceil(clients / 2) if peak is None else clients
    with _training(workload, device, clients=clients, stack=stack) as cohort:
        before = times_run_out(device)
        with _less_memory(device, 0 if peak is None else round(LEFT * peak)):
            _fit_twice(cohort, device)
        ran_out = None if before is None else (times_run_out(device) or 0) - before
        difference = max(float((cohort.parameters[name].cpu() - tensor).abs().max()) for name, tensor in whole.items())
    return {"clients": clients, "ran out": ran_out, "difference": difference}


def times_run_out(device: str) -> int | None:
    """How often this process has run out of a card's memory; None on a CPU."""
    return int(torch.cuda.memory_stats(device)["num_ooms"]) if device.startswith("cuda") else None


@contextmanager
def _training(workload: Workload, device: str, *, clients: int, stack: int | None) -> Iterator[Cohort]:
    """Clients with the workload's first net and images for a few steps of local training; freed at the end."""
    local = replace(
        workload,
        method="fedavg",
        settings={},
        model=workload.nets[0],
        server=None,
        clients=clients,
        samples=STEPS * workload.batch_size,
        public=0,
        test=clients * workload.classes,
    )
    running = Stacked(local, local.deal(), device, 0, stack=stack)
    try:
        yield running.run.factory.client_cohort(local.model, range(clients), 0)
    finally:
        running.close()
        del running
        Recorder.last = None  # its memory would stay with the next graphs
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def _estimate(cohort: Cohort) -> int:
    """What the engine expects each member to take."""
    members = cohort.members
    data, batch = members.data, members.training.batch_size
    return member_bytes(members.models.template, tuple(data.about.shape), batch, 0, data.dtype)


def _peak(cohort: Cohort, device: str, phase: str = PHASES[0]) -> int | None:
    """The most bytes that the second of two phases takes beyond what was there; None on a CPU."""
    if not device.startswith("cuda"):
        _fit_twice(cohort, device, phase)
        return None
    _fit(cohort, device, phase)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _fit(cohort.at(1), device, phase)
    return torch.cuda.max_memory_allocated(device) - before


def _fit_twice(cohort: Cohort, device: str, phase: str = PHASES[0]) -> None:
    for index in (0, 1):
        _fit(cohort.at(index), device, phase)


def _fit(cohort: Cohort, device: str, phase: str) -> None:
    data = cohort.members.data
    with gpu_arithmetic(cohort.training, torch.device(device)):
        if phase == "local":
            cohort.fit(cross_entropy)
        else:
            inputs = torch.zeros(STEPS * cohort.training.batch_size, *data.about.shape, device=device)
            told = torch.full((len(cohort), len(inputs), data.about.classes), 1 / data.about.classes, device=device)
            objective = ConsistentDistillation(weight=1.0, grad="both", noise="pixel", image=True)
            cohort.fit(objective, on=Teaching(inputs, told), epochs=1, noise=True)
    finish(device)


@contextmanager
def _less_memory(device: str, left: int) -> Iterator[None]:
    """Inside, a card has no more memory than is in use and `left` bytes."""
    if not device.startswith("cuda"):
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    number = torch.device(device).index or 0
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + left) / total, number)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)
