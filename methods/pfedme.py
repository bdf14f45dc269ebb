"""pFedMe: personal models are proximal points of the server's model, which follows their Moreau envelopes.

C. T. Dinh, N. H. Tran, T. D. Nguyen, "Personalized Federated Learning with Moreau Envelopes", NeurIPS 2020,
arXiv:2006.08848, Algorithm 1. One round, for sampled clients S that received w:

    start      theta_i = w_i = w
    for each batch of E_loc epochs over D_i:
      inner    theta_i <- theta_i - personal_lr * (g(theta_i; batch) + lam * (theta_i - w_i) + decay * theta_i)  K times
      outer    w_i     <- w_i - lr * lam * (w_i - theta_i)           the gradient of the envelope
    aggregate  w       <- (1 - beta) * w + beta * mean_{i in S} w_i    by size, or every client the same

theta_i goes on from batch to batch. The steps are plain SGD with rates of the method's own, whatever the run's
optimizer. K inner steps on a batch cost K gradients where other methods take one: `steps_inner` counts them, and
`steps_local` counts them and the outer steps.
Exchanged: w_i with BatchNorm buffers, #theta * 4 bytes each way. w_i itself never sees data; the statistics that
travel with it are those of theta_i.
Deployed: theta_i (`personal`), of clients that are not drawn as well: as in the authors' code, which trains and scores
all of them, they solve for theta_i from the w that the round's clients received, here on a copy that is scored and
forgotten (`steps_aside`). Also reported: w (`global`).
Left open by the paper: how well theta_i solves its problem; K steps from where the last batch left it, as in the
authors' code.
Departures: as many batches a round as local training of any other method takes, where the authors take 20. The authors'
lam is 15 and their lr
0.005, for 800 rounds: w_i goes 7.5 % of the way to a theta_i that is close by. In the ten or twenty rounds of a
comparison that teaches nothing (20 % on digits), so that lam is 1 and lr 0.5 here; K, personal_lr, beta and decay are
the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.spaces import Integers, Log, space

from ..federation.optimizers import Optimizer
from ..federation.payloads import Parameters
from ..federation.phase import Step
from ..federation.trees import minus, plus, subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, squared_distance
from .planning import PlannedPhase
from .registry import method
from .server_steps import start_of, trained_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round
    from ..federation.settings import Training


@dataclass(frozen=True)
class PFedMeConfig:
    """Settings of pFedMe beside the run's local epochs and batch size."""

    lam: float = field(default=1.0, metadata=space(Log(0.1, 100.0)))
    """lambda, strength of the spring between theta_i and w_i."""
    inner_steps: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Steps of theta_i on each batch, K."""
    personal_lr: float = field(default=0.09, metadata=space(Log(1e-3, 1.0)))
    """Learning rate of the inner steps."""
    lr: float = field(default=0.5, metadata=space(Log(0.01, 1.0)))
    """Learning rate eta of the outer steps: w_i goes the share lr * lam of the way to theta_i."""
    beta: float = 1.0
    """Step of the server towards the average of the clients."""
    decay: float = 0.001
    """Weight decay of the inner steps."""
    weights: Literal["size", "uniform"] = "size"
    """Clients count by their private samples (the authors' code) or all the same."""

    def __post_init__(self) -> None:
        positive("pfedme", inner_steps=self.inner_steps, personal_lr=self.personal_lr, lr=self.lr, beta=self.beta)
        not_negative("pfedme", lam=self.lam, decay=self.decay)


@method("pfedme")
class PFedMe(Method[PFedMeConfig]):
    """Personal models are proximal points of the server's model, which follows their Moreau envelopes.

    A client holds w_i ("shared") and theta_i ("personal"); the server keeps w, and `received`, the w of the round's
    beginning. Clients that are not drawn deploy a theta_i that they solve for from that, on a copy.
    """

    protocol = 3  # 2: the outer step is never clipped; 3: clients that are not drawn deploy a theta_i of the round's w
    category = "personalized"
    paper = "Dinh et al., NeurIPS 2020, arXiv:2006.08848"
    wire = "up #theta * b + b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "personal"
    deploys = "theta_i, solved for from the w of the round by every client; on a copy by those who are not drawn"

    def plan(self, facts: Facts) -> Plan:
        """One of the two nets each way; K inner steps and an outer one on every batch."""
        return Plan(
            up_bytes=facts.weights_bytes + size_bytes(facts, self.config.weights),
            down_bytes=facts.weights_bytes,
            work=(
                PlannedPhase("local", facts.local_epochs, repeat=self.config.inner_steps),
                PlannedPhase("local", facts.local_epochs, passes=0),  # outer steps look at no data
                PlannedPhase("aside", facts.local_epochs, repeat=self.config.inner_steps, turn="absent"),
                PlannedPhase("aside", facts.local_epochs, passes=0, turn="absent"),
            ),
        )

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        """Plain SGD for theta_i and for w_i, whatever the run's optimizer."""
        inner = Optimizer("sgd", self.config.personal_lr, weight_decay=self.config.decay)
        return {"personal_lr": inner, "lr": Optimizer("sgd", self.config.lr)}

    def build_client(self, base: nn.Module) -> nn.Module:
        """The zoo's net twice."""
        from .two_models import TwoModels

        return TwoModels(base)

    def setup(self, federation: Federation) -> None:
        """Nothing yet: w is the common start until the first uploads."""
        self.w: Tree = {}
        self.trained = trained_names(federation)
        self.received: Tree = {}
        self.present: set[int] = set()

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Solve for theta_i and step w_i, batch by batch."""
        steps = self.solve(clients, None if received is None else received.tree)
        inner = [count * self.config.inner_steps // (self.config.inner_steps + 1) for count in steps]
        clients.note("steps_inner", inner, "sum")  # gradients of private data
        theta, w_i = subtree(clients.weights, "personal"), subtree(clients.parameters, "shared")
        whole = {**theta, **w_i}  # of theta only what w_i has not: the statistics
        return Parameters(whole, sizes=told_sizes(clients, self.config.weights))

    def solve(self, clients: Cohort, received: Tree | None) -> tuple[int, ...]:
        """Solve for theta_i and step w_i, from a w or from the one that clients have; returns the steps of each."""
        from .two_models import is_personal, is_shared

        if received is not None:
            clients.load(under("shared", received))
        clients.load(under("personal", subtree(clients.weights, "shared")))
        rules = self.local_optimizers(clients.training)
        inner = Step(self.inner_loss, is_personal, rules["personal_lr"], repeat=self.config.inner_steps)
        outer = Step(self.envelope, is_shared, rules["lr"], clip=None)  # no gradient of private data
        return clients.fit([inner, outer]).steps

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Step the server's model towards the average and send it to all."""
        mean = weighted_mean(uploads.parameters(), shares(uploads, self.config.weights))
        self.received = w = self.w or subtree(start_of(self.federation), "shared")
        self.present = set(uploads.ids)
        stepped = plus(w, minus(mean, w), self.config.beta)
        self.w = {name: stepped[name] if f"shared.{name}" in self.trained else value for name, value in mean.items()}
        return uploads.to_all(Parameters(self.w))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's personal model; of those who were not drawn, one that they solve for aside."""
        absent = [place for place, client in enumerate(clients.ids) if client not in self.present]
        if absent:
            clients = clients.copy()
            self.solve(clients.only(absent), self.received)
        return clients.deployed(part="personal")

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's model."""
        return {"global": clients.with_weights(self.w, part="shared")}

    def state_dict(self) -> dict[str, Any]:
        """The server's model."""
        return {"w": self.w}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w = dict(state["w"])

    def inner_loss(self, model: Any, batch: Batch) -> Tensor:
        """Cross-entropy of theta + lam/2 * ||theta - w_i||^2, squares summed, with w_i held."""
        w_i = {name: tensor.detach() for name, tensor in model.shared.named_parameters()}
        return cross_entropy(model.personal, batch) + self.config.lam / 2 * squared_distance(model.personal, w_i)

    def envelope(self, model: Any, batch: Batch) -> Tensor:
        """lam/2 * ||w_i - theta||^2 with theta held: its gradient is that of the Moreau envelope at w_i."""
        theta = {name: tensor.detach() for name, tensor in model.personal.named_parameters()}
        return self.config.lam / 2 * squared_distance(model.shared, theta)
