"""FedProx: FedAvg whose clients are held back by a spring from the server's model.

T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar, V. Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020, arXiv:1812.06127, Algorithm 2. One round, for sampled clients S:

    train      theta_i <- descend cross-entropy on D_i + mu/2 * ||theta_i - w||^2    E_loc epochs from the server's w
    aggregate  w        = sum_{i in S} n_i/n_S * theta_i                             by size, or all the same

||.||^2 is the *sum* of squares over all parameters (not their mean), and w stays what was received during the round.
Exchanged: all weights and BatchNorm buffers, #theta * 4 bytes each way.
Two accuracies, as in FedAvg: `global` is w, the model FedProx deploys; `+local` is theta_i.
Left open by the paper: how the term meets an adaptive optimizer. Here it is part of the loss, so Adam sees its gradient
with that of the cross-entropy; adding mu * (theta_i - w) to Adam's update would be another method.
Departures: the paper samples clients by size and averages them evenly; here clients are drawn evenly and count by size.
Its stragglers, which do fewer epochs, are not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..federation.payloads import Parameters
from .averaging import ServerModel, shares, weighted_mean
from .base import not_negative
from .losses import cross_entropy, squared_distance
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FedProxConfig:
    """Settings of FedProx beside the run's local training."""

    mu: float = 0.1
    """Strength of the proximal term. The paper tunes it over 0.001, 0.01, 0.1 and 1; 0 is FedAvg."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples or all the same."""

    def __post_init__(self) -> None:
        not_negative("fedprox", mu=self.mu)


@method("fedprox")
class FedProx(ServerModel[FedProxConfig]):
    """FedAvg whose clients are held back by a spring from the server's model.

    Keeps nothing between rounds: the server's w waits in the channel for the next participants.
    """

    paper = "Li et al., MLSys 2020, arXiv:1812.06127"

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train from the server's model, and not too far from it."""
        if received is not None:
            clients.load(received.tree)
        w = {name: tensor.clone() for name, tensor in clients.parameters.items()}
        clients.fit(self.proximal_loss, per_client={"w": w})
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the uploaded weights and send the average to all."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def proximal_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy + mu/2 * ||theta - w||^2 of one client on one batch."""
        return cross_entropy(model, batch) + self.config.mu / 2 * squared_distance(model, batch.extra["w"])
