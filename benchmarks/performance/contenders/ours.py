"""The contender fl-bench: one `Run`, a round at a time (benchmarks room)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ....federation.models.build import count_parameters
from ....federation.run import Run
from ....federation.settings import Execution, ModelMix, Training
from ....methods.registry import METHODS
from ...grid.cell import resolve_config
from ..threads import torch_threads
from .contender import Contender

if TYPE_CHECKING:
    from ..workloads import Dealt, Workload

ENDLESS = 10**9
"""More rounds than anybody waits for."""


class FlBench(Contender):
    """fl-bench as it chooses to run; torch's threads are the cores of a run, as those that the executor finds idle.

    On a CPU they train clients side by side, one thread per kernel.
    """

    name = "fl-bench"
    engine: ClassVar[Literal["auto", "loop", "stacked"]] = "auto"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int, *, stack: int | None = None) -> None:
        method = METHODS[workload.method](resolve_config(workload.method, workload.settings, "settings"))
        training = Training(rounds=ENDLESS, engine=self.engine, **workload.training)
        models = ModelMix(workload.nets, server=workload.server)
        how = Execution(threads=torch.get_num_threads() if device == "cpu" else None, stack=stack)
        self.run = Run(method, dealt.dataset, dealt.split, models, training, seed=seed, device=device, execution=how)
        self.rows: list[dict[str, float | int | None]] = []
        self._rounds = self.run.rounds()

    @property
    def parameters(self) -> int:
        """Numbers in one client's model of each kind."""
        return sum(count_parameters(self.run.client_models(name).template) for name in self.run.models.names)

    @property
    def steps(self) -> int:
        """See `Contender.steps`."""
        return sum(int(self.rows[-1][f"steps_{kind}"] or 0) for kind in ("local", "distill", "server"))

    def round(self) -> float:
        """See `Contender.round`."""
        with torch_threads(1):
            values = next(self._rounds).values
        self.rows.append(values)
        return float(values[f"{self.run.method.deployed_view}.acc_mean"] or 0.0)


class Loop(FlBench):
    """Its engine `loop`: one client after the other."""

    name = "fl-bench loop"
    engine = "loop"


class Stacked(FlBench):
    """Its engine `stacked`: all clients of one architecture at once."""

    name = "fl-bench stacked"
    engine = "stacked"
