"""FedProto: clients share class means of features, and pull their features towards the average of all.

Y. Tan, G. Long, L. Liu, T. Zhou, Q. Lu, J. Jiang, C. Zhang, "FedProto: Federated Prototype Learning across
Heterogeneous Clients", AAAI 2022, arXiv:2105.00243, Algorithm 1. With z the features of the body, one round, for
sampled clients S:

    train      theta_i <- LOCAL on CE(f(x), y) + lambda * MSE(z, g_y)   classes without a prototype: CE alone
    prototype  q_{i,c}  = mean of z over the samples of class c in D_i    after training, evaluation mode
    aggregate  g_c      = mean of q_{i,c} over the clients of S with class c

Exchanged: C_i * d * 4 + ceil(C / 8) bytes up, a prototype for each class a client has and a bit per class that says
which; down, the same of all classes seen so far.
Two accuracies: `prototype`, the class of the nearest global prototype, is the paper's and counts; `head` is the
client's own softmax. The authors look among a client's own classes only; here among all that have a prototype.
Left open by the paper: whether clients count all the same (the authors' code, `uniform`) or by their samples of the
class (the text, `size`, for which clients also send C counts of 4 bytes); clients that do not take part (a class that
nobody has this round keeps its prototype). MSE is a mean over coordinates, which makes lambda weak where d is large.
Beware of `uniform` where clients hold a sample or two of a class: these count as much as hundreds elsewhere. The mean
of prototypes that point apart is short, features are pulled to it, and round by round all classes shrink together
(Fashion-MNIST in `results/`: to a seventh of their length in nine rounds, and 71 % where `size` ends at 79 %). A high
learning rate turns the clients' features away from each other sooner.
Departure: the authors average the features that pass by in the last epoch, while the weights still move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.lazy import torch
from fl_bench.spaces import Log, space

from ..federation.payloads import Bundle, Prototypes, Scalars
from .base import Facts, Method, Plan, Requires, not_negative
from .losses import cross_entropy
from .prototypes import class_means, near_prototypes, nearest_prototype, no_prototypes, prototype_net
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedProtoConfig:
    """Settings of FedProto beside the run's local training."""

    prototype_weight: float = field(default=1.0, metadata=space(Log(0.1, 100.0)))
    """lambda, pull of features towards their class's prototype."""
    weights: Literal["uniform", "size"] = "uniform"
    """Clients count all the same in a prototype, or by their samples of the class."""

    def __post_init__(self) -> None:
        not_negative("fedproto", prototype_weight=self.prototype_weight)


@method("fedproto")
class FedProto(Method[FedProtoConfig]):
    """Clients share class means of features, and pull their features towards the average of all.

    Keeps `g`, the global prototypes: values (1, classes, features), and which classes have one.
    """

    category = "prototypes"
    paper = "Tan et al., AAAI 2022, arXiv:2105.00243"
    wire = "up C_i * d * b + ceil(C / 8), down C * d * b + ceil(C / 8)"
    protocol = 2  # prototypes say which classes they are of
    requires = Requires(one_width=True)
    exchanges = frozenset({Prototypes, Scalars})
    tolerates_absence = True
    deployed_view = "prototype"
    deploys = "the nearest of the newest prototypes, by the body that the client holds since it last took part"

    def plan(self, facts: Facts) -> Plan:
        """A vector per class; at most all C classes come down."""
        counts = 4 * facts.classes if self.config.weights == "size" else 0
        up = facts.prototypes_bytes(facts.classes_held or facts.classes) + counts
        return Plan(up_bytes=up, down_bytes=facts.prototypes_bytes(facts.classes), bound=True)

    def setup(self, federation: Federation) -> None:
        """Start without a prototype."""
        self.g = no_prototypes(federation)

    def client_update(self, clients: Cohort, received: Prototypes | None, rnd: Round) -> Prototypes | Bundle:
        """Train near the global prototypes, then send the class means of the features."""
        if received is None:
            clients.fit(cross_entropy, name="local")
        else:
            clients.fit(
                near_prototypes(self.config.prototype_weight),
                per_client={"prototypes": received.values, "present": received.present},
                name="local",
            )
        if self.config.weights == "uniform":
            return clients.prototypes()
        counts = {str(c): column.to(torch.int32) for c, column in enumerate(clients.label_counts.T)}
        return Bundle({"prototypes": clients.prototypes(), "counts": Scalars(counts)})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average class by class; a class that nobody sent keeps its prototype."""
        new = class_means(*self.uploaded(uploads))
        self.g = Prototypes(
            torch.where(new.present[..., None], new.values, self.g.values), new.present | self.g.present
        )
        return uploads.to_all(self.g)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The class of the nearest global prototype, by each client's features."""
        return nearest_prototype(clients, self.g)

    def deployed_net(self, client: nn.Module) -> nn.Module:
        """The classifier by nearest prototypes on the client's body."""
        return prototype_net(client)

    def unseen(self, clients: Cohort, received: Prototypes, rnd: Round) -> Deployed:
        """A newcomer trains near the newest prototypes, and deploys the nearest."""
        self.client_update(clients, received, rnd)
        return nearest_prototype(clients, self.g)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """Each client's own head."""
        return {"head": clients.deployed()}

    def state_dict(self) -> dict[str, Any]:
        """The global prototypes."""
        return {"values": self.g.values, "present": self.g.present}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.g = Prototypes(state["values"], state["present"])

    def uploaded(self, uploads: Uploads) -> tuple[Prototypes, Tensor | None]:
        """The clients' prototypes, and their samples per class, shape (clients, classes), where these count."""
        if self.config.weights == "uniform":
            return uploads.prototypes(), None
        counts = uploads.part("counts")
        columns = [counts.scalars(str(c)) for c in range(self.federation.classes)]
        return uploads.part("prototypes").prototypes(), torch.stack(columns, dim=1)
