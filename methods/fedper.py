"""FedPer: clients share one body and keep heads of their own.

M. Arivazhagan, V. Aggarwal, A. Singh, S. Choudhary, "Federated Learning with Personalization Layers", 2019,
arXiv:1912.00818, Algorithms 1 and 2. One round, for sampled clients S, with body B and head H_i:

    receive    B_i       = B                                the head H_i stays as client i left it
    train      (B_i,H_i) = LOCAL(B_i, H_i; D_i)             E_loc epochs on both parts together
    aggregate  B         = sum_{i in S} n_i/n_S * B_i       H_i is never sent

Exchanged: the body with its BatchNorm buffers, #body * 4 bytes each way.
Two accuracies: `refreshed`, the newest B under the client's own H_i, is deployed by every client, drawn or not (H_i is
the initial head before its first round); `+local` is (B_i, H_i) after the client's local phase.
Left open by the paper: what is evaluated. The authors published no code; `refreshed` is what FedRep's authors evaluate
FedPer by. And how much is personal. Its experiments make the last layer or the last blocks personal; here
it is the head, the last linear layer. `personal: none` is FedAvg, `all` is Local-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..federation.payloads import Parameters
from ..federation.trees import chosen
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires
from .losses import cross_entropy
from .parts import check_bodies, is_body, refreshed
from .registry import method

if TYPE_CHECKING:
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedPerConfig:
    """Settings of FedPer beside the run's local training."""

    personal: Literal["head", "none", "all"] = "head"
    """What never leaves the client."""


@method("fedper")
class FedPer(Method[FedPerConfig]):
    """Clients share one body and keep heads of their own.

    Keeps nothing between rounds but the clients' models; the shared body waits in the channel. Every client deploys the
    newest body under its own head.
    """

    protocol = 2  # the newest body is deployed
    category = "personalized"
    paper = "Arivazhagan et al., 2019, arXiv:1912.00818"
    wire = "up #body * b + b, down #body * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "refreshed"
    deploys = "the newest body under the client's own head, for every client; the initial head before its first round"

    def plan(self, facts: Facts) -> Plan:
        """What is not personal, each way."""
        size = {"head": facts.body_bytes, "none": facts.weights_bytes, "all": 0}[self.config.personal]
        return Plan(up_bytes=size and size + facts.number_bytes, down_bytes=size)

    def setup(self, federation: Federation) -> None:
        """Refuse nets without a body to share."""
        if self.config.personal == "head":
            check_bodies(self.name, federation)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters | None:
        """Take the shared part, train it together with the personal part, send the shared part back."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        if self.config.personal == "all":
            return None
        tree = clients.weights if self.config.personal == "none" else chosen(clients.weights, is_body)
        return Parameters(tree, sizes=clients.sizes)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Average the shared parts by size and send the average to all."""
        if self.config.personal == "all":
            return None
        self.shared = weighted_mean(uploads.parameters(), shares(uploads, "size"))
        return uploads.to_all(Parameters(self.shared))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The newest shared part with each client's personal part."""
        return clients.deployed() if self.config.personal == "all" else refreshed(clients, self.shared)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}
