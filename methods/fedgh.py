"""FedGH: bodies differ and stay at home, one head for all is trained by the server on class means of features.

L. Yi, G. Wang, X. Liu, Z. Shi, H. Yu, "FedGH: Heterogeneous Federated Learning with Generalized Global Header", ACM MM
2023, arXiv:2303.13137, Algorithm 1. One round, for sampled clients S:

    receive    head of f_i <- w                              from the second round on
    train      theta_i     <- LOCAL(theta_i; D_i)            body and head
    prototype  q_{i,c}      = mean of the body's output over the samples of class c in D_i    evaluation mode
    server     w           <- `server_epochs` passes of SGD on CE(w(q_{i,c}), c) over all pairs

Exchanged: C_i * d * 4 + ceil(C / 8) bytes up, a prototype for each class a client has and a bit per class that says
which; the head down. The server's head starts with initial weights that both sides know by the seed, those of a
client's head.
Two accuracies: `client`, the client's model after its local phase, is the paper's and counts; `refreshed` is its body
under the server's newest head.
Left open by the paper: how the server trains. The defaults are all HtFLlib's (github.com/TsingZ0/HtFLlib): 100 passes
of plain SGD with 0.01, in batches of the run's size. The authors' code takes one pass, sample by sample, with the
optimizer of a client's net (SGD, momentum 0.9), which does not hold the head's weights and leaves it as it was; here
the head is trained. Round 0 trains each net from its own head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import F
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.optimizers import Optimizer
from ..federation.payloads import Parameters, Prototypes
from ..federation.trees import chosen
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy
from .parts import is_head, refreshed
from .planning import PlannedPhase
from .prototypes import labelled_features
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedGHConfig:
    """Settings of FedGH beside the run's local training."""

    server_epochs: int = field(default=100, metadata=space(Integers(10, 200, log=True)))
    """Passes over the uploaded prototypes per round."""
    server_lr: float = field(default=0.01, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the server's SGD."""
    server_momentum: float = 0.0
    """Momentum of the server's SGD; HtFLlib's has none."""

    def __post_init__(self) -> None:
        not_negative("fedgh", server_epochs=self.server_epochs, server_momentum=self.server_momentum)
        positive("fedgh", server_lr=self.server_lr)


@method("fedgh")
class FedGH(Method[FedGHConfig]):
    """Bodies differ and stay at home, one head for all is trained by the server on class means of features.

    Keeps `head`, the server's, name to (1, ...).
    """

    category = "prototypes"
    paper = "Yi et al., ACM MM 2023, arXiv:2303.13137"
    wire = "up C_i * d * b + ceil(C / 8), down #head * b"
    protocol = 2  # prototypes say which classes they are of; the server's SGD has no momentum
    requires = Requires(one_width=True)
    exchanges = frozenset({Prototypes, Parameters})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """A vector per class that the client has up, the head down; the server trains it on all of them."""
        held = facts.classes_held or facts.classes
        header = PlannedPhase(
            "server",
            self.config.server_epochs,
            held,
            uploaded=True,
            passes=facts.head_bytes / facts.weights_bytes,
        )
        return Plan(
            up_bytes=facts.prototypes_bytes(held),
            down_bytes=facts.head_bytes,
            bound=not facts.classes_held,
            work=(PlannedPhase("local", facts.local_epochs), header),
            steps="exact" if facts.classes_held else "most",
        )

    def setup(self, federation: Federation) -> None:
        """Start from the head of one of the clients' architectures; heads have one shape."""
        self.architecture = min(federation.start)
        self.head = chosen(federation.start[self.architecture], is_head)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Prototypes:
        """Train body and head from the server's head, then send the class means of the features."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return clients.prototypes()

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Train the head to classify the prototypes of all clients."""

        identities = [self.federation.identities[client] for client in uploads.ids]
        q, classes = labelled_features(uploads.prototypes(), identities)
        before = {name: tensor.clone() for name, tensor in self.head.items()}
        header = self.federation.holding(self.architecture, before).at(rnd.index)
        header.fit(
            head_cross_entropy,
            on=Teaching(q, classes[None]),
            epochs=self.config.server_epochs,
            optimizer=Optimizer("sgd", self.config.server_lr, self.config.server_momentum),
            trainable=is_head,
            stream="header",
        )
        self.head = chosen(header.weights, is_head)
        return uploads.to_all(Parameters(self.head))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """Each client's body under the server's newest head."""
        return {"refreshed": refreshed(clients, self.head)}

    def state_dict(self) -> dict[str, Any]:
        """The server's head."""
        return {"head": self.head}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.head = dict(state["head"])


def head_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """-log softmax(w(q))_c, mean over the batch of pairs (q, c); the body takes no part."""
    assert batch.target is not None
    return F.cross_entropy(model.get_submodule("head")(batch.x), batch.target)
