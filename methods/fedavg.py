"""FedAvg: clients train the server's model, the server averages what comes back.

B. McMahan, E. Moore, D. Ramage, S. Hampson, B. Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017, arXiv:1602.05629, Algorithm 1. One round, for sampled clients S:

    train      theta_i = LOCAL(w; D_i)                     E_loc epochs from the server's w
    aggregate  w       = sum_{i in S} n_i/n_S * theta_i    by size, or every client the same (`weights: uniform`)

Exchanged: all weights and BatchNorm buffers, #theta * 4 bytes each way.
Two accuracies: `global` is w on each client's test data, the model FedAvg deploys; `+local` is theta_i, w after
the client's local phase, which personalized methods must be compared with. With `finetune_epochs` there is a third:
`+finetuned` is the *new* w after so many epochs on the client's data, which the federation never sees again; these
steps are counted apart, as `steps_finetune`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..federation.payloads import Parameters
from .averaging import ServerModel, shares, told_sizes, weighted_mean
from .base import Facts, Plan, not_negative
from .losses import cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FedAvgConfig:
    """Settings of FedAvg beside the run's local training."""

    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples (the paper) or all the same."""
    finetune_epochs: int = 0
    """Passes over the private data from the server's model for the view `+finetuned`, every round; 0 for no view."""

    def __post_init__(self) -> None:
        not_negative("fedavg", finetune_epochs=self.finetune_epochs)


@method("fedavg")
class FedAvg(ServerModel[FedAvgConfig]):
    """Clients train the server's model, the server averages what comes back.

    Keeps nothing between rounds: the server's w waits in the channel for the next participants.
    """

    paper = "McMahan et al., AISTATS 2017, arXiv:1602.05629"
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """That of FedAvg's relatives; copies are fine-tuned where the view is asked for and scored."""
        plan = super().plan(facts)
        if not self.config.finetune_epochs or not facts.all_views:
            return plan
        tuned = PlannedPhase("aside", self.config.finetune_epochs)
        return replace(plan, work=(PlannedPhase("local", facts.local_epochs), tuned))

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train from the server's model; before the first message all clients hold the common initial weights."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return Parameters(clients.weights, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the uploaded weights and send the average to all."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase; and, where asked for, the server's model fine-tuned."""
        views = super().views(clients, rnd)
        if self.config.finetune_epochs:
            tuned = clients.copy()
            tuned.load(self.w)
            log = tuned.fit(cross_entropy, epochs=self.config.finetune_epochs, stream="finetune")
            clients.note("steps_finetune", log.steps, "sum")
            views["+finetuned"] = tuned.deployed()
        return views
