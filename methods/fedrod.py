"""FedROD: one net learns for everyone under a balanced loss, a head beside it learns for its client.

H.-Y. Chen, W.-L. Chao, "On Bridging Generic and Personalized Federated Learning for Image Classification", ICLR 2022,
arXiv:2107.00778, Algorithm 1. One round, for sampled clients S, with body B, generic head G and personal head P_i:

    receive    (B_i,G_i) = (B, G)                                       P_i stays as client i left it
    train      E_loc epochs; on a batch (x, y) with features z = B_i(x) and generic logits g = G_i(z), together
               (B_i,G_i) <- descend CE(g + gamma * log n_i, y)          balanced softmax
               P_i       <- descend CE(stop(g) + P_i(stop(z)), y)       stop: no gradient passes
    aggregate  (B,G)     = sum_{i in S} n_i/n_S * (B_i, G_i)            P_i is never sent

n_i counts the client's samples of each class; a class it has none of is masked (log 0). Counts enter divided by the
largest, which changes no softmax and makes balanced clients train exactly as in FedAvg.
Exchanged: body and generic head, #theta * 4 bytes each way.
Two accuracies: `personal`, g + P_i(z) of the client after its local phase, is deployed; `generic` is the server's
average of (B, G).
Left open by the paper: the start of P_i; 0 here, so that `personal` starts as `generic`. The one pass through the net
serves both losses, so a clipped gradient (`training.clip`) is clipped over all parts together.
Departure: P_i is linear; the paper's other variant, a hyper-network that makes P_i of n_i, is not built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import F

from ..federation.payloads import Parameters
from ..federation.trees import subtree, under
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.evaluation import Deployed
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FedRODConfig:
    """Settings of FedROD beside the run's local training."""

    gamma: float = 1.0
    """Strength of the balance in the generic loss; 0 is plain cross-entropy, without a mask."""

    def __post_init__(self) -> None:
        not_negative("fedrod", gamma=self.gamma)


@method("fedrod")
class FedROD(Method[FedRODConfig]):
    """One net learns for everyone under a balanced loss, a head beside it learns for its client.

    Keeps nothing between rounds but the clients' models; the generic net waits in the channel.
    """

    category = "personalized"
    paper = "Chen & Chao, ICLR 2022, arXiv:2107.00778"
    wire = "up #theta * b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    deployed_view = "personal"

    def plan(self, facts: Facts) -> Plan:
        """Body and generic head each way."""
        return Plan(up_bytes=facts.weights_bytes, down_bytes=facts.weights_bytes)

    def build_client(self, base: nn.Module) -> nn.Module:
        """The zoo's net and a personal head on its features."""
        from .two_heads import TwoHeads

        return TwoHeads(base)  # type: ignore[arg-type]  # what clients are built of is a net of the zoo

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take the generic net, train it and the personal head, send the generic net back."""
        if received is not None:
            clients.load(under("generic", received.tree))
        prior = log_prior(clients.label_counts.to(clients.sizes), self.config.gamma)
        clients.fit(both_losses, per_client={"log_prior": prior})
        return Parameters(subtree(clients.weights, "generic"))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the generic nets by size and send the average to all."""
        self.generic = weighted_mean(uploads.parameters(), shares(uploads, "size"))
        return uploads.to_all(Parameters(self.generic))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's average, the model for a client that has never been seen."""
        return {"generic": clients.with_weights(self.generic, part="generic")}


def log_prior(counts: Tensor, gamma: float) -> Tensor:
    """gamma * log(n_c / max_c n_c): 0 for the client's largest classes, -inf for absent ones; 0 where gamma is 0.

    Args:
        counts: samples of each client and class, shape (clients, classes), float.
        gamma: strength, not negative.
    """
    return (counts / counts.amax(dim=1, keepdim=True)).pow(gamma).log()  # a power, as 0 * log 0 is not a number


def both_losses(model: Any, batch: Batch) -> Tensor:
    """Balanced loss of the generic net plus loss of the personal head; neither has a gradient in the other's part."""
    assert batch.y is not None
    generic, personal = model.outputs(batch.x)
    return F.cross_entropy(generic + batch.extra["log_prior"], batch.y) + F.cross_entropy(personal, batch.y)
