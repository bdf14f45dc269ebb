"""COSMOS: clustered server models teach clients, and only pseudo-labels travel.

Rachmut, Ge, Yeoh, Zhang and Vorobeychik, "COSMOS: Model-Agnostic Personalized Federated Learning with Clustered
Server Models and Pseudo-Label-Only Communication", arXiv:2605.11165. Round t, for clients i and clusters k:

    distill    f_i  <- descend KL(sharpen(Q_c(i)) || softmax f_i) + lambda L_cons on U    E_dis epochs, t > 0
    train      f_i  <- descend cross-entropy on D_i                                       LOCAL, E_loc epochs
    predict    P_i   = softmax f_i(U)                                                     sent, N * C * 4 bytes
    cluster    c(.)  = CLUSTER({P_i})                                                     once, or every r rounds
    aggregate  A_k   = AGGREGATE({P_i : c(i) = k})
    teach      s_k  <- descend KL(sharpen(A_k) || softmax s_k) + lambda L_cons on U       E_srv epochs, goes on
    feed back  Q_k   = softmax s_k(U)                                                     sent, N * C * 4 bytes

Local training comes after distillation, so the deployed client model has seen its private labels last. The last
round's feedback is never consumed and never charged. That is `order: distill_first`, the authors' code. With
`distill_last`, their text, the round begins with `train`, and `distill` follows `feed back` in an exchange of its own,
of those who take part, also in the first round; all feedback is consumed, and charged.
Reported apart, and never mixed: `client` (what a client deploys), `after_distill` (what it would deploy right after
distillation: in `distill_first` its model before local training, so in its first round the initial one; in
`distill_last` the same as `client`), `server_assigned` (its cluster's model) and `server_oracle` (for each client the
cluster model that is best on its *test* data; the paper's curves).
Who takes no part keeps its model, cluster and last P_i. With partial participation the server clusters those who have
reported, again whenever they have doubled and once all have; meanwhile a client that reports for the first time joins
the cluster whose members' mean prediction is nearest. Who has never reported has no cluster and is
sent nothing, but where all are sent the same (`max_conf_global` in `distill_first`).
Departures: public labels are sealed, so label weighting is off (`weighting`); the consistency loss has a gradient
(`consistency_grad`); the threshold search is exact (`epsilon_step`); what is ours is marked so in `settings`. Noise is
added to pixels (`noise`) and replaces tokens of texts, and each head of the multi-head server has two hidden layers of
512 and 256 units. A client that is told what it predicts anyway, alone in its cluster and without a server model, does
not distil: its gradient is rounding, of which Adam would make whole steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fl_bench.errors import Unsupported
from fl_bench.lazy import np, torch

from ..federation.batches import Teaching
from ..federation.payloads import Scores
from ..federation.rounds import Turn
from ..methods.aggregation import aggregate, max_conf_global, sharpen
from ..methods.averaging import size_bytes, told_sizes
from ..methods.base import Facts, Method, Plan, Requires
from ..methods.clustering import agglomerative, kmeans, single
from ..methods.losses import cross_entropy
from ..methods.registry import method
from .clients import distilled, keep_distilled, told_otherwise, train
from .clustering import (
    farthest,
    greedy_eps,
    greedy_k,
    greedy_step,
    match_clusters,
    oracle,
    random_like,
    singleton,
)
from .diagnostics import change, divergence
from .distances import pairwise, to_centroids
from .emergence import threshold
from .feedback import addressed, soft_mix
from .guard import train_servers
from .objectives import ConsistentDistillation
from .planning import meaning, phases
from .servers import ClusterModels, SeparateModels, ServerPhase, SharedBackbone
from .settings import CosmosConfig
from .weighting import label_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@method("cosmos")
class Cosmos(Method[CosmosConfig]):
    """Clustered server models teach clients, and only pseudo-labels travel.

    The server keeps the last predictions of every client (`own_past`: the last two), the clusters, the cluster models
    and (k-means) centroids; clients keep nothing but their model, unless views are scored (their weights after
    distillation) or `distill_only` asks whether they have trained.
    """

    category = "clustered"
    paper = "Rachmut et al., 2026, arXiv:2605.11165"
    wire = "up N * C * b, down N * C * b"
    requires = Requires(public_data=True)
    protocol = 2  # whoever has reported is clustered, and servers learn at the clients' rate
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def needs(self) -> Requires:
        """Public data; true groups and public labels only where a setting is an oracle."""
        return replace(
            self.requires,
            groups=self.config.opens_groups,
            public_labels=self.config.weighting in ("oracle", "oracle_raw"),
        )

    def plan(self, facts: Facts) -> Plan:
        """N * C * 4 bytes each way (methods.md 2.8)."""
        config = self.config
        return Plan(
            up_bytes=facts.scores_bytes + size_bytes(facts, config.member_weights),
            down_bytes=facts.scores_bytes,
            first_down_bytes=facts.scores_bytes if config.order == "distill_last" else 0,
            bound=config.feedback == "own_past",  # who has not sent twice is sent nothing
            work=phases(config, facts),
            steps=meaning(config, everyone=facts.participants in (0, facts.clients)),
        )

    def setup(self, federation: Federation) -> None:
        """Start without clusters and without server models.

        Raises:
            Unsupported: texts have no noise as the authors' code adds it.
        """
        if federation.modality == "text" and self.config.noise == "research":
            raise Unsupported(
                "noise=research adds noise to normalised pixels, and tokens of a text are names; noise=pixel replaces "
                "some of them"
            )
        self.assignment = single(federation.clients)
        self.clustered = 0  # clients that the clusters were last made of
        self.predictions: Tensor | None = None
        self.reported = np.zeros(federation.clients, dtype=bool)
        self.sizes = torch.zeros(federation.clients, dtype=federation.dtype, device=federation.device)
        self.centroids: Tensor | None = None
        self.servers: ClusterModels | None = None
        self.threshold: float | None = None
        self.earlier: Tensor | None = None
        self.twice = np.zeros(federation.clients, dtype=bool)
        self.noted: dict[str, float | int | None] = {}

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]:
        """One exchange, or two where clients distil from the server's answer in the same round."""
        if self.config.order == "distill_first":
            return (Turn(participants),)
        return (Turn(participants, "train"), Turn(participants, "distill"))

    # Client side

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores | None:
        """Distil from the feedback, train on private data, predict the public pool; in a second turn, only distil."""
        public = rnd.public.inputs()
        if received is not None and self.config.distill_epochs:
            self.distill(clients, received, public, rnd)
        if rnd.turn:
            return None
        if self.config.order == "distill_first" and self.federation.training.views == "all":
            keep_distilled(clients)
        train(clients, self.config, self.federation)
        return Scores(clients.predict(public), sizes=told_sizes(clients, self.config.member_weights))

    def distill(self, clients: Cohort, feedback: Scores, public: Tensor, rnd: Round) -> None:
        """Train towards the feedback, with the consistency term (methods.md 2.2)."""
        mode, temperature = self.config.weighting, self.config.temperature
        labels = rnd.public.labels.open(f"{self.name}, weighting={mode}") if mode.startswith("oracle") else None
        objective = self.objective(self.config.client_weight)
        learners, told = clients, feedback.values
        if self.config.feedback == "no_model" and temperature == 1 and objective.weight == 0:
            rows = told_otherwise(clients, told, public)
            learners, told = clients.only(rows), told[rows]
        if len(learners):
            learners.fit(
                objective,
                on=Teaching(
                    public,
                    sharpen(told, temperature),
                    label_weights(mode, learners.label_counts, told, labels),
                ),
                epochs=self.config.distill_epochs,
                lr=self.config.distill_lr,
                clip=self.config.clip,
                noise=objective.weight > 0,
            )
        if self.config.diagnostics:
            targets = sharpen(feedback.values, temperature)
            clients.note("distill_residual", divergence(targets, clients.predict(public)))

    # Server side

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Cluster, aggregate, teach the cluster models, and feed their predictions back."""
        if rnd.turn:  # in which clients only distil
            return None
        self.noted = {}
        fresh = np.isin(np.arange(self.federation.clients), uploads.ids)
        newcomers = fresh & ~self.reported
        self.remember(uploads)
        if self.clustered and newcomers.any():
            self.admit(np.flatnonzero(newcomers))
        if self.is_time_to_cluster(rnd):
            self.recluster(rnd)
        assert self.predictions is not None
        at_once = self.config.order == "distill_last"  # then who is absent would get it when it is old
        readers = fresh if at_once else self.reported
        everyone = np.arange(self.federation.clients)
        if self.config.feedback == "own_past":
            return self.own_past(readers & self.twice)
        active = np.unique(self.assignment[fresh])
        targets = self.aggregates(fresh)
        if self.config.feedback == "no_model":
            return addressed(targets, self.assignment, readers)
        answers = self.teach(targets, active, rnd)
        if self.config.feedback == "max_conf_global":
            answer = max_conf_global(answers[np.unique(self.assignment[self.reported])])[None]
            return addressed(answer, 0 * everyone, readers) if at_once else uploads.to_all(Scores(answer))
        if self.config.feedback == "soft_mix":
            return addressed(self.mixed(answers), everyone, readers)
        return addressed(answers, self.assignment, readers)

    def own_past(self, readers: np.ndarray) -> Downloads | None:
        """What some clients sent the time before last; nothing where there are none."""
        if self.earlier is None or not readers.any():
            return None
        return addressed(self.earlier[readers].to(self.federation.dtype), readers.cumsum() - 1, readers)

    def remember(self, uploads: Uploads) -> None:
        """Keep every client's last predictions, shape (clients, samples, classes), and its size where that counts."""
        scores = uploads.scores()
        if self.predictions is None:
            shape = (self.federation.clients, *scores.shape[1:])
            self.predictions = scores.new_zeros(shape, dtype=self.federation.stored_as)
        ids = np.array(uploads.ids)
        again = self.reported[ids]
        if self.config.diagnostics:
            moved = change(self.remembered(ids[again]), scores[torch.from_numpy(again)])
            self.noted["prediction_change"] = float(moved.mean()) if len(moved) else None
        if self.config.feedback == "own_past":
            self.earlier = torch.zeros_like(self.predictions) if self.earlier is None else self.earlier
            self.earlier[ids] = self.predictions[ids]
            self.twice[ids] = again
        self.predictions[ids] = scores.to(self.predictions.dtype)
        self.reported[ids] = True
        if self.config.member_weights == "size":
            self.sizes[ids] = uploads.sizes()

    def remembered(self, clients: np.ndarray) -> Tensor:
        """The last predictions of some clients, shape (len(clients), samples, classes), in the run's number format."""
        assert self.predictions is not None
        return self.predictions[clients].to(self.federation.dtype)

    def is_time_to_cluster(self, rnd: Round) -> bool:
        """By the schedule; without one whenever those who have reported have doubled, and once all have."""
        every, reported = self.config.recluster_every, int(self.reported.sum())
        grown = reported >= 2 * self.clustered or (reported == len(self.reported) > self.clustered)
        return grown or (every > 0 and rnd.index % every == 0)

    def admit(self, newcomers: np.ndarray) -> None:
        """Put clients into the cluster whose members' mean prediction is nearest (ties: the smallest id)."""
        members = self.reported.copy()
        members[newcomers] = False
        present, means = self.mean_predictions(members)
        nearest = to_centroids(self.remembered(newcomers), means).argmin(dim=1).cpu().numpy()
        self.assignment[newcomers] = present[nearest]

    def mean_predictions(self, members: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """The clusters that some clients are in, ascending, and the mean of the last predictions of those in each.

        Args:
            members: whether each client is meant, bool, shape (clients,).
        """
        present = np.unique(self.assignment[members])
        means = [self.remembered(np.flatnonzero(members & (self.assignment == k))).mean(dim=0) for k in present]
        return present, torch.stack(means)

    def recluster(self, rnd: Round) -> None:
        """Cluster those who have reported; clusters that go on keep their id and model (methods.md 2.3).

        Ties, and the ids of new clusters, go by the clients' identities, so that renumbered clients find the same.
        """
        order = np.argsort(self.federation.identities)
        order = order[self.reported[order]]
        carries_identity = self.goes_on(order)  # asked before the centroids move
        found = self.find_clusters(order, rnd)
        if carries_identity:
            self.assignment[order] = found
        else:
            matching = match_clusters(self.assignment[order], found)
            if self.servers is not None:
                self.servers = self.servers.regrouped(matching)
            if self.centroids is not None:
                self.centroids = self.centroids[_renumbering(found, matching.labels)]
            self.assignment[order] = matching.labels
        self.clustered = len(order)

    def goes_on(self, order: np.ndarray) -> bool:
        """Whether k-means goes on from its centroids: there are as many as asked for, or no client is new."""
        if self.centroids is None:
            return False
        return len(order) == self.clustered or len(self.centroids) >= self.target_number(order)

    def find_clusters(self, order: np.ndarray, rnd: Round) -> np.ndarray:
        """The clusters of some clients, in an order; ids without meaning but for k-means' second and later times."""
        config, n = self.config, len(order)
        predictions = self.remembered(order)
        if config.clustering == "single":
            return single(n)
        if config.clustering == "singleton":
            return singleton(n)
        if config.clustering in ("oracle", "random"):
            groups = self.true_groups(f"clustering={config.clustering}")[order]
            return oracle(groups) if config.clustering == "oracle" else random_like(groups, rnd.stream("clustering"))
        if config.clustering == "kmeans":
            start = self.centroids if self.goes_on(order) else None
            clusters = self.target_number(order) if start is None else len(start)
            result = kmeans(predictions, clusters, stream=rnd.stream("clustering"), start=start)
            self.centroids = result.centroids
            return result.labels
        distances = pairwise(predictions, config.distance)
        if config.clustering == "greedy_eps":
            assert config.epsilon is not None
            return greedy_eps(distances, config.epsilon)
        if config.clustering == "agglomerative":
            return agglomerative(distances, None if config.clusters == "auto" else self.target_number(order))
        if config.clustering == "farthest":
            return farthest(distances, self.target_number(order), config.farthest_rule)
        if config.clusters == "emerges":
            stream = rnd.stream("emergence")
            self.threshold = threshold(config.emergence, predictions, distances, config.distance, stream)
            return greedy_eps(distances, self.threshold)
        if config.epsilon_step is not None:
            labels, self.threshold = greedy_step(distances, self.target_number(order), config.epsilon_step)
        else:
            labels, self.threshold = greedy_k(distances, self.target_number(order))
        return labels

    def target_number(self, order: np.ndarray) -> int:
        """K of these clients: given, of the true groups, or found by complete linkage and silhouette."""
        clusters, beyond = self.config.clusters, self.config.beyond_groups
        if beyond is not None:
            clusters = max(len(np.unique(self.true_groups(f"clusters={clusters}"))) + beyond, 1)
        elif clusters == "auto":
            clusters = len(np.unique(agglomerative(pairwise(self.remembered(order), self.config.distance))))
        assert isinstance(clusters, int)  # `emerges` has no target
        return min(clusters, len(order))

    def true_groups(self, why: str) -> np.ndarray:
        """Open the seal of the groups; the run carries the badge."""
        assert self.federation.groups is not None  # `needs` says so, and the run is refused before it starts
        return self.federation.groups.open(f"{self.name}, {why}")

    def aggregates(self, fresh: np.ndarray) -> Tensor:
        """A_k of every cluster, shape (K, samples, classes); zeros for a cluster that nobody is in."""
        assert self.predictions is not None
        config = self.config
        shape = (self.cluster_count(), *self.predictions.shape[1:])
        targets = self.predictions.new_zeros(shape, dtype=self.federation.dtype)
        for cluster in np.unique(self.assignment[self.reported]):
            members = self.reported & (self.assignment == cluster)
            if config.cache == "drop" and (members & fresh).any():
                members &= fresh
            chosen = np.flatnonzero(members)
            targets[cluster] = aggregate(
                self.remembered(chosen),
                config.aggregation,
                weights=self.sizes[chosen] if config.member_weights == "size" else None,
                trim=config.trim,
                midpoint=config.midpoint,
            )
        return targets

    def mixed(self, answers: Tensor) -> Tensor:
        """Every client's mixture of all cluster models by its distance to their members' mean prediction."""
        predictions = self.remembered(np.arange(self.federation.clients))
        present = np.unique(self.assignment[self.reported])
        members = [self.reported & (self.assignment == cluster) for cluster in present]
        centroids = torch.stack([predictions[mine].mean(dim=0) for mine in members])
        distances = to_centroids(predictions, centroids)
        return soft_mix(answers[present], distances.to(answers), self.config.mix_width)

    def teach(self, targets: Tensor, active: np.ndarray, rnd: Round) -> Tensor:
        """Train the cluster models towards the aggregates and return their predictions Q (methods.md 2.5)."""
        config, public = self.config, rnd.public.inputs()
        frozen = config.server_rounds is not None and rnd.index >= config.server_rounds
        if self.servers is None:
            self.servers = self.new_servers(len(targets))
        elif config.server_reset and not frozen:
            self.servers.restart()
        targets = sharpen(targets, config.temperature)
        phase = ServerPhase(self.objective(config.server_weight), config.server_epochs, config.server_lr, config.clip)
        if config.collapse_guard == "train":
            again = 0 if frozen else train_servers(self.servers, public, targets, active.tolist(), phase, rnd)
            self.noted["server_restarts"] = again
        elif not frozen:
            self.servers.train(public, targets, active.tolist(), phase, rnd)
        answers = self.servers.predict(public)
        if config.diagnostics:
            self.noted["server_residual"] = float(divergence(targets[active], answers[active]).mean())
        return answers

    def new_servers(self, count: int) -> ClusterModels:
        """Fresh server models, each with its own initial weights."""
        if self.config.server == "models":
            return SeparateModels(self.federation, count)
        joint = self.config.head_schedule == "joint"
        return SharedBackbone(self.federation, count, joint=joint, sweeps=self.config.head_sweeps)

    def cluster_count(self) -> int:
        """Clusters with a model; k-means may leave some of them empty."""
        return int(self.assignment.max()) + 1 if self.centroids is None else len(self.centroids)

    def objective(self, weight: float) -> ConsistentDistillation:
        """The loss of distillation or server training, by that side's weight of the consistency loss."""
        grad = "both" if self.config.consistency_grad == "none" else self.config.consistency_grad
        image, vocabulary = self.federation.modality == "image", self.federation.vocabulary
        return ConsistentDistillation(weight, grad, self.config.noise, image, vocabulary=vocabulary)

    # What is reported and kept

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """Clients right after distillation, and the cluster models."""
        after = {"after_distill": distilled(clients)}
        if self.servers is None:
            return after
        largest = np.bincount(self.assignment[self.reported]).argmax()  # for who has no cluster yet
        assigned = np.where(self.reported, self.assignment, largest)
        return {
            **after,
            "server_assigned": self.servers.serving(assigned[list(clients.ids)]),
            "server_oracle": self.servers.best(),
        }

    def unseen(self, clients: Cohort, received: Scores | None, rnd: Round) -> Deployed:
        """A newcomer trains for half of its epochs, distils from the model of the nearest cluster, and trains on.

        That is the cluster whose members' mean prediction is nearest; this mean teaches where there is no server model.
        Of an odd number of epochs the first half has one more.
        """
        public, epochs = rnd.public.inputs(), clients.training.local_epochs
        clients.fit(cross_entropy, epochs=epochs - epochs // 2, stream="before", name="before")
        present, means = self.mean_predictions(self.reported)
        answers = means if self.servers is None else self.servers.predict(public)[torch.from_numpy(present)]
        nearest = to_centroids(clients.predict(public), means).argmin(dim=1)
        if self.config.distill_epochs:
            self.distill(clients, Scores(answers[nearest.to(answers.device)]), public, rnd)
        clients.fit(cross_entropy, epochs=epochs // 2)
        return clients.deployed()

    def clusters(self) -> np.ndarray:
        """The cluster of each client; -1 for who has never reported."""
        return np.where(self.reported, self.assignment, -1)

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """The threshold that greedy elimination found, and what the guard and the diagnostics count at the server."""
        return {"cluster_threshold": self.threshold, **self.noted}

    def state_dict(self) -> dict[str, Any]:
        """Clusters, predictions, centroids, cluster models."""
        return {
            "assignment": torch.from_numpy(self.assignment),
            "clustered": self.clustered,
            "predictions": self.predictions,
            "reported": torch.from_numpy(self.reported),
            "sizes": self.sizes,
            "centroids": self.centroids,
            "threshold": self.threshold,
            "earlier": self.earlier,
            "twice": torch.from_numpy(self.twice),
            "server_count": 0 if self.servers is None else self.servers.count,
            "servers": None if self.servers is None else self.servers.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.assignment = state["assignment"].cpu().numpy()
        self.clustered = state["clustered"]
        self.predictions = state["predictions"]
        self.reported = state["reported"].cpu().numpy()
        self.sizes = state["sizes"]
        self.centroids = state["centroids"]
        self.threshold = state["threshold"]
        self.earlier = state["earlier"]
        self.twice = state["twice"].cpu().numpy()
        if state["servers"] is not None:
            self.servers = self.new_servers(state["server_count"])
            self.servers.load_state_dict(state["servers"])


def _renumbering(before: np.ndarray, after: np.ndarray) -> list[int]:
    """For each cluster id of `after`, the id that the same cluster has in `before`."""
    return [int(before[np.flatnonzero(after == cluster)[0]]) for cluster in range(int(after.max()) + 1)]
