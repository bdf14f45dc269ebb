"""FedTGP: FedProto with prototypes that the server trains, so that they keep away from each other.

J. Zhang, Y. Liu, Y. Hua, J. Cao, "FedTGP: Trainable Global Prototypes with Adaptive-Margin-Enhanced Contrastive
Learning for Data and Model Heterogeneity in Federated Learning", AAAI 2024, arXiv:2401.03230, Algorithm 1. The server
has a trainable vector per class and a perceptron d -> d, ReLU, d -> d, which makes prototypes g_c of them. One round,
for sampled clients S:

    train      theta_i <- LOCAL on CE(f(x), y) + lambda * MSE(z, g_y)     z: features of the body
    prototype  q_{i,c}  = mean of z over the samples of class c in D_i      after training, evaluation mode
    margin     gap_c    = min_{c' != c} ||Q_c - Q_c'||,   Q_c = mean over S of q_{i,c}
               delta    = min(max_c gap_c, tau)
    server     g       <- `server_epochs` passes over all pairs (q_{i,c}, c), SGD on the cross-entropy of
                          softmax_c'( -(||q - g_c'|| + delta * 1[c' = c]) ) at c

Exchanged: C_i * d * 4 + ceil(C / 8) bytes up, a prototype for each class a client has and a bit per class that says
which; the same down with C instead of C_i: the prototypes of all classes, those that nobody has included. The first
round trains on CE alone.
Two accuracies: `prototype`, the class of the nearest prototype, is the authors' and counts; `head` is the client's own
softmax.
Left open by the paper: delta where there is but one class (no gap): tau, as in the authors' code.
Departures: the authors train for up to 2000 rounds, and report that the server's loss takes about 1000 to vanish; in
ten rounds the method is at a disadvantage. They give the server the clients' learning rate; here it has its own
(`server_lr`), and batches of the run's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import F, torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.optimizers import Optimizer
from ..federation.payloads import Prototypes
from ..federation.trees import subtree
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .distances import between
from .losses import cross_entropy
from .planning import PlannedPhase
from .prototypes import class_means, labelled_features, near_prototypes, nearest_prototype, no_prototypes, prototype_net
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
class FedTGPConfig:
    """Settings of FedTGP beside the run's local training."""

    prototype_weight: float = field(default=1.0, metadata=space(Log(0.1, 100.0)))
    """lambda, pull of features towards their class's prototype; 10 in the authors' script for CIFAR-10."""
    margin_threshold: float = field(default=100.0, metadata=space(Log(1.0, 1000.0)))
    """tau, largest margin; 0 is plain cross-entropy on negative distances."""
    server_epochs: int = field(default=100, metadata=space(Integers(10, 200, log=True)))
    """S, passes over the uploaded pairs per round."""
    server_lr: float = field(default=0.01, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the server's SGD."""

    def __post_init__(self) -> None:
        not_negative("fedtgp", prototype_weight=self.prototype_weight, margin_threshold=self.margin_threshold)
        not_negative("fedtgp", server_epochs=self.server_epochs)
        positive("fedtgp", server_lr=self.server_lr)


@method("fedtgp")
class FedTGP(Method[FedTGPConfig]):
    """FedProto with prototypes that the server trains, so that they keep away from each other.

    Keeps `server`, a cohort of one generator of prototypes.
    """

    category = "prototypes"
    paper = "Zhang et al., AAAI 2024, arXiv:2401.03230"
    wire = "up C_i * d * b + ceil(C / 8), down C * d * b + ceil(C / 8)"
    protocol = 2  # prototypes say which classes they are of
    requires = Requires(one_width=True)
    exchanges = frozenset({Prototypes})
    tolerates_absence = True
    deployed_view = "prototype"
    deploys = "the nearest of the newest prototypes, by the body that the client holds since it last took part"

    def plan(self, facts: Facts) -> Plan:
        """A vector per class that the client has up, one per class down; the server trains on all of them."""
        held, features = facts.classes_held or facts.classes, facts.net.features
        perceptron = 2 * features * (features + 1) * facts.number_bytes
        server = PlannedPhase(
            "server",
            self.config.server_epochs,
            held,
            uploaded=True,
            passes=min(1.0, perceptron / facts.weights_bytes),
        )
        return Plan(
            up_bytes=facts.prototypes_bytes(held),
            down_bytes=facts.prototypes_bytes(facts.classes),
            bound=not facts.classes_held,
            work=(PlannedPhase("local", facts.local_epochs), server),
            steps="exact" if facts.classes_held else "most",
        )

    def setup(self, federation: Federation) -> None:
        """Draw the server's initial weights."""
        from .prototype_nets import TrainablePrototypes

        _, classes, features = no_prototypes(federation).values.shape
        self.server = federation.server_models(1, lambda _, key: TrainablePrototypes(classes, features, key))

    def client_update(self, clients: Cohort, received: Prototypes | None, rnd: Round) -> Prototypes:
        """Train near the server's prototypes, then send the class means of the features."""
        if received is None:
            clients.fit(cross_entropy, name="local")
        else:
            clients.fit(
                near_prototypes(self.config.prototype_weight),
                per_client={"prototypes": received.values, "present": received.present},
                name="local",
            )
        return clients.prototypes()

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Train the prototypes to be told apart by the widest gap between the classes' means."""

        uploaded = uploads.prototypes()
        self.margin = widest_gap(class_means(uploaded)).clamp_max(self.config.margin_threshold)
        q, classes = labelled_features(uploaded, [self.federation.identities[client] for client in uploads.ids])
        self.server.at(rnd.index).fit(
            margin_contrast,
            on=Teaching(q, classes[None]),
            epochs=self.config.server_epochs,
            optimizer=Optimizer("sgd", self.config.server_lr),
            per_client={"margin": self.margin[None]},
            stream="prototypes",
        )
        return uploads.to_all(self.prototypes())

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The class of the nearest prototype, by each client's features."""
        return nearest_prototype(clients, self.prototypes())

    def deployed_net(self, client: nn.Module) -> nn.Module:
        """The classifier by nearest prototypes on the client's body."""
        return prototype_net(client)

    def unseen(self, clients: Cohort, received: Prototypes, rnd: Round) -> Deployed:
        """A newcomer trains near the newest prototypes, and deploys the nearest."""
        self.client_update(clients, received, rnd)
        return nearest_prototype(clients, self.prototypes())

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """Each client's own head."""
        return {"head": clients.deployed()}

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """The margin of this round."""
        return {"margin": float(self.margin)}

    def state_dict(self) -> dict[str, Any]:
        """The server's weights and optimizer state."""
        return self.server.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.server.load_state_dict(state)

    def prototypes(self) -> Prototypes:
        """g of all classes, one row."""
        weights = {name: tensor[0] for name, tensor in self.server.parameters.items()}
        perceptron = self.server.module("perceptron")
        with torch.no_grad():
            g = torch.func.functional_call(perceptron, subtree(weights, "perceptron"), (weights["table"],))
        return Prototypes(g[None], g.new_ones((1, len(g)), dtype=torch.bool))


def widest_gap(means: Prototypes) -> Tensor:
    """max_c gap_c, gap_c the distance of class c's mean to the nearest other; inf where there is but one class."""
    values, present = means.values[0], means.present[0]
    apart = between(values, values).fill_diagonal_(float("inf"))
    gaps = torch.where(present, apart, float("inf")).amin(dim=1)
    return gaps[present].max()


def margin_contrast(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of -(||q - g_c'|| + delta * 1[c' = c]) at c, mean over the batch of pairs (q, c)."""
    assert batch.target is not None
    away = model(batch.x)
    own = F.one_hot(batch.target, away.shape[1])
    return F.cross_entropy(away - batch.extra["margin"] * own, batch.target)
