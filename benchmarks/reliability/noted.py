"""Methods that note every round that they train, and take memory when asked to: a plugin of the faults.

`FAULTS_ROUNDS` names the file that gets a line per trained round; `FAULTS_MEMORY` is the number of bytes that the third
round of `noted-fedmd` with seed 0 takes on top, on the device `FAULTS_DEVICE`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import torch
from fl_bench.methods.fedavg import FedAvg
from fl_bench.methods.fedmd import FedMD
from fl_bench.methods.registry import method
from fl_bench.methods.scaffold import Scaffold

if TYPE_CHECKING:
    from fl_bench.federation.rounds import Round


@method("noted-fedmd")
class NotedFedMD(FedMD):
    """FedMD: every client keeps a model, and a message waits for it."""

    def client_update(self, clients: Any, received: Any, rnd: Round) -> Any:
        """Train, and say so."""
        memory = int(os.environ.get("FAULTS_MEMORY", "0"))
        if memory and (rnd.seed, rnd.index) == (0, 2):
            torch.ones(memory, dtype=torch.uint8, device=os.environ.get("FAULTS_DEVICE", "cpu"))
        sent = super().client_update(clients, received, rnd)
        note("fedmd", rnd)
        return sent


@method("noted-scaffold")
class NotedScaffold(Scaffold):
    """SCAFFOLD: control variates of the clients and of the server."""

    def client_update(self, clients: Any, received: Any, rnd: Round) -> Any:
        """Train, and say so."""
        sent = super().client_update(clients, received, rnd)
        note("scaffold", rnd)
        return sent


@method("noted-fedavg")
class NotedFedAvg(FedAvg):
    """FedAvg: a model of the server."""

    def client_update(self, clients: Any, received: Any, rnd: Round) -> Any:
        """Train, and say so."""
        sent = super().client_update(clients, received, rnd)
        note("fedavg", rnd)
        return sent


def note(name: str, rnd: Round) -> None:
    """A line for a round that was trained."""
    if log := os.environ.get("FAULTS_ROUNDS"):
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{name}-{rnd.seed} {rnd.index}\n".encode())
        os.close(handle)
