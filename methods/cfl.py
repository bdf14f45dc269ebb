"""CFL: FedAvg until the clients' updates point apart, then a split of their cluster in two, again and again.

F. Sattler, K.-R. Müller, W. Samek, "Clustered Federated Learning: Model-Agnostic Distributed Multi-Task Optimization
Under Privacy Constraints", IEEE TNNLS 32(8), 2021, arXiv:1910.01991, Algorithm 2. One round t, for every cluster S with
model w_S (one cluster of all clients at first):

    train      theta_i = LOCAL(w_S; D_i),  dW_i = theta_i - w_S
    split      S = S_1 + S_2   if |S| > 2, t > `start_round` and the criterion holds:
                               complete linkage of -cos(dW_i, dW_j), cut into two
    aggregate  w_S = w_S + mean_{i in S} dW_i = mean_{i in S} theta_i       after the splits; every client the same

Criterion `paper`: ||mean_S dW_i|| < epsilon1 and max_S ||dW_i|| > epsilon2, near a stationary point of the cluster, but
not of its members. The epsilons depend on net, learning rate and local epochs and have to be tuned.
Criterion `auto`, *ours and not in the paper*, has no scale: ||mean_S dW_i|| / max_S ||dW_i|| < `ratio` in two rounds
running. With few rounds `start_round` must be small: 2 here, 20 of 80 in the authors' code.

Exchanged: as FedAvg, #theta * b bytes each way; clients send theta_i, from which the server, who knows w_S, has dW_i.
dW is over trained parameters; BatchNorm statistics are averaged with the rest.
Two accuracies: `global` is the cluster's model, which CFL deploys; `+local` is theta_i.
Left open by the paper: clients that do not take part. A split needs more than two participants and divides them; other
members stay with the first half, which has the smallest participant and keeps the cluster's id. A cluster without
participants keeps its model. Clusters never merge.
Departure: the authors decay the learning rate by 0.99 per round; here it is the run's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import np, torch
from fl_bench.spaces import Linear, space

from ..federation.payloads import Parameters
from ..federation.trees import flatten, minus
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .cluster_models import cluster_means, serve
from .clustering import agglomerative, identity_order
from .losses import cross_entropy
from .registry import method
from .similarity import cosines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round

PATIENCE = 2
"""Rounds in a row in which `auto` must hold."""


@dataclass(frozen=True)
class CFLConfig:
    """Settings of CFL beside the run's local training."""

    criterion: Literal["auto", "paper"] = "auto"
    """When a cluster splits: by `ratio`, without scale, or by the paper's two thresholds."""
    ratio: float = field(default=0.35, metadata=space(Linear(0.1, 0.9, least=0, most=1)))
    """Of `auto`: norm of the mean update over the largest norm below which updates cancel out. The default finds two
    planted groups within ten rounds (validation seeds); 0.25 waits for a calmer cluster, 0.4 goes on splitting."""
    epsilon1: float = 0.4
    """Of `paper`: norm of the cluster's mean update below which the cluster stands still."""
    epsilon2: float = 1.6
    """Of `paper`: norm of a client's update above which that client does not."""
    start_round: int = 2
    """Last round t, from 0, without splits."""

    def __post_init__(self) -> None:
        not_negative("cfl", epsilon1=self.epsilon1, epsilon2=self.epsilon2)
        positive("cfl", ratio=self.ratio)
        if self.start_round < -1:
            raise ConfigError(f"cfl.start_round must be at least -1, which allows all rounds, got {self.start_round}")


@method("cfl")
class CFL(Method[CFLConfig]):
    """FedAvg until the clients' updates point apart, then a split of their cluster in two, again and again.

    Keeps `w`, a model per cluster, name to (clusters, ...); `member`, the cluster of every client, shape (clients,);
    `calm`, for how many rounds running `auto` held in each cluster; and `splits`, the tree: (round, parent, child).
    """

    category = "clustered"
    paper = "Sattler et al., IEEE TNNLS 2021, arXiv:1910.01991"
    wire = "up #theta * b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deployed_view = "global"
    deploys = "the newest model of the client's cluster; of the first until a split takes the client elsewhere"

    def plan(self, facts: Facts) -> Plan:
        """#theta * b each way."""
        return Plan(up_bytes=facts.weights_bytes, down_bytes=facts.weights_bytes)

    def setup(self, federation: Federation) -> None:
        """Put all clients into one cluster with the common initial model."""
        ((architecture, start),) = federation.start.items()
        self.trained = list(federation.holding(architecture, start).parameters)
        self.w: Tree = start
        self.member = np.zeros(federation.clients, dtype=np.int64)
        self.calm = [0]
        self.splits: list[tuple[int, int, int]] = []

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Train from the cluster's model; before the first message all clients hold the common initial weights."""
        if received is not None:
            clients.load(received.tree)
        clients.fit(cross_entropy)
        return Parameters(clients.weights)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Split clusters whose members pull apart, average within each cluster, send everyone its cluster's model."""
        ids, tree = np.array(uploads.ids), uploads.parameters()
        updates = self.updates(tree, self.member[ids])
        by_identity = identity_order(self.federation, uploads.ids)
        self.norms: list[tuple[float, float]] = []
        for cluster in range(len(self.calm)):
            here = by_identity[self.member[ids[by_identity]] == cluster]
            if not len(here):
                continue
            apart = self.pulls_apart(cluster, updates[here])
            if apart and len(here) > 2 and rnd.index > self.config.start_round:
                halves = agglomerative(1 - cosines(updates[here]), 2)
                self.split(cluster, ids[here[halves == 1]], rnd)
        self.w = cluster_means(self.w, tree, self.member[ids], uploads.ones())
        return uploads.to_each(Parameters(self.w), self.member.tolist())

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The aggregated model of each client's cluster."""
        return serve(clients, self.w, self.member[list(clients.ids)])

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains the model of the cluster with the smallest loss on its data."""
        choice = clients.private_loss(self.w).argmin(dim=1)
        clients.load({name: tensor[choice] for name, tensor in self.w.items()})
        clients.fit(cross_entropy)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def clusters(self) -> np.ndarray:
        """The cluster of every client; all start in cluster 0."""
        return self.member

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """What the criteria look at: norms of mean and largest update in the cluster that is nearest to a split."""
        mean, largest = min(self.norms, key=lambda norms: norms[0] / max(norms[1], 1e-30))
        return {"update_norm_mean": mean, "update_norm_max": largest}

    def state_dict(self) -> dict[str, Any]:
        """The models, the partition, and how it came about."""
        return {
            "w": self.w,
            "member": self.member.tolist(),
            "calm": self.calm,
            "splits": [list(s) for s in self.splits],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w, self.member, self.calm = dict(state["w"]), np.array(state["member"]), list(state["calm"])
        self.splits = [tuple(split) for split in state["splits"]]

    def updates(self, tree: Tree, clusters: np.ndarray) -> Tensor:
        """dW_i = theta_i - w of the client's cluster, trained parameters only, shape (participants, numbers)."""
        start = {name: self.w[name][clusters] for name in self.trained}
        return flatten(minus({name: tree[name] for name in self.trained}, start))

    def pulls_apart(self, cluster: int, updates: Tensor) -> bool:
        """Whether the criterion holds for a cluster's participants, with what `auto` remembers of earlier rounds."""
        mean, largest = map(float, torch.stack([updates.mean(dim=0).norm(), updates.norm(dim=1).max()]))
        self.norms.append((mean, largest))
        if self.config.criterion == "paper":
            return mean < self.config.epsilon1 and largest > self.config.epsilon2
        self.calm[cluster] = self.calm[cluster] + 1 if mean < self.config.ratio * largest else 0
        return self.calm[cluster] >= PATIENCE

    def split(self, cluster: int, leaving: np.ndarray, rnd: Round) -> None:
        """Move clients to a new cluster."""
        child = len(self.calm)
        self.member[leaving] = child
        self.calm[cluster] = 0
        self.calm.append(0)
        self.splits.append((rnd.index, cluster, child))
