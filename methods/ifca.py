"""IFCA: the server keeps K models, every client trains the one that has the smallest loss on its data.

A. Ghosh, J. Chung, D. Yin, K. Ramchandran, "An Efficient Framework for Clustered Federated Learning", NeurIPS 2020,
arXiv:2006.04088, Algorithm 1 (model averaging). One round, for sampled clients S:

    choose     k_i     = arg min_k CE(w_k; D_i)             all of D_i; the smallest k among equals
    train      theta_i = LOCAL(w_{k_i}; D_i)                E_loc epochs
    aggregate  w_k     = mean of theta_i over {i : k_i = k}  every client the same, or by size (`weights: size`)

A cluster that nobody chose keeps its model. With `share_body` (section 6 of the paper) the body is averaged over all
of S, and only heads belong to clusters.

Exchanged: theta_i and k_i (4 bytes) up; all K models down, which with `share_body` are one body and K heads. Before the
first round nothing travels: the K random initial models are common knowledge by the seed.
Two accuracies: `global` is w_{k_i} after aggregation, the model IFCA deploys; `+local` is theta_i. A client that never
took part yet has no k_i (its cluster is recorded as -1); it deploys the model with the smallest loss on its own
training data, as a newcomer would. The authors' evaluation chooses by the loss on *test* labels; here none is read.
Left open by the paper: K initial models that differ too little, or too unluckily, let all clients choose one model for
ever. The authors restart a run several times; here a run is one start, and the sizes of the clusters are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import np, torch

from ..federation.payloads import Bundle, Parameters, Scalars
from .averaging import weighted_mean
from .base import Facts, Method, Plan, Requires
from .cluster_models import cluster_means, serve
from .losses import cross_entropy
from .parts import is_body
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.evaluation import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round

NOWHERE = -1
"""Cluster of a client that never took part."""


@dataclass(frozen=True)
class IFCAConfig:
    """Settings of IFCA beside the run's local training."""

    clusters: int = 2
    """Models K of the server."""
    weights: Literal["uniform", "size"] = "uniform"
    """Members of a cluster count all the same (the authors) or by their private samples."""
    share_body: bool = False
    """Whether all clients average one body, and only the heads are K."""

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise ConfigError(f"ifca.clusters must be at least 1, got {self.clusters}")


@method("ifca")
class IFCA(Method[IFCAConfig]):
    """The server keeps K models; every client trains the one with the smallest loss on its data.

    Keeps `w`, the K models, name to (K, ...), and `chosen`, the cluster of every client, shape (clients,).
    """

    category = "clustered"
    paper = "Ghosh et al., NeurIPS 2020, arXiv:2006.04088"
    wire = "up #theta * b + 4, down K * #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters, Scalars})
    deployed_view = "global"

    def plan(self, facts: Facts) -> Plan:
        """A model and the number of a cluster up; K models down, or a body and K heads."""
        count = self.config.clusters
        models = facts.body_bytes + count * facts.head_bytes if self.config.share_body else count * facts.weights_bytes
        return Plan(up_bytes=facts.weights_bytes + 4, down_bytes=models)

    def setup(self, federation: Federation) -> None:
        """Draw the K initial models, the first of which is what all clients start from."""
        self.w = self.fresh_models()
        self.chosen = np.full(federation.clients, NOWHERE)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Bundle:
        """Choose a model by its loss on the private data and train it."""
        models = self.fresh_models() if received is None else self.unpacked(received)
        choice = clients.private_loss(models).argmin(dim=1)
        clients.load({name: tensor[choice] for name, tensor in models.items()})
        clients.fit(cross_entropy)
        return Bundle({"model": Parameters(clients.weights), "cluster": Scalars({"id": choice.to(torch.int32)})})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average within each cluster and send all K models to everybody."""
        trained = uploads.part("model")
        choice = uploads.part("cluster").scalars("id").cpu().numpy()
        self.chosen[list(uploads.ids)] = choice
        tree, counts = trained.parameters(), trained.sizes()
        counts = counts if self.config.weights == "size" else torch.ones_like(counts)
        self.w = cluster_means(self.w, tree, choice, counts)
        if self.config.share_body:
            self.w |= self.one_body(weighted_mean(tree, counts / counts.sum()))
        return uploads.to_all(self.packed())

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The aggregated model of each client's cluster."""
        chosen = self.chosen[list(clients.ids)]
        newcomers = np.flatnonzero(chosen == NOWHERE).tolist()
        if newcomers:
            chosen[newcomers] = clients.only(newcomers).private_loss(self.w).argmin(dim=1).cpu().numpy()
        return serve(clients, self.w, chosen)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def clusters(self) -> np.ndarray:
        """The cluster that each client chose when it last took part; -1 before."""
        return self.chosen

    def state_dict(self) -> dict[str, Any]:
        """The K models and who chose which."""
        return {"w": self.w, "chosen": self.chosen.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w, self.chosen = dict(state["w"]), np.array(state["chosen"])

    def fresh_models(self) -> Tree:
        """K models with initial weights of their own, but for the body where it is shared, name to (K, ...)."""
        (architecture,) = dict.fromkeys(self.federation.architectures)
        models = self.federation.fresh_weights(architecture, self.config.clusters)
        return {**models, **self.one_body(models)} if self.config.share_body else models

    def one_body(self, tree: Tree) -> Tree:
        """The body of the first of some models, seen K times."""
        return {
            name: tensor[:1].expand(self.config.clusters, *tensor.shape[1:])
            for name, tensor in tree.items()
            if is_body(name)
        }

    def packed(self) -> Parameters:
        """What every client is sent: name to (1, K, ...), or (1, 1, ...) for the tensors of a shared body."""
        once = self.config.share_body
        return Parameters(
            {name: (tensor[:1] if once and is_body(name) else tensor)[None] for name, tensor in self.w.items()}
        )

    def unpacked(self, received: Parameters) -> Tree:
        """The K models in a message, the same for all who got it, name to (K, ...)."""
        return {
            name: tensor[0].expand(self.config.clusters, *tensor.shape[2:]) for name, tensor in received.tree.items()
        }
