"""pFedGraph: every client gets an average of its own, over those whose updates point where its own does.

R. Ye, Z. Ni, F. Wu, S. Chen, Y. Wang, "Personalized Federated Learning with Inferred Collaboration Graphs", ICML 2023,
PMLR 202 (no arXiv version), Algorithm 1. theta_0 is the common initial model; one round, for sampled clients S:

    train      theta_i = LOCAL(theta_i; D_i) on CE + lambda * r(theta)      r from a client's second round on
    graph      a_i     = arg min over the simplex of sum_j a_j d_ij + alpha * sum_j (a_j - p_j)^2
                       = projection of p - d_i / (2 alpha) on the simplex
    aggregate  theta_i <- sum_j a_ij theta_j,     v_i = sum_j a_ij theta_j / ||theta_j||

with d_ij = -cos(theta_i - theta_0, theta_j - theta_0), set to -1 where the cosine is above 0.9, and p_j = n_j / n_S.
The authors' code solves the graph by a quadratic program; the projection is its closed form.

Exchanged: theta_i up; the aggregate and, unless the regulariser is off, v_i down. Similarity and v_i are over trained
parameters, similarity over all of them or the head's alone; BatchNorm statistics are averaged with the rest.
Two accuracies: `aggregated` is the new theta_i, which counts here; `+local` is theta_i after the local phase. The
authors report the better one by validation accuracy. A client that was never drawn has its initial model.

Disputed: the regulariser. The authors' code *adds* lambda * <v_i, theta> / ||theta||, which pushes theta away from the
models it was averaged with (`official_sign`), while the graph prefers similar models; read as attraction, which
the paper's text suggests, the sign is minus (`attract`, the default). `off` sends no v_i.
Left open by the paper: clients that do not take part; the graph is among the participants of a round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.lazy import torch
from fl_bench.spaces import Linear, Log, space

from ..federation.payloads import Bundle, Parameters
from ..federation.trees import chosen, flatten, minus
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, inner_product
from .parts import is_head
from .registry import method
from .similarity import cosines
from .simplex import project_on_simplex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.phase import Objective
    from ..federation.rounds import Federation, Round

ALIKE = 0.9
"""Updates with a cosine above it count as equal."""


@dataclass(frozen=True)
class PFedGraphConfig:
    """Settings of pFedGraph beside the run's local training. The numbers are the authors'."""

    alpha: float = field(default=0.8, metadata=space(Linear(0.1, 1.0, least=0, most=1)))
    """Pull of the graph towards shares by size; with a very large one it is FedAvg."""
    regulariser_weight: float = field(default=0.01, metadata=space(Log(1e-3, 1.0)))
    """lambda."""
    regulariser: Literal["attract", "official_sign", "off"] = "attract"
    """Towards the models a client was averaged with, away from them as the authors' code has it, or none."""
    similarity: Literal["all", "head"] = "all"
    """Whether the graph compares all parameters or the head's."""

    def __post_init__(self) -> None:
        positive("pfedgraph", alpha=self.alpha)
        not_negative("pfedgraph", regulariser_weight=self.regulariser_weight)


@method("pfedgraph")
class PFedGraph(Method[PFedGraphConfig]):
    """Every client gets an average of its own, over those whose updates point where its own does.

    Keeps `models`, what every client was last sent, name to (clients, ...), for evaluation. `graph` is that of the
    last round, shape (participants, participants), rows summing to 1.
    """

    category = "clustered"
    paper = "Ye et al., ICML 2023"
    wire = "up #theta * b + b, down 2 * #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "aggregated"
    deploys = "the model that the client was last sent; the initial one before that"

    def plan(self, facts: Facts) -> Plan:
        """A model up; a model and the regulariser's vector over its parameters down."""
        vector = 0 if self.config.regulariser == "off" else facts.net.trainable
        return Plan(up_bytes=facts.weights_bytes + facts.number_bytes, down_bytes=facts.weights_bytes + vector)

    def setup(self, federation: Federation) -> None:
        """Remember the common initial model theta_0."""
        ((architecture, self.start),) = federation.start.items()
        self.trained = federation.holding(architecture, self.start).parameters.keys()
        self.models: Tree = {
            name: tensor.expand(federation.clients, *tensor.shape[1:]).clone() for name, tensor in self.start.items()
        }

    def client_update(self, clients: Cohort, received: Bundle | None, rnd: Round) -> Parameters:
        """Train from the client's own average, near to those it was averaged with."""
        objective: Objective = cross_entropy
        per_client = {}
        if received is not None:
            clients.load(weights_in(received, "model"))
            if self.config.regulariser != "off":
                sign = -1 if self.config.regulariser == "attract" else 1
                objective = with_neighbours(sign * self.config.regulariser_weight)
                per_client["neighbours"] = weights_in(received, "neighbours")
        clients.fit(objective, per_client=per_client, name="local")
        return Parameters(clients.weights, sizes=clients.sizes)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Infer who should work with whom, and average for each client."""
        tree, sizes = uploads.parameters(), uploads.sizes()
        self.graph = collaboration_graph(self.updates(tree), sizes / sizes.sum(), self.config.alpha)
        model = mixed(self.graph, tree)
        for name, tensor in model.items():
            self.models[name][list(uploads.ids)] = tensor
        parts = {"model": Parameters(model)}
        if self.config.regulariser != "off":
            weights = {name: tree[name] for name in self.trained}
            norms = flatten(weights).norm(dim=1).clamp_min(1e-12)
            parts["neighbours"] = Parameters(mixed(self.graph / norms, weights))
        return uploads.to_participants(Bundle(parts))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """What each client was last sent."""
        return clients.with_weights(self.models)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """Means over the graph's rows: the weight of a client for itself, and the entropy in nats."""
        entropy = torch.special.entr(self.graph).sum(dim=1).mean()
        own, spread = torch.stack([self.graph.diagonal().mean(), entropy]).tolist()
        return {"graph_self_weight": own, "graph_entropy": spread}

    def state_dict(self) -> dict[str, Any]:
        """What every client was last sent."""
        return {"models": self.models}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.models = dict(state["models"])

    def updates(self, tree: Tree) -> Tensor:
        """theta_i - theta_0 of the parameters that are compared, side by side, shape (participants, numbers)."""
        compared = chosen({name: tree[name] for name in self.trained}, self.is_compared)
        return flatten(minus(compared, self.start))

    def is_compared(self, name: str) -> bool:
        """Whether the graph looks at a parameter."""
        return self.config.similarity == "all" or is_head(name)


def collaboration_graph(updates: Tensor, shares: Tensor, alpha: float) -> Tensor:
    """Who counts how much for whom: a_i = projection of p - d_i / (2 alpha) on the simplex.

    Args:
        updates: theta_i - theta_0, shape (n, numbers).
        shares: p, shape (n,), summing to 1.
        alpha: pull towards p, above 0.

    Returns:
        Shape (n, n), rows not negative and summing to 1.
    """
    similar = cosines(updates)
    similar = similar.masked_fill(similar > ALIKE, 1.0).fill_diagonal_(1.0)
    return project_on_simplex(shares + similar / (2 * alpha))


def mixed(graph: Tensor, tree: Tree) -> Tree:
    """sum_j graph_ij * tree_j of every tensor; integer buffers stay each client's own."""
    return {
        name: torch.tensordot(graph.to(tensor), tensor, dims=1) if tensor.is_floating_point() else tensor
        for name, tensor in tree.items()
    }


def weights_in(received: Bundle, part: str) -> Tree:
    """The weights in one part of a message."""
    payload = received.parts[part]
    assert isinstance(payload, Parameters)
    return payload.tree


def with_neighbours(weight: float) -> Objective:
    """CE + weight * <v, theta> / ||theta||; a negative weight attracts theta to v."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        neighbours = batch.extra["neighbours"]
        named = dict(model.named_parameters())
        norm = torch.stack([named[name].square().sum() for name in neighbours]).sum().sqrt()
        return cross_entropy(model, batch) + weight * inner_product(model, neighbours) / norm

    return objective
