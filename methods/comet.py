"""COMET: clients learn from the mean predictions of those who predict like them.

Y. J. Cho, J. Wang, T. Chirvolu, G. Joshi, "Communication-Efficient and Model-Heterogeneous Personalized Federated
Learning via Clustered Knowledge Transfer", IEEE JSTSP 17(1), 2023; "Personalized Federated Learning for Heterogeneous
Clients with Clustered Knowledge Transfer" (PerFed-CKT), arXiv:2109.08119. Round t, for participating clients i:

    choose   k(i)   = argmin_k |P_i - q_k|_F                                                  (t > 0)
    train    theta_i <- descend CE(D_i) + lambda * mean_u |h_i(u) - q_k(i)(u)|^2              E_loc epochs of D_i, each
                                                                                              batch with one of U
    send     P_i    = h_i(U)
    cluster  q_1..K = k-means of {P_i}, members counting n_i, from the centroids of the round before

In the first round a client has no centroids and trains on its own data alone. A cluster that no participant is
nearest to keeps its centroid. Deployed: theta_i after its last round.
Left open by the paper: fewer than K participants in the first round. There are as many clusters as clients have
reported, until there are K: before k-means goes on, each centroid that is missing is the P_i of a participant, drawn by
its distance from the centroids there are, as in k-means++. Predictions of absent clients are not kept: they are of
models that have learned nothing since, and n * N * C numbers at the server.

Exchanged: N * C * 4 bytes up; down K * N * C * 4 where the client chooses its centroid, N * C * 4 where the server
does (`choice`), by the predictions that the client sent last: the same choice, as its model did not move in between.
Disputed, as no code was published: whether whole clients are clustered or, in re-implementations, the soft labels of
each public sample for itself (`cluster_level`); whether transfer and training are one objective or follow each other
(`mode`; the COSMOS authors' code distils first, 5 epochs with 8e-4, then trains); squares or KL (`loss`); K (2 in a
re-implementation; here 5 as in COSMOS).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.lazy import np, torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Beside, Teaching
from ..federation.payloads import Scores
from .averaging import size_bytes, told_sizes
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .clustering import identity_order, kmeans
from .losses import cross_entropy, kl_divergence
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round

STEPS_PER_SAMPLE = 100
"""Where Lloyd's iteration on single samples is stopped, if it has not ended by itself."""


@dataclass(frozen=True)
class CometConfig:
    """Settings of COMET."""

    clusters: int = field(default=5, metadata=space(Integers(2, 10)))
    """K; as many as clients that have reported, as long as these are fewer."""
    transfer: float = field(default=1.0, metadata=space(Log(0.1, 10.0)))
    """lambda, the weight of the transfer from the centroid."""
    loss: Literal["l2", "kl"] = "l2"
    """Transfer loss: squared distance of the probabilities, summed over classes, or KL(q || h_i); mean over samples."""
    mode: Literal["joint", "sequential"] = "joint"
    """One objective, or first the transfer alone on all of U and then private data."""
    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes over the public pool per round in `sequential`."""
    distill_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the transfer in `sequential`."""
    cluster_level: Literal["matrix", "sample"] = "matrix"
    """Whether clients are clustered by all they predict, or anew for each public sample."""
    choice: Literal["client", "server"] = "client"
    """Who picks the centroid a client learns from: the client gets all of them, or only the one."""
    member_weights: Literal["size", "uniform"] = "size"
    """What each member counts in its centroid: its private samples, or all the same."""

    def __post_init__(self) -> None:
        positive("comet", clusters=self.clusters, distill_lr=self.distill_lr)
        not_negative("comet", transfer=self.transfer, distill_epochs=self.distill_epochs)


@method("comet")
class Comet(Method[CometConfig]):
    """Clients learn from the mean predictions of those who predict like them.

    The server keeps the centroids, from which the next k-means goes on, who has reported, and each client's last
    cluster, to report.
    """

    protocol = 2  # clusters are added until there are K
    category = "distillation"
    paper = "Cho et al., IEEE JSTSP 2023, arXiv:2109.08119"
    wire = "up N * C * b + b, down K * N * C * b"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """N * C * 4 bytes up; down as many times as there are centroids to choose from, at last.

        Joint steps take a public batch with each private one: as many as those, not passes over the pool, at twice the
        cost as soon as there are centroids.
        """
        centroids = min(self.config.clusters, facts.clients) if self.config.choice == "client" else 1
        return Plan(
            up_bytes=facts.scores_bytes + size_bytes(facts, self.config.member_weights),
            down_bytes=centroids * facts.scores_bytes,
            bound=self.config.choice == "client" and (facts.participants or facts.clients) < centroids,
            work=self.work(facts.local_epochs),
        )

    def work(self, local_epochs: int) -> tuple[PlannedPhase, ...]:
        """The phases of a round; centroids are sent to all, or each participant gets its own."""
        alone, taught = (
            ({"stop": 1}, {"start": 1}) if self.config.choice == "client" else ({"turn": "first"}, {"turn": "later"})
        )
        if self.config.mode == "joint":
            return (
                PlannedPhase("local", local_epochs, **alone),
                PlannedPhase("local", local_epochs, passes=2, **taught),
            )
        return (
            PlannedPhase("local", local_epochs),
            PlannedPhase("distill", self.config.distill_epochs, "public", **taught),
        )

    def setup(self, federation: Federation) -> None:
        """Start without centroids, everyone in cluster 0."""
        self.centroids: Tensor | None = None
        self.reported = np.zeros(federation.clients, dtype=np.bool_)
        self.assignment = np.zeros(federation.clients, dtype=np.int64)

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Choose a centroid, train on private data and towards it, and score the public pool."""
        public = rnd.public.inputs()
        if received is None:
            clients.fit(cross_entropy, name="local")
        else:
            target = received.values
            if self.config.choice == "client":  # everyone got the same centroids
                target = self.nearest(clients.predict(public), target[0])
            self.train(clients, Teaching(public, target))
        return Scores(clients.predict(public), sizes=told_sizes(clients, self.config.member_weights))

    def train(self, clients: Cohort, public: Teaching, epochs: int | None = None) -> None:
        """Minimise CE + lambda * transfer, together or one after the other, in the run's local epochs or others."""
        weight, transfer = self.config.transfer, kl_transfer if self.config.loss == "kl" else squared_transfer

        def joint(model: nn.Module, batch: Batch) -> Tensor:
            assert batch.public is not None
            return cross_entropy(model, batch) + weight * transfer(model, batch.public)

        def alone(model: nn.Module, batch: Batch) -> Tensor:
            return weight * transfer(model, batch)

        if self.config.mode == "joint":
            clients.fit(joint, on=Beside(public), epochs=epochs, name="local")
            return
        clients.fit(alone, on=public, epochs=self.config.distill_epochs, lr=self.config.distill_lr)
        clients.fit(cross_entropy, epochs=epochs, name="local")

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Cluster the participants' predictions and send all centroids, or to each participant its own.

        Draws go to participants in the order of their identities, so that a client's number does not matter.
        """
        predictions, ids = uploads.scores(), np.array(uploads.ids)
        weights = uploads.sizes() if self.config.member_weights == "size" else uploads.ones()
        order = identity_order(self.federation, uploads.ids)
        points, counts, stream = predictions[order], weights[order], rnd.stream("clustering")
        self.reported[ids] = True
        clusters = min(self.config.clusters, int(self.reported.sum()))
        if self.config.cluster_level == "matrix":
            start = self.centroids
            if start is not None and len(start) < clusters:
                start = more_centroids(points.flatten(1)[None], counts, start.flatten(1)[None], clusters, stream)
                start = start.view(clusters, *predictions.shape[1:])
            found = kmeans(points, clusters, weights=counts, stream=stream, start=start)
            self.centroids = found.centroids
            self.assignment[ids[order]] = found.labels
        else:
            self.centroids = kmeans_per_sample(points, clusters, counts, stream=stream, start=self.centroids)
        if self.config.choice == "client":
            return uploads.to_all(Scores(self.centroids[None]))
        return uploads.to_participants(Scores(self.nearest(predictions, self.centroids)))

    def unseen(self, clients: Cohort, received: Scores | None, rnd: Round) -> Deployed:
        """A newcomer trains for half of its epochs, then chooses the nearest centroid and trains towards it as well.

        Of an odd number of epochs the second half has one more.
        """
        public, epochs = rnd.public.inputs(), clients.training.local_epochs
        clients.fit(cross_entropy, epochs=epochs // 2, stream="before", name="before")
        assert self.centroids is not None  # of the last round
        target = self.nearest(clients.predict(public), self.centroids)
        self.train(clients, Teaching(public, target), epochs - epochs // 2)
        return clients.deployed()

    def nearest(self, predictions: Tensor, centroids: Tensor) -> Tensor:
        """The centroid next to each client's predictions: one for all samples, or for every sample its own.

        Args:
            predictions: P_i, shape (clients, samples, classes).
            centroids: q_k, shape (K, samples, classes).

        Returns:
            Shape (clients, samples, classes); ties: the smallest k.
        """
        squared = torch.stack([(predictions - centroid).square().sum(dim=2) for centroid in centroids])
        if self.config.cluster_level == "matrix":
            squared = squared.sum(dim=2, keepdim=True)
        chosen = squared.argmin(dim=0)
        return centroids[chosen, torch.arange(predictions.shape[1], device=chosen.device)]

    def clusters(self) -> np.ndarray | None:
        """Each client's cluster when it last took part; none where every sample has clusters of its own."""
        return self.assignment if self.config.cluster_level == "matrix" else None

    def state_dict(self) -> dict[str, Any]:
        """Centroids, clusters, and who has reported."""
        assignment, reported = torch.from_numpy(self.assignment), torch.from_numpy(self.reported)
        return {"centroids": self.centroids, "assignment": assignment, "reported": reported}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.centroids = state["centroids"]
        self.assignment, self.reported = (state[name].cpu().numpy() for name in ("assignment", "reported"))


def squared_transfer(model: nn.Module, batch: Batch) -> Tensor:
    """|h(u) - q(u)|^2, summed over classes, mean over the batch."""
    assert batch.target is not None
    probabilities: Tensor = model(batch.x).softmax(dim=-1)
    return (probabilities - batch.target).square().sum(dim=-1).mean()


def kl_transfer(model: nn.Module, batch: Batch) -> Tensor:
    """KL(q || h), summed over classes, mean over the batch."""
    assert batch.target is not None
    return kl_divergence(batch.target, model(batch.x))


def kmeans_per_sample(
    predictions: Tensor, clusters: int, weights: Tensor, *, stream: np.random.Generator, start: Tensor | None
) -> Tensor:
    """k-means of the n soft labels of every public sample for itself, all samples at once.

    From one k-means++ start, or from centroids, to which those that are missing are added; see `clustering.kmeans` for
    what is the same there.

    Args:
        predictions: P_i, shape (n, samples, classes).
        clusters: K.
        weights: what each client counts in the means, shape (n,).
        stream: randomness of the start.
        start: centroids to continue from, K at most, shape (centroids, samples, classes).

    Returns:
        The centroids, shape (K, samples, classes).
    """
    points = predictions.transpose(0, 1)  # (samples, n, classes)
    centroids = more_centroids(points, weights, None if start is None else start.transpose(0, 1), clusters, stream)
    labels = None
    for _ in range(STEPS_PER_SAMPLE):
        nearest = torch.stack([_squared(points, centroids[:, k]) for k in range(clusters)]).argmin(dim=0)
        if labels is not None and torch.equal(nearest, labels):
            break
        labels = nearest
        counts = weights * (labels == torch.arange(clusters, device=labels.device)[:, None, None])  # (K, samples, n)
        totals = counts.sum(dim=2).T[:, :, None]
        means = torch.einsum("ksn,snc->skc", counts, points) / totals.clamp_min(torch.finfo(points.dtype).tiny)
        centroids = torch.where(totals > 0, means, centroids)
    return centroids.transpose(0, 1).contiguous()


def more_centroids(
    points: Tensor, weights: Tensor, start: Tensor | None, clusters: int, stream: np.random.Generator
) -> Tensor:
    """k-means++ from the centroids there are: each further one is a client, drawn by its part of the inertia so far.

    The client where the sum of the parts passes the draw; the first client where all are at a centroid, and with the
    same probability each where there is no centroid.

    Args:
        points: what each of n clients predicts, in sets that are clustered by themselves, shape (sets, n, numbers).
        weights: what each client counts, shape (n,).
        start: the centroids there are, shape (sets, centroids, numbers).
        clusters: K.
        stream: randomness.

    Returns:
        Shape (sets, K, numbers).
    """
    sets = torch.arange(len(points), device=points.device)
    centroids: list[Tensor] = [] if start is None else list(start.unbind(dim=1))
    distances = [_squared(points, centroid) for centroid in centroids]
    for draw in torch.from_numpy(stream.random((clusters - len(centroids), len(points)))).to(points):
        parts = weights * torch.stack(distances).amin(dim=0) if distances else torch.ones_like(points[:, :, 0])
        reached = (parts.cumsum(dim=1) > draw[:, None] * parts.sum(dim=1, keepdim=True)).to(torch.int8)
        centroids.append(points[sets, reached.argmax(dim=1)])  # the first that is reached; client 0 where none is
        distances.append(_squared(points, centroids[-1]))
    return torch.stack(centroids, dim=1)


def _squared(points: Tensor, centroid: Tensor) -> Tensor:
    """Squared distance of all points (samples, n, classes) to one centroid (samples, classes): (samples, n)."""
    return (points - centroid[:, None]).square().sum(dim=2)
