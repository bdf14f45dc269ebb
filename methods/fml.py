"""FML: every client teaches its own model and its copy of a common one to each other; the common one is averaged.

T. Shen, J. Zhang, X. Jia, F. Zhang, G. Huang, P. Zhou, K. Kuang, F. Wu, C. Wu, "Federated Mutual Learning", 2020,
arXiv:2006.16765, Algorithm 1. One round, for sampled clients S, with a personal model theta_i of any architecture and
a "meme" model w of one architecture for all (the run's `models.server`):

    fork         w_i = w
    mutual       on every batch of E_loc epochs, with the outputs p = softmax f before the step; the first in a KL
                 is a constant:
                 theta_i <- descend alpha * cross-entropy + (1 - alpha) * KL(p(w_i) || p(theta_i))
                 w_i     <- descend beta  * cross-entropy + (1 - beta)  * KL(p(theta_i) || p(w_i))
    aggregate    w = 1/|S| * sum_{i in S} w_i                 every client the same, or by size

Exchanged: the meme's weights and BatchNorm buffers, #omega * 4 bytes each way; theta_i never leaves the client.
Deployed: theta_i (`personal`). Also reported: w (`meme`).
KL is summed over classes and averaged over samples; re-implementations that average over classes as well make it C
times weaker, and some let it train its own target, or have alpha = beta = 1, which is no mutual learning at all.
Every client starts from the same meme, that of the run's seed, whatever `training.init` says.
A step trains two models and counts as one; `training.clip` bounds the gradient of both together. The authors' defaults
for alpha and beta; training is the run's (theirs: SGD 0.01, momentum 0.9, 5 epochs in batches of 128).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F
from fl_bench.spaces import Linear, space

from ..federation.payloads import Parameters
from ..federation.trees import subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan
from .losses import imitation
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FMLConfig:
    """Settings of FML beside the run's local training."""

    alpha: float = field(default=0.5, metadata=space(Linear(0.1, 0.9, least=0, most=1)))
    """What labels count for in the personal model, in [0, 1]; the rest is the meme's opinion. 1 is Local-only."""
    beta: float = field(default=0.5, metadata=space(Linear(0.1, 0.9, least=0, most=1)))
    """What labels count for in the meme; the rest is the personal model's opinion. 1 makes the meme FedAvg's model."""
    weights: Literal["uniform", "size"] = "uniform"
    """In the average of memes all clients count the same (the paper) or by their private samples."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"fml.{name} must be in [0, 1], got {getattr(self, name)}")


@method("fml")
class FML(Method[FMLConfig]):
    """Every client teaches its own model and its copy of a common one to each other; the common one is averaged.

    A client holds theta_i ("personal") and w_i ("shared"); the server keeps nothing: w waits in the channel.
    """

    category = "personalized"
    paper = "Shen et al., 2020, arXiv:2006.16765"
    wire = "up #omega * b, down #omega * b"
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "personal"

    def plan(self, facts: Facts) -> Plan:
        """The meme each way; every step runs both nets."""
        return Plan(
            up_bytes=facts.common_bytes + size_bytes(facts, self.config.weights),
            down_bytes=facts.common_bytes,
            work=(PlannedPhase("local", facts.local_epochs, passes=2),),
        )

    def build_client(self, base: nn.Module) -> nn.Module:
        """The client's own net and a meme."""
        from .two_models import TwoModels

        return TwoModels(base, self.federation.common_net())

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take the meme, train both models on each other and on the labels, send the meme."""
        if received is not None:
            clients.load(under("shared", received.tree))
        clients.fit(self.mutual_loss)
        return Parameters(subtree(clients.weights, "shared"), sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the memes, which are of one architecture whatever the clients' own models are."""
        self.w = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        return uploads.to_all(Parameters(self.w))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's personal model."""
        return clients.deployed(part="personal")

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The averaged meme."""
        return {"meme": clients.with_weights(self.w, part="shared")}

    def mutual_loss(self, model: Any, batch: Batch) -> Tensor:
        """The losses of both models on one batch; neither reaches the other's weights, so their sum trains both."""
        assert batch.y is not None
        own, meme = model.personal(batch.x), model.shared(batch.x)
        alpha, beta = self.config.alpha, self.config.beta
        personal = alpha * F.cross_entropy(own, batch.y) + (1 - alpha) * imitation(own, meme)
        shared = beta * F.cross_entropy(meme, batch.y) + (1 - beta) * imitation(meme, own)
        return personal + shared
