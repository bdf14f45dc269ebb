"""The method `counted`, a plugin of the faults: it notes every round that it trains, and takes memory when asked to.

`FAULTS_ROUNDS` names the file that gets a line per trained round; `FAULTS_MEMORY` is the number of bytes that the third
round of the first seed takes on top, on the device `FAULTS_DEVICE`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_bench.federation.payloads import Scores
from fl_bench.lazy import torch
from fl_bench.methods.base import Method, Requires
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

if TYPE_CHECKING:
    from fl_bench.federation.channel import Downloads, Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.payloads import Payload
    from fl_bench.federation.rounds import Round


@dataclass(frozen=True)
class CountedConfig:
    """It has no settings."""


@method("counted")
class Counted(Method[CountedConfig]):
    """Clients train alone and send scores, which come back averaged and are kept until the next round."""

    category = "distillation"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})

    def client_update(self, clients: Cohort, received: Payload | None, rnd: Round) -> Scores:
        """Train, and say so."""
        if (memory := int(os.environ.get("FAULTS_MEMORY", "0"))) and (rnd.seed, rnd.index) == (0, 2):
            torch.ones(memory, dtype=torch.uint8, device=os.environ.get("FAULTS_DEVICE", "cpu"))
        clients.fit(cross_entropy)
        if log := os.environ.get("FAULTS_ROUNDS"):
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(handle, f"{rnd.seed} {rnd.index}\n".encode())
            os.close(handle)
        return Scores(clients.predict(rnd.public.inputs()))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """The mean."""
        return uploads.to_all(Scores(uploads.scores().mean(dim=0, keepdim=True)))
