"""FedProx: FedAvg whose clients are held back by a spring from the server's model.

T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar, V. Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020, arXiv:1812.06127, Algorithm 2. One round, for sampled clients S:

    train      theta_i <- descend cross-entropy on D_i + mu/2 * ||theta_i - w||^2    E_loc epochs from the server's w;
                                                                                     stragglers: 1 to E_loc - 1
    aggregate  w        = sum_{i in S} n_i/n_S * theta_i                             by size, or all the same

||.||^2 is the *sum* of squares over all parameters (not their mean), and w stays what was received during the round.
Exchanged: all weights and BatchNorm buffers, #theta * 4 bytes each way.
Two accuracies, as in FedAvg: `global` is w, the model FedProx deploys; `+local` is theta_i.
Left open by the paper: how the term meets an adaptive optimizer. Here it is part of the loss, so Adam sees its gradient
with that of the cross-entropy; adding mu * (theta_i - w) to Adam's update would be another method.
Departures: the paper samples clients by size and averages them evenly; here clients are drawn evenly and count by size.
Stragglers: the paper lets a fraction of the sampled clients (0, 0.5 or 0.9) do x epochs, x drawn evenly from 1..E_loc
in every round, and averages what they reach with the rest. Here each client draws for itself whether it is one, with
probability `stragglers`: such a fraction on average, whoever else was sampled. x is drawn from 1..E_loc - 1, so that
every straggler does less, which takes two local epochs at least. None are by default: then all methods do equal work.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError, Unsupported
from fl_bench.later import LATER
from fl_bench.spaces import Log, space
from fl_bench.streams import numpy_stream

from ..federation.payloads import Parameters
from .averaging import ServerModel, shares, told_sizes, weighted_mean
from .base import Facts, Plan, not_negative
from .losses import cross_entropy, squared_distance
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedProxConfig:
    """Settings of FedProx beside the run's local training."""

    mu: float = field(default=0.1, metadata=space(Log(1e-3, 10.0)))
    """Strength of the proximal term. The paper tunes it over 0.001, 0.01, 0.1 and 1; 0 is FedAvg."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples or all the same."""
    stragglers: float = field(default=0.0, metadata=LATER)
    """Probability of a client to do fewer epochs in a round; each draws for itself, afresh every round. Nobody does
    where the federation has a deadline (`faults.deadline`), which goes before it."""

    def __post_init__(self) -> None:
        not_negative("fedprox", mu=self.mu)
        if not 0 <= self.stragglers <= 1:
            raise ConfigError(f"fedprox.stragglers must be in [0, 1], got {self.stragglers}")


@method("fedprox")
class FedProx(ServerModel[FedProxConfig]):
    """FedAvg whose clients are held back by a spring from the server's model.

    Keeps nothing between rounds: the server's w waits in the channel for the next participants.
    """

    paper = "Li et al., MLSys 2020, arXiv:1812.06127"
    tolerates_absence = True
    protocol = 2  # each client draws for itself whether it is a straggler

    def setup(self, federation: Federation) -> None:
        """Refuse stragglers where there is nothing less to do than everything."""
        if self.config.stragglers and federation.training.local_epochs < 2:
            raise Unsupported(
                "stragglers do fewer epochs than others, but training.local_epochs is 1; from 2 on there are fewer"
            )

    def plan(self, facts: Facts) -> Plan:
        """That of FedAvg's relatives; the steps that are expected of a client which may do from 1 to E_loc epochs."""
        plan, slow, full = super().plan(facts), self.config.stragglers, facts.local_epochs
        if not slow or full < 2:  # `setup` refuses stragglers of one epoch
            return plan
        fewer = [PlannedPhase("local", epochs, share=slow / (full - 1)) for epochs in range(1, full)]
        return replace(plan, work=(*fewer, PlannedPhase("local", full, share=1 - slow)), steps="expected")

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train from the server's model, and not too far from it."""
        if received is not None:
            clients.load(received.tree)
        for epochs, members in self.work(clients, rnd).items():
            self.train(clients.only(members), epochs)
        return Parameters(clients.weights, sizes=told_sizes(clients, self.config.weights))

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer has its local steps like all others, and is no straggler."""
        if received is not None:
            clients.load(received.tree)
        self.train(clients, clients.training.local_epochs)
        return clients.deployed()

    def train(self, clients: Cohort, epochs: int) -> None:
        """Train towards the loss on private data and to where the clients are now."""
        clients.fit(self.proximal_loss, epochs=epochs, per_client={"w": clients.parameters})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the uploaded weights and send the average to all."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def work(self, clients: Cohort, rnd: Round) -> dict[int, list[int]]:
        """Who does how many epochs in this round: epochs to positions in the cohort.

        Every client draws from a stream of its own, first whether it is a straggler, then its epochs.
        """
        full = clients.training.local_epochs
        epochs = [full] * len(clients)
        if self.config.stragglers and self.federation.deadline is None:
            for member, key in enumerate(clients.keys):
                stream = numpy_stream(rnd.seed, "stragglers", key, rnd.index)
                if stream.random() < self.config.stragglers:
                    epochs[member] = int(stream.integers(1, full))
        return {count: [member for member, own in enumerate(epochs) if own == count] for count in sorted(set(epochs))}

    def proximal_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy + mu/2 * ||theta - w||^2 of one client on one batch."""
        return cross_entropy(model, batch) + self.config.mu / 2 * squared_distance(model, batch.extra["w"])
