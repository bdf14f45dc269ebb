"""FedRep: clients fit their own heads to the common body, then all improve the body.

L. Collins, H. Hassani, A. Mokhtari, S. Shakkottai, "Exploiting Shared Representations for Personalized Federated
Learning", ICML 2021, arXiv:2102.07078, Algorithm 1. One round, for sampled clients S, with body B and head H_i:

    receive    B_i = B                                     the head H_i stays as client i left it
    head       H_i <- descend cross-entropy(B_i, .; D_i)   `head_epochs` passes, body frozen
    body       B_i <- descend cross-entropy(., H_i; D_i)   `body_epochs` passes, head frozen
    aggregate  B   = sum_{i in S} n_i/n_S * B_i            H_i is never sent

Exchanged: the body with its BatchNorm buffers, #body * 4 bytes each way. A frozen part has no momentum, no weight
decay, and its BatchNorm neither learns statistics nor uses the batch's.
Two accuracies: `refreshed`, the newest B under the client's own H_i, is what the authors evaluate and what every client
deploys, drawn or not (H_i is the initial head before its first round); `+local` is (B_i, H_i) after both phases.
Left open by the paper: how many passes of each kind. The authors' code takes 5 of its 15 local epochs for the body;
here, unless set, a third of the run's local epochs (at least one) trains the body and the rest (at least one) the
head, so that from two local epochs on a client passes over its data as often as in any other method.
Departure: the authors' code draws all clients for one more round at the end, with at least ten epochs for heads; here
all rounds are alike, and a client that was never drawn keeps the initial head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fl_bench.spaces import Integers, space

from ..federation.payloads import Parameters
from ..federation.trees import chosen
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative
from .losses import cross_entropy
from .parts import check_bodies, is_body, is_head, refreshed
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedRepConfig:
    """Settings of FedRep beside the run's local training."""

    head_epochs: int | None = field(default=None, metadata=space(Integers(1, 10, log=True)))
    """Passes that train the head, per round; null: the local epochs that the body leaves, at least one."""
    body_epochs: int | None = field(default=None, metadata=space(Integers(1, 10, log=True)))
    """Passes that train the body, per round; null: a third of the run's local epochs, rounded, at least one."""

    def __post_init__(self) -> None:
        not_negative("fedrep", head_epochs=self.head_epochs or 0, body_epochs=self.body_epochs or 0)

    def epochs(self, local: int) -> tuple[int, int]:
        """Passes over head and body where the run has `local` epochs."""
        body = max(1, round(local / 3)) if self.body_epochs is None else self.body_epochs
        return max(1, local - body) if self.head_epochs is None else self.head_epochs, body


@method("fedrep")
class FedRep(Method[FedRepConfig]):
    """Clients fit their own heads to the common body, then all improve the body.

    Keeps nothing between rounds but the clients' models; the common body waits in the channel. Every client deploys the
    newest body under its own head.
    """

    protocol = 2  # the newest body is deployed
    category = "personalized"
    paper = "Collins et al., ICML 2021, arXiv:2102.07078"
    wire = "up #body * b + b, down #body * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "refreshed"
    deploys = "the newest body under the client's own head, for every client; the initial head before its first round"

    def plan(self, facts: Facts) -> Plan:
        """#body * 4 bytes each way; passes for the head, passes for the body."""
        return Plan(
            up_bytes=facts.body_bytes + facts.number_bytes,
            down_bytes=facts.body_bytes,
            work=tuple(PlannedPhase("local", epochs) for epochs in self.config.epochs(facts.local_epochs)),
        )

    def setup(self, federation: Federation) -> None:
        """Refuse nets without a body to share."""
        check_bodies(self.name, federation)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take the common body, train the head, then the body, and send the body back."""
        if received is not None:
            clients.load(received.tree)
        head_epochs, body_epochs = self.config.epochs(clients.training.local_epochs)
        clients.fit(cross_entropy, epochs=head_epochs, trainable=is_head, stream="head")
        clients.fit(cross_entropy, epochs=body_epochs, trainable=is_body)
        return Parameters(chosen(clients.weights, is_body), sizes=clients.sizes)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the bodies by size and send the average to all."""
        self.common = weighted_mean(uploads.parameters(), shares(uploads, "size"))
        return uploads.to_all(Parameters(self.common))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The newest common body under each client's head."""
        return refreshed(clients, self.common)

    def unseen(self, clients: Cohort, received: Parameters, rnd: Round) -> Deployed:
        """A newcomer fits its head to the newest body, which stays as it is, as in the paper."""
        clients.load(received.tree)
        clients.fit(cross_entropy, trainable=is_head, stream="head")
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}
