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
Two accuracies: `refreshed`, the client's own B_i under the newest H, is what the authors evaluate and what every client
deploys, drawn or not (B_i is the initial body before its first round); `+local` is (B_i, H_i) after its local phase.
Left open by the paper: how many upper layers are global; here the last linear layer, `all` (FedAvg) or `none`
(Local-only).
Departures: the authors start from a FedAvg-trained checkpoint; by default every client starts from scratch, as in every
other method. `warm_start` is their way: so many of the run's rounds are FedAvg's, with all weights both ways and one
architecture; then every client takes the last average, whenever it next takes part, and keeps that body from there on.
The authors keep each client's best model by *test* accuracy, which is a leak; here the last model counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.later import LATER

from ..federation.payloads import Parameters
from ..federation.trees import chosen
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative
from .losses import cross_entropy
from .parts import everywhere, is_head, refreshed
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class LGFedAvgConfig:
    """Settings of LG-FedAvg beside the run's local training."""

    global_part: Literal["head", "all", "none"] = "head"
    """What is averaged; the rest never leaves the client."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples (the paper) or all the same (the authors' code)."""
    warm_start: int = field(default=0, metadata=LATER)
    """Rounds of FedAvg, of the run's own, that come first; 0 starts from scratch."""

    def __post_init__(self) -> None:
        not_negative("lgfedavg", warm_start=self.warm_start)


@method("lgfedavg")
class LGFedAvg(Method[LGFedAvgConfig]):
    """Clients keep bodies of their own and share the head.

    Keeps nothing between rounds but the clients' models; the shared head waits in the channel. After a warm start the
    server keeps `warm`, FedAvg's last average, for the clients `cold`, who have yet to receive its body. Every client
    deploys its own body under the newest head.
    """

    protocol = 2  # the newest head is deployed
    category = "personalized"
    paper = "Liang et al., NeurIPS workshop 2019, arXiv:2001.01523"
    wire = "up #head * b + b, down #head * b"
    requires = Requires(one_width=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True  # after a warm start, a client starts anew until the server has heard from it
    deployed_view = "refreshed"
    deploys = "the client's own body under the newest head, for every client; the initial body before its first round"

    def needs(self) -> Requires:
        """Features of one width; what FedAvg needs where everything is global, if only at first."""
        everything = self.config.global_part == "all" or self.config.warm_start > 0
        return replace(self.requires, one_architecture=everything, shared_init=everything)

    def plan(self, facts: Facts) -> Plan:
        """What is global, each way; rounds of a warm start cost more than those after it, all weights."""
        size = {"head": facts.head_bytes, "all": facts.weights_bytes, "none": 0}[self.config.global_part]
        most = facts.weights_bytes if self.config.warm_start else size
        told = size_bytes(facts, self.config.weights) if most else 0
        return Plan(up_bytes=most + told, down_bytes=most, bound=most > size)

    def setup(self, federation: Federation) -> None:
        """Nothing is averaged yet."""
        self.warm: Tree = {}
        self.cold = set(range(federation.clients))

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters | None:
        """Take the global part, train it together with the local part, send the global part back."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        part = self.averaged(rnd)
        if part == "none":
            return None
        tree = clients.weights if part == "all" else chosen(clients.weights, is_head)
        return Parameters(tree, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Average the global parts of all clients, whatever their bodies, and send the average to all."""
        if self.averaged(rnd) == "none":
            return None
        self.average = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        if not self.config.warm_start:
            return uploads.to_all(Parameters(self.average))
        if rnd.index < self.config.warm_start:
            self.warm = self.average
        else:
            self.cold.difference_update(uploads.ids)
        return self.letters(self.average)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's local part with the newest global one; FedAvg's last body where a client has yet to get it."""
        if self.averaged(rnd) == "none":
            return clients.deployed()
        cold = [place for place, client in enumerate(clients.ids) if client in self.cold]
        if self.warm and cold:
            clients = clients.copy()
            clients.only(cold).load(self.warm)
        return refreshed(clients, self.average)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains from its initial body, or that of the warm start, under the newest head."""
        if self.warm and self.averaged(rnd) != "none":
            received = Parameters(everywhere({**self.warm, **self.average}, clients))
        self.client_update(clients, received, rnd)
        return clients.deployed()

    def averaged(self, rnd: Round) -> Literal["head", "all", "none"]:
        """What is averaged in a round."""
        return "all" if rnd.index < self.config.warm_start else self.config.global_part

    def letters(self, average: Tree) -> Downloads:
        """The average; with FedAvg's last body for the clients that have yet to receive it."""
        from ..federation.channel import Downloads, Parcel  # imports torch

        settled = [client for client in range(self.federation.clients) if client not in self.cold]
        parcels = [
            Parcel(Parameters(tree), dict.fromkeys(clients, 0))
            for tree, clients in (({**self.warm, **average}, sorted(self.cold)), (average, settled))
            if clients
        ]
        return Downloads(tuple(parcels))

    def state_dict(self) -> dict[str, Any]:
        """FedAvg's last average and who has yet to receive it, after a warm start."""
        return {"warm": self.warm, "cold": sorted(self.cold)} if self.config.warm_start else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.config.warm_start:
            self.warm, self.cold = dict(state["warm"]), set(state["cold"])
