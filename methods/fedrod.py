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
Three accuracies: `personal`, g + P_i(z) of the client after its last local phase, is deployed (the initial net before
its first); `generic` is the server's average of (B, G); `refreshed` is that average with the client's own P_i, the
newest model that a client which is not drawn can have. Which of the two with P_i the authors evaluate under sampling is
not known to us.
With `head: generated` P_i is not the client's own but made by a hyper-network of one hidden layer, the same for all,

    P_i       = H(n_i / sum n_i; v_i)                    weights and a bias from the client's share of each class
    v_i       <- descend CE(stop(g) + P_i(stop(z)), y)   SGD with `hyper_lr`
    aggregate v         = sum_{i in S} n_i/n_S * v_i     sent with (B, G), #H = (C + 1) h + (h + 1) (C d + C) numbers

Left open by the paper: the start of P_i; 0 here, so that `personal` starts as `generic`. Where it is generated, the
last layer of H is 0 at first. The one pass through the net serves both losses, so a clipped gradient (`training.clip`)
is clipped over all parts together. A generated head has another optimizer and with it a pass of its own, before that
of the generic loss and on the same weights: steps count twice, parts are clipped apart, `loss_local` is the personal
loss, and BatchNorm statistics move twice per batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.later import LATER
from fl_bench.lazy import F
from fl_bench.spaces import Log, space
from fl_bench.streams import torch_stream

from ..federation.optimizers import Optimizer
from ..federation.payloads import Parameters
from ..federation.trees import chosen, subtree
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .parts import refreshed
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.phase import Step
    from ..federation.rounds import Round
    from ..federation.settings import Training

CLASS_SHARES = "personal.shares"
"""The buffer of a generated head with the client's share of each class."""


@dataclass(frozen=True)
class FedRODConfig:
    """Settings of FedROD beside the run's local training."""

    gamma: float = field(default=1.0, metadata=space(Log(0.1, 10.0)))
    """Strength of the balance in the generic loss; 0 is plain cross-entropy, without a mask."""
    head: Literal["linear", "generated"] = field(default="linear", metadata=LATER)
    """The personal head: a linear layer of the client's own, or what a hyper-network, which all clients train and the
    server averages, makes of the client's class shares."""
    hidden: int = field(default=32, metadata=LATER)
    """Width of the hyper-network's hidden layer."""
    hyper_lr: float = field(default=0.1, metadata={**LATER, **space(Log(1e-3, 1.0))})
    """Learning rate of the SGD that trains the hyper-network."""

    def __post_init__(self) -> None:
        not_negative("fedrod", gamma=self.gamma)
        positive("fedrod", hidden=self.hidden, hyper_lr=self.hyper_lr)


@method("fedrod")
class FedROD(Method[FedRODConfig]):
    """One net learns for everyone under a balanced loss, a head beside it learns for its client.

    Keeps nothing between rounds but the clients' models; the generic net waits in the channel.
    """

    category = "personalized"
    paper = "Chen & Chao, ICLR 2022, arXiv:2107.00778"
    wire = "up #theta * b + b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "personal"

    @property
    def generates(self) -> bool:
        """Whether personal heads come from a hyper-network."""
        return self.config.head == "generated"

    def plan(self, facts: Facts) -> Plan:
        """Body and generic head each way, and the hyper-network where there is one."""
        hidden = self.config.hidden
        hyper = (facts.classes + 1) * hidden * facts.number_bytes + (hidden + 1) * facts.head_bytes
        size = facts.weights_bytes + (hyper if self.generates else 0)
        steps = PlannedPhase("local", facts.local_epochs, repeat=2 if self.generates else 1)
        return Plan(up_bytes=size + facts.number_bytes, down_bytes=size, work=(steps,))

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        """The run's, and SGD of the method's own for the hyper-network where there is one."""
        usual = super().local_optimizers(training)
        return {**usual, "hyper_lr": Optimizer("sgd", self.config.hyper_lr)} if self.generates else usual

    def build_client(self, base: nn.Module) -> nn.Module:
        """The zoo's net and a personal head on its features."""
        from .two_heads import GeneratedHead, TwoHeads

        net: Any = base  # what clients are built of is a net of the zoo
        if not self.generates:
            return TwoHeads(net)
        stream = torch_stream(self.federation.init_seed, "fedrod hyper-network")
        return TwoHeads(net, GeneratedHead(net.head, self.config.hidden, stream))

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take what is common, train it and the personal head, send what is common back."""
        if received is not None:
            clients.load(received.tree)
        counts = clients.label_counts.to(clients.sizes)
        extra = {"log_prior": log_prior(counts, self.config.gamma)}
        if self.generates:
            clients.load({CLASS_SHARES: class_shares(clients)})
            clients.fit(self.apart(clients.training), per_client=extra)
        else:
            clients.fit(both_losses, per_client=extra)
        return Parameters(chosen(clients.weights, self.is_common), sizes=clients.sizes)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average what is common by size and send the average to all."""
        self.common = weighted_mean(uploads.parameters(), shares(uploads, "size"))
        return uploads.to_all(Parameters(self.common))

    def apart(self, training: Training) -> list[Step]:
        """A step of the hyper-network, then one of the generic net, which the first has not touched."""
        from ..federation.phase import Step

        rule = self.local_optimizers(training)["hyper_lr"]
        return [
            Step(personal_loss, trainable=lambda name: not is_generic(name), optimizer=rule),
            Step(generic_loss, trainable=is_generic),
        ]

    def is_common(self, name: str) -> bool:
        """Whether a tensor is averaged: the generic net, and the hyper-network where there is one."""
        return is_generic(name) or (self.generates and name != CLASS_SHARES)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's average, the model for a client that has never been seen; and with each client's own head."""
        own = {CLASS_SHARES: class_shares(clients)} if self.generates else {}
        return {
            "generic": clients.with_weights(subtree(self.common, "generic"), part="generic"),
            "refreshed": refreshed(clients, self.common | own),
        }


def is_generic(name: str) -> bool:
    """Whether a tensor belongs to the generic net."""
    return name.startswith("generic.")


def class_shares(clients: Cohort) -> Tensor:
    """Each client's share of samples of every class, shape (clients, classes), rows summing to 1."""
    counts = clients.label_counts.to(clients.sizes)
    return counts / counts.sum(dim=1, keepdim=True)


def log_prior(counts: Tensor, gamma: float) -> Tensor:
    """gamma * log(n_c / max_c n_c): 0 for the client's largest classes, -inf for absent ones; 0 where gamma is 0.

    Args:
        counts: samples of each client and class, shape (clients, classes), float.
        gamma: strength, not negative.
    """
    return (counts / counts.amax(dim=1, keepdim=True)).pow(gamma).log()  # a power, as 0 * log 0 is not a number


def generic_loss(model: Any, batch: Batch) -> Tensor:
    """Balanced loss of the generic net."""
    assert batch.y is not None
    return F.cross_entropy(model.generic(batch.x) + batch.extra["log_prior"], batch.y)


def personal_loss(model: Any, batch: Batch) -> Tensor:
    """Loss of the personal head, which has no gradient in the generic net."""
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


def both_losses(model: Any, batch: Batch) -> Tensor:
    """Balanced loss of the generic net plus loss of the personal head; neither has a gradient in the other's part."""
    assert batch.y is not None
    generic, personal = model.outputs(batch.x)
    return F.cross_entropy(generic + batch.extra["log_prior"], batch.y) + F.cross_entropy(personal, batch.y)
