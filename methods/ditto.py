"""Ditto: FedAvg, and beside it a personal model that a spring holds near the server's.

T. Li, S. Hu, A. Beirami, V. Smith, "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021,
arXiv:2012.04221, Algorithm 1. One round, for sampled clients S that received w:

    train        theta_i = LOCAL(w; D_i)                                           E_loc epochs, as in FedAvg
    personalize  v_i    <- descend cross-entropy on D_i + lam/2 * ||v_i - w||^2    `personal_epochs` from the last v_i
    aggregate    w       = sum_{i in S} n_i/n_S * theta_i                          by size, or every client the same

v_i starts from the w of the client's first round. The spring ends at the *received* w, not at theta_i, and w never
depends on any v_i.
Exchanged: all weights and BatchNorm buffers of theta, #theta * 4 bytes each way; v_i never leaves the client.
Deployed: v_i (`personal`). Also reported: w (`global`) and theta_i (`+local`), the two accuracies of FedAvg.
Left open by the paper: the order of the two solvers, which do not interact. Here theta_i is trained first, then v_i, on
the same batches. The authors also choose lam for each client on validation data; here it is one number.
Disputed: ||.||^2 is the sum of squares over all parameters, as in the paper; some re-implementations, COSMOS's among
them, take the mean (`proximal: mean`), millions of times weaker, which leaves v_i to local training alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.spaces import Log, space

from ..federation.payloads import Parameters
from ..federation.trees import subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, shared_cross_entropy, squared_distance
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Round


@dataclass(frozen=True)
class DittoConfig:
    """Settings of Ditto beside the run's local training."""

    lam: float = field(default=1.0, metadata=space(Log(1e-2, 100.0)))
    """lambda, strength of the spring between v_i and w. The paper tunes it over 0.1, 1 and 2; 0 is Local-only."""
    proximal: Literal["sum", "mean"] = "sum"
    """Squares are summed over all parameters (the paper) or averaged."""
    personal_epochs: int | None = None
    """Passes over the private data for v_i, per round; the run's local epochs when null."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples or all the same."""

    def __post_init__(self) -> None:
        not_negative("ditto", lam=self.lam)
        positive("ditto", personal_epochs=1 if self.personal_epochs is None else self.personal_epochs)


@method("ditto")
class Ditto(Method[DittoConfig]):
    """FedAvg, and beside it a personal model that a spring holds near the server's.

    A client holds theta_i ("shared") and v_i ("personal"), and keeps whether it has begun.
    """

    category = "personalized"
    paper = "Li et al., ICML 2021, arXiv:2012.04221"
    wire = "up #theta * b + b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "personal"

    def plan(self, facts: Facts) -> Plan:
        """One of the two nets each way; both train."""
        return Plan(
            up_bytes=facts.weights_bytes + size_bytes(facts, self.config.weights),
            down_bytes=facts.weights_bytes,
            work=(
                PlannedPhase("local", facts.local_epochs),
                PlannedPhase("local", self.config.personal_epochs or facts.local_epochs),
            ),
        )

    def build_client(self, base: nn.Module) -> nn.Module:
        """The zoo's net twice."""
        from .two_models import TwoModels

        return TwoModels(base)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train the server's model as FedAvg does, then the personal one near what was received."""
        from .two_models import is_personal, is_shared

        if received is not None:
            clients.load(under("shared", received.tree))
        w = subtree(clients.weights, "shared")
        begin(clients, w)
        clients.fit(shared_cross_entropy, trainable=is_shared)
        anchor = {name: w[name] for name in subtree(clients.parameters, "shared")}
        clients.fit(
            self.personal_loss, trainable=is_personal, epochs=self.config.personal_epochs, per_client={"w": anchor}
        )
        return Parameters(subtree(clients.weights, "shared"), sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the uploaded weights and send the average to all."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's personal model."""
        return clients.deployed(part="personal")

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's model, and what each client made of it in its last local phase."""
        return {"global": clients.with_weights(self.w, part="shared"), "+local": clients.deployed(part="shared")}

    def personal_loss(self, model: Any, batch: Batch) -> Tensor:
        """Cross-entropy of v + lam/2 * ||v - w||^2 of one client on one batch."""
        w: Tree = batch.extra["w"]
        numbers = sum(tensor.numel() for tensor in w.values()) if self.config.proximal == "mean" else 1
        spring = self.config.lam / 2 / numbers * squared_distance(model.personal, w)
        return cross_entropy(model.personal, batch) + spring


def begin(clients: Cohort, w: Tree) -> None:
    """Start the personal models of clients that take part for the first time from the w they received."""
    before = clients.kept("begun")
    new = list(range(len(clients))) if before is None else (before["begun"] == 0).nonzero().flatten().tolist()
    if new:
        clients.only(new).load(under("personal", {name: tensor[new] for name, tensor in w.items()}))
    clients.keep("begun", {"begun": clients.sizes.new_ones(len(clients))})
