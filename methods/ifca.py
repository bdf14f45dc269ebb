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
training data. The authors' evaluation chooses by the loss on *test* labels; here none is read.
Left open by the paper: K initial models that differ too little, or too unluckily, let all clients choose one model for
ever; the sizes of the clusters are reported. The authors restart a run several times. So does `starts`: r starts, each
with K initial models and streams of its own, run side by side, and the one serves in which the clients of the round
have the smallest mean of min_k CE(w_k; D_i), the loss that they choose by, at the round's beginning. All of it is paid
for: r times the local steps, r models up with their cluster and loss, r * K down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.lazy import np, torch
from fl_bench.spaces import Integers, space

from ..federation.payloads import Bundle, Parameters, Scalars
from .averaging import size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires
from .cluster_models import cluster_means, serve
from .losses import cross_entropy
from .parts import is_body
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Payload, Tree
    from ..federation.rounds import Federation, Round

NOWHERE = -1
"""Cluster of a client that never took part."""


@dataclass(frozen=True)
class IFCAConfig:
    """Settings of IFCA beside the run's local training."""

    clusters: int = field(default=2, metadata=space(Integers(2, 10)))
    """Models K of the server."""
    weights: Literal["uniform", "size"] = "uniform"
    """Members of a cluster count all the same (the authors) or by their private samples."""
    share_body: bool = False
    """Whether all clients average one body, and only the heads are K."""
    starts: int = field(default=1, metadata=LATER)
    """Starts r that run side by side, at r times the cost; the one with the smallest training loss serves."""

    def __post_init__(self) -> None:
        for name in ("clusters", "starts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"ifca.{name} must be at least 1, got {getattr(self, name)}")


@method("ifca")
class IFCA(Method[IFCAConfig]):
    """The server keeps K models; every client trains the one with the smallest loss on its data.

    Keeps `w`, the K models of every start, name to (r, K, ...); `chosen`, the cluster of every client in each start,
    shape (r, clients); and `serving`, the start that is deployed. Where there are several, a client keeps what it
    trained in each.
    """

    category = "clustered"
    paper = "Ghosh et al., NeurIPS 2020, arXiv:2006.04088"
    wire = "up #theta * b + 4, down K * #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters, Scalars})
    tolerates_absence = True
    deployed_view = "global"
    deploys = "the newest model of the client's cluster; for newcomers the one with the smallest loss on their data"

    def plan(self, facts: Facts) -> Plan:
        """A model and the number of a cluster up, with its loss where starts compete; K models down, or K heads."""
        count, starts = self.config.clusters, self.config.starts
        models = facts.body_bytes + count * facts.head_bytes if self.config.share_body else count * facts.weights_bytes
        loss = facts.number_bytes if starts > 1 else 0
        up = starts * (facts.weights_bytes + 4 + loss) + size_bytes(facts, self.config.weights)
        return Plan(up_bytes=up, down_bytes=starts * models, work=(PlannedPhase("local", facts.local_epochs),) * starts)

    def setup(self, federation: Federation) -> None:
        """Draw the initial models, the first of which is what all clients start from."""
        self.w = self.fresh_models()
        self.chosen = np.full((self.config.starts, federation.clients), NOWHERE)
        self.serving = 0

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Bundle:
        """Choose a model by its loss on the private data and train it; in every start."""
        models = self.fresh_models() if received is None else self.unpacked(received.tree)
        flat = {name: tensor.flatten(0, 1) for name, tensor in models.items()}
        losses = clients.private_loss(flat).view(len(clients), self.config.starts, self.config.clusters)
        sent: dict[str, Payload] = {}
        for start in range(self.config.starts):
            choice = losses[:, start].argmin(dim=1)
            clients.load({name: tensor[start, choice] for name, tensor in models.items()})
            clients.fit(cross_entropy, stream=f"local, start {start}" if start else None)
            said = {"id": choice.to(torch.int32)}
            if self.config.starts > 1:
                clients.keep(f"start {start}", clients.weights)
                said["loss"] = losses[:, start].amin(dim=1)
            sent |= {f"model {start}": Parameters(clients.weights), f"cluster {start}": Scalars(said)}
        return Bundle(sent, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average within each cluster, in every start; see which start serves; send all models to everybody."""
        counts = uploads.sizes() if self.config.weights == "size" else uploads.ones()
        averaged, losses = [], []
        for start in range(self.config.starts):
            theta, said = uploads.part(f"model {start}").parameters(), uploads.part(f"cluster {start}")
            choice = said.scalars("id").cpu().numpy()
            self.chosen[start, list(uploads.ids)] = choice
            averaged.append(self.averaged(self.models_of(start), theta, choice, counts))
            if self.config.starts > 1:
                losses.append((counts / counts.sum() * said.scalars("loss")).sum())
        self.w = {name: torch.stack([models[name] for models in averaged]) for name in self.w}
        self.serving = int(torch.stack(losses).argmin()) if losses else 0
        return uploads.to_all(Parameters(self.packed(self.w)))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The aggregated model of each client's cluster, in the start that serves."""
        models, chosen = self.models_of(self.serving), self.clusters()[list(clients.ids)]
        newcomers = np.flatnonzero(chosen == NOWHERE).tolist()
        if newcomers:
            chosen[newcomers] = clients.only(newcomers).private_loss(models).argmin(dim=1).cpu().numpy()
        return serve(clients, models, chosen)

    def unseen(self, clients: Cohort, received: Parameters, rnd: Round) -> Deployed:
        """A newcomer trains the model with the smallest loss on its data, in the start that serves."""
        self.client_update(clients, received, rnd)
        return clients.with_weights(self.trained(clients))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase, in the start that serves."""
        if self.config.starts == 1:
            return {"+local": clients.deployed()}
        held = self.trained(clients)
        never = np.flatnonzero(self.clusters()[list(clients.ids)] == NOWHERE).tolist()
        for name, initial in clients.weights.items():
            held[name][never] = initial[never]
        return {"+local": clients.with_weights(held)}

    def trained(self, clients: Cohort) -> Tree:
        """A copy of what clients trained last in the start that serves, name to (members, ...), if they ever did."""
        kept = clients.kept(f"start {self.serving}")
        return clients.weights if kept is None else kept

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """Which start serves, where there are several."""
        return {"start": self.serving} if self.config.starts > 1 else {}

    def clusters(self) -> np.ndarray:
        """The cluster that each client chose when it last took part, in the start that serves; -1 before."""
        clusters: np.ndarray = self.chosen[self.serving]
        return clusters

    def state_dict(self) -> dict[str, Any]:
        """The models, who chose which, and the start that serves."""
        return {"w": self.w, "chosen": self.chosen.tolist(), "serving": self.serving}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.w, self.chosen, self.serving = dict(state["w"]), np.array(state["chosen"]), state["serving"]

    def fresh_models(self) -> Tree:
        """The initial models of every start, with one body in each where it is shared, name to (r, K, ...)."""
        starts, count = self.config.starts, self.config.clusters
        (architecture,) = dict.fromkeys(self.federation.architectures)
        drawn = self.federation.fresh_weights(architecture, starts * count)
        models = {name: tensor.view(starts, count, *tensor.shape[1:]) for name, tensor in drawn.items()}
        return self.unpacked(self.packed(models))

    def models_of(self, start: int) -> Tree:
        """The K models of a start, name to (K, ...)."""
        return {name: tensor[start] for name, tensor in self.w.items()}

    def averaged(self, models: Tree, theta: Tree, choice: np.ndarray, counts: Tensor) -> Tree:
        """w_k of one start, name to (K, ...): the mean over who chose k; of a shared body, the mean over all.

        Args:
            models: w_k so far, name to (K, ...).
            theta: what the participants trained, name to (participants, ...).
            choice: k_i, shape (participants,).
            counts: what each participant counts, shape (participants,).
        """
        w = cluster_means(models, theta, choice, counts)
        if not self.config.share_body:
            return w
        common = weighted_mean(theta, counts / counts.sum())
        return {name: common[name].expand_as(tensor) if is_body(name) else tensor for name, tensor in w.items()}

    def packed(self, models: Tree) -> Tree:
        """Models as they travel, name to (1, r, K, ...); a body that is shared once, name to (1, r, 1, ...)."""
        once = {name: tensor[:, :1] for name, tensor in models.items() if self.config.share_body and is_body(name)}
        return {name: tensor[None] for name, tensor in {**models, **once}.items()}

    def unpacked(self, tree: Tree) -> Tree:
        """The models in a message, the same for all who got it, name to (r, K, ...)."""
        return {name: row[0].expand(-1, self.config.clusters, *row.shape[3:]) for name, row in tree.items()}
