"""The method `noted`, a plugin of the faults: FedMD that notes every round it trains, and takes memory when asked to.

`FAULTS_ROUNDS` names the file that gets a line per trained round; `FAULTS_MEMORY` is the number of bytes that the third
round of seed 0 takes on top, on the device `FAULTS_DEVICE`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import torch
from fl_bench.methods.fedmd import FedMD
from fl_bench.methods.registry import method

if TYPE_CHECKING:
    from fl_bench.federation.rounds import Round


@method("noted")
class Noted(FedMD):
    """FedMD: every client keeps a model, and a message waits for it."""

    def client_update(self, clients: Any, received: Any, rnd: Round) -> Any:
        """Train, and say so."""
        memory = int(os.environ.get("FAULTS_MEMORY", "0"))
        if memory and (rnd.seed, rnd.index) == (0, 2):
            torch.ones(memory, dtype=torch.uint8, device=os.environ.get("FAULTS_DEVICE", "cpu"))
        sent = super().client_update(clients, received, rnd)
        if log := os.environ.get("FAULTS_ROUNDS"):
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(handle, f"{rnd.seed} {rnd.index}\n".encode())
            os.close(handle)
        return sent
