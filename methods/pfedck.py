"""pFedCK: clients with alike updates share them; each has its own model beside the one whose updates it shares.

J. Zhang, Y. Shi, "A Personalized Federated Learning Method Based on Clustering and Knowledge Distillation", Electronics
13(5):857, 2024. One round, for sampled clients S, with a personal model phi_i, an interactive model omega_i of one
architecture for all (the run's `models.server`), features z and outputs p (p' at temperature tau):

    mutual       on every batch of E_loc epochs, one after the other, the model that does not learn a constant:
                 phi_i   <- descend CE + a * tau^2 * KL(p'_omega || p'_phi) + b * mean |z_phi - z_omega|^2
                 omega_i <- descend CE + a * tau^2 * KL(p'_phi || p'_omega) + b * mean |z_phi - z_omega|^2
    send         d_i = omega_i(after) - omega_i(before)
    cluster      K clusters of the directions d_i / |d_i| by k-means; or by complete linkage of 1 - cos(d_i, d_j)
    aggregate    m_k = mean of d_i over i in S_k                        every client the same, or by size
    apply        omega_i = omega_i(before) + m_k(i)                     the cluster's mean in place of the client's own

Exchanged: updates of omega's weights and BatchNorm buffers, #omega * 4 bytes each way; phi_i never leaves the client.
Deployed: phi_i (`personal`). Features are compared as they are: the two nets must agree on their number, unless b = 0.
Clients start from one omega, that of the run's seed. Those who stay away keep theirs and their cluster (-1 before the
first); ids of clusters mean nothing from one round to the next.
Inferred: the losses and their weights, from the abstract and the code of the authors of COSMOS, which has a = b = 0.5,
tau = 2 and K = 5. There the vectors of k-means are not normalised (`directions: false`), clients start from different
omega, and the mean is added to omega_i *after* local training, a double step; the last two are not kept.
A step trains two models and counts as two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, Diverged
from fl_bench.lazy import F, np, torch
from fl_bench.spaces import Integers, Log, space

from ..federation.payloads import Parameters
from ..federation.phase import Step
from ..federation.trees import chosen, flatten, minus, plus, subtree, under
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .clustering import agglomerative, identity_order, kmeans
from .losses import imitation
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class PFedCKConfig:
    """Settings of pFedCK beside the run's local training."""

    clusters: int = field(default=5, metadata=space(Integers(2, 10)))
    """K; as many as participants where those are fewer."""
    clustering: Literal["kmeans", "complete-linkage"] = "kmeans"
    """k-means of the updates' directions, or complete linkage of 1 - their cosine."""
    directions: bool = True
    """Whether k-means sees updates of length 1 or, as in the COSMOS authors' code, of their own length."""
    kl_weight: float = field(default=0.5, metadata=space(Log(0.05, 5.0)))
    """a, factor of what the two models learn from each other's outputs."""
    feature_weight: float = field(default=0.5, metadata=space(Log(0.05, 5.0)))
    """b, factor of the mean squared difference between their features."""
    temperature: float = 2.0
    """tau, of both outputs."""
    weights: Literal["uniform", "size"] = "uniform"
    """In the mean of a cluster clients count all the same or by their private samples."""

    def __post_init__(self) -> None:
        positive("pfedck", clusters=self.clusters, temperature=self.temperature)
        not_negative("pfedck", kl_weight=self.kl_weight, feature_weight=self.feature_weight)
        if not self.directions and self.clustering != "kmeans":
            raise ConfigError(f"pfedck.directions=false belongs to clustering=kmeans, got clustering={self.clustering}")


@method("pfedck")
class PFedCK(Method[PFedCKConfig]):
    """Clients with alike updates share them; each has its own model beside the one whose updates it shares.

    A client holds phi_i ("personal") and omega_i as the round began ("shared"); the server each client's last cluster.
    """

    tolerates_absence = False  # a cluster's step is added to what a client holds
    category = "personalized"
    paper = "Zhang & Shi, Electronics 2024"
    wire = "up #omega * b, down #omega * b"
    requires = Requires(one_width=True, server_width=True)
    exchanges = frozenset({Parameters})
    deployed_view = "personal"

    def needs(self) -> Requires:
        """Features of one width where they are compared."""
        compared = self.config.feature_weight > 0
        return replace(self.requires, one_width=compared, server_width=compared)

    def plan(self, facts: Facts) -> Plan:
        """An update of the interactive model each way; two steps a batch, each with a forward pass of the other net."""
        return Plan(
            up_bytes=facts.common_bytes + size_bytes(facts, self.config.weights),
            down_bytes=facts.common_bytes,
            work=(PlannedPhase("local", facts.local_epochs, repeat=2, passes=4 / 3),),
        )

    def build_client(self, base: Any) -> nn.Module:
        """The client's own net and an interactive one."""
        from .two_models import TwoModels

        return TwoModels(base, self.federation.common_net())

    def setup(self, federation: Federation) -> None:
        """Start without clusters."""
        self.trained = [name for name, _ in federation.common_net().named_parameters()]
        self.labels = np.full(federation.clients, -1, dtype=np.int64)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take the last step of the cluster, train both models, send omega's update; omega goes back."""
        from .two_models import is_personal, is_shared

        if received is not None:
            clients.load(under("shared", plus(subtree(clients.weights, "shared"), received.tree)))
        before = subtree(clients.weights, "shared")
        clients.fit([Step(self.personal_loss, is_personal), Step(self.shared_loss, is_shared)])
        update = minus(subtree(clients.weights, "shared"), before)
        clients.load(under("shared", before))
        return Parameters(update, relative=True, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Cluster the updates; every participant gets the mean of its cluster."""
        updates, counts = uploads.parameters(), shares(uploads, self.config.weights)
        labels = self.cluster(updates, uploads.ids, rnd)
        self.labels[list(uploads.ids)] = labels
        means = []
        for label in range(int(labels.max()) + 1):
            members = torch.from_numpy(np.flatnonzero(labels == label)).to(counts.device)
            part = {name: tensor[members] for name, tensor in updates.items()}
            means.append(weighted_mean(part, counts[members] / counts[members].sum()))
        stacked = {name: torch.cat([mean[name] for mean in means]) for name in means[0]}
        return uploads.to_participants(Parameters(stacked), labels.tolist())

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """Each client's personal model."""
        return clients.deployed(part="personal")

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains both models from their initial weights: what clusters are sent are changes of others."""
        self.client_update(clients, None, rnd)
        return clients.deployed()

    def clusters(self) -> np.ndarray:
        """The cluster of each client in the last round in which it took part; -1 before that."""
        return self.labels

    def state_dict(self) -> dict[str, Any]:
        """The clusters."""
        return {"labels": torch.from_numpy(self.labels)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `state_dict`."""
        self.labels = state["labels"].cpu().numpy().copy()

    def cluster(self, updates: Tree, ids: tuple[int, ...], rnd: Round) -> np.ndarray:
        """The cluster of each participant, ids from 0 without gaps, shape (participants,).

        Draws go to participants in the order of their identities, so that a client's number does not matter.
        """
        vectors = flatten(chosen(updates, self.trained.__contains__))  # statistics have no direction
        if not bool(vectors.isfinite().all()):
            raise Diverged("an update of an interactive model is not finite")
        if self.config.directions:
            vectors = F.normalize(vectors, dim=1)
        order = identity_order(self.federation, ids)
        vectors, count = vectors[order], min(self.config.clusters, len(ids))
        if self.config.clustering == "kmeans":
            found = kmeans(vectors, count, stream=rnd.stream("pfedck")).labels
        else:
            found = agglomerative(1 - vectors @ vectors.T, count)
        labels = np.empty_like(found)
        labels[order] = found
        return labels

    def personal_loss(self, model: Any, batch: Batch) -> Tensor:
        """The loss of phi on one batch."""
        return self.taught(model.personal, model.shared, batch)

    def shared_loss(self, model: Any, batch: Batch) -> Tensor:
        """The loss of omega on one batch."""
        return self.taught(model.shared, model.personal, batch)

    def taught(self, student: Any, teacher: Any, batch: Batch) -> Tensor:
        """What one model learns from labels and from the other, a constant."""
        assert batch.y is not None
        own, other = student.body(batch.x), teacher.body(batch.x).detach()
        logits = student.head(own)
        loss = F.cross_entropy(logits, batch.y)
        loss = loss + self.config.kl_weight * imitation(logits, teacher.head(other), self.config.temperature)
        return loss + self.config.feature_weight * F.mse_loss(own, other) if self.config.feature_weight else loss
