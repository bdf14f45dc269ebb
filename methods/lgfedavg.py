"""LG-FedAvg: clients keep bodies of their own and share the head.

P. P. Liang, T. Liu, L. Ziyin, N. B. Allen, R. P. Auerbach, D. Brent, R. Salakhutdinov, L.-P. Morency, "Think Locally,
Act Globally: Federated Learning with Local and Global Representations", NeurIPS 2019 workshop, arXiv:2001.01523,
Algorithm 1. The reverse of FedPer. One round, for sampled clients S, with body B_i and head H:

    receive    H_i       = H                                the body B_i stays as client i left it
    train      (B_i,H_i) = LOCAL(B_i, H_i; D_i)             E_loc epochs on both parts together
    aggregate  H         = sum_{i in S} n_i/n_S * H_i       B_i is never sent

Exchanged: the head, #head * 4 bytes each way. Bodies may be of different architectures where all make features of
one width (`models.width`); the head is then averaged over all of them. Before the first average every client trains
the head it was built with: one and the same where clients share their initial weights and their architecture.
Left open by the paper: how many upper layers are global; here the last linear layer, `all` (FedAvg, with another
deployed model) or `none` (Local-only).
Departures: the authors start from a FedAvg-trained checkpoint; here every client starts from scratch, as in every
other method (no warm start is built). The authors keep each client's best model by *test* accuracy, which is a leak;
here the last model counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..federation.payloads import Parameters
from ..federation.trees import chosen
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires
from .losses import cross_entropy
from .parts import is_head
from .registry import method

if TYPE_CHECKING:
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class LGFedAvgConfig:
    """Settings of LG-FedAvg beside the run's local training."""

    global_part: Literal["head", "all", "none"] = "head"
    """What is averaged; the rest never leaves the client."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples (the paper) or all the same (the authors' code)."""


@method("lgfedavg")
class LGFedAvg(Method[LGFedAvgConfig]):
    """Clients keep bodies of their own and share the head.

    Keeps nothing between rounds but the clients' models; the shared head waits in the channel.
    """

    category = "personalized"
    paper = "Liang et al., NeurIPS workshop 2019, arXiv:2001.01523"
    wire = "up #head * b, down #head * b"
    requires = Requires(one_width=True)
    exchanges = frozenset({Parameters})

    def needs(self) -> Requires:
        """Features of one width; what FedAvg needs where everything is global."""
        everything = self.config.global_part == "all"
        return replace(self.requires, one_architecture=everything, shared_init=everything)

    def plan(self, facts: Facts) -> Plan:
        """What is global, each way."""
        size = {"head": facts.head_bytes, "all": facts.weights_bytes, "none": 0}[self.config.global_part]
        return Plan(up_bytes=size, down_bytes=size)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters | None:
        """Take the global part, train it together with the local part, send the global part back."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        if self.config.global_part == "none":
            return None
        return Parameters(clients.weights if self.config.global_part == "all" else chosen(clients.weights, is_head))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Average the global parts of all clients, whatever their bodies, and send the average to all."""
        if self.config.global_part == "none":
            return None
        return uploads.to_all(Parameters(weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))))
