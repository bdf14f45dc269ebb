"""Settings of COSMOS: every ablation of the method is one of these fields (methods.md 2.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fl_bench.errors import ConfigError

from ..methods.base import not_negative, positive
from ..methods.planning import parts_met

FIXED = ("single", "singleton", "oracle", "random")
"""Clusterings whose number of clusters does not depend on `clusters`."""


@dataclass(frozen=True)
class CosmosConfig:
    """Settings of COSMOS. Defaults are the paper's, except that nothing opens a seal."""

    clustering: Literal[
        "greedy_k",
        "greedy_eps",
        "kmeans",
        "farthest",
        "agglomerative",
        "oracle",
        "random",
        "single",
        "singleton",
    ] = "greedy_k"
    """How the server clusters clients by their predictions; `oracle` and `random` open the true groups.
    `agglomerative`, complete linkage, is ours."""
    clusters: int | Literal["auto", "groups"] = 5
    """Target number K: a number; `auto`, by the silhouette of complete linkage (ours); or `groups`, the true number of
    latent groups, which the paper's runs know (it opens the seal)."""
    epsilon: float | None = None
    """Distance threshold of `greedy_eps`."""
    epsilon_step: float | None = None
    """`greedy_k` tries multiples of this threshold, as the authors' code does with 0.1, instead of the exact search."""
    distance: Literal["l2", "l2_raw", "ce", "js"] = "l2"
    """Distance between the prediction matrices of two clients; `js` is ours."""
    farthest_rule: Literal["max_min", "max_sum"] = "max_min"
    """How `farthest` picks its next centre."""
    recluster: int | None = None
    """Cluster again every so many rounds; 0 never after the first time; null is 1 for `kmeans` and 0 for the rest."""
    cache: Literal["keep", "drop"] = "keep"
    """Whether absent clients' last predictions still count in the aggregate."""
    aggregation: Literal["mean", "median", "max_conf", "trimmed", "entropy_weighted"] = "mean"
    """What the server makes of the predictions of a cluster's members; the last two are ours."""
    member_weights: Literal["uniform", "size"] = "uniform"
    """What each member counts in `mean`; `size` is ours."""
    trim: float = 0.1
    """Fraction that `trimmed` cuts off each end."""
    midpoint: bool = False
    """For an even number of members: the true median instead of the lower middle value."""
    feedback: Literal["own_cluster", "max_conf_global", "no_model", "soft_mix"] = "own_cluster"
    """What clients get: their cluster model's predictions, the most confident model's for each sample, the aggregate
    itself (no server model at all), or a mixture of all models by distance (ours)."""
    mix_width: float = 0.1
    """sigma of `soft_mix`, in units of the l2 distance."""
    server: Literal["models", "heads"] = "models"
    """K independent server models, or one backbone with K heads."""
    head_schedule: Literal["joint", "sequential"] = "joint"
    """Heads learn on the same batches together, or one cluster after the other (the authors' code)."""
    head_sweeps: int = 1
    """How often `sequential` goes through the clusters in a round."""
    server_epochs: int = 5
    """Passes of each server model over the public pool per round, E_srv."""
    server_lr: float = 1e-3
    """Learning rate of server models (the paper: 1e-4 for its large ones, 1e-3 for AlexNet-small)."""
    server_reset: bool = False
    """Start server models afresh every round instead of going on with them."""
    distill_epochs: int = 5
    """Passes of each client over the public pool per round but the first, E_dis."""
    distill_lr: float = 1e-4
    """Learning rate of the clients' distillation."""
    clip: float | None = 1.0
    """Largest gradient norm in distillation and server training; null for none."""
    distill_only: bool = False
    """Train on private data in the first round only: the map of predictions to predictions on its own. Where few take
    part, whoever comes later never does."""
    temperature: float = 1.0
    """tau of the soft targets, on both sides: below 1 sharper, 0 one-hot."""
    consistency: float = 1.0
    """lambda, the weight of the consistency loss (the authors' scripts ask for 5, but their loss has no gradient)."""
    consistency_grad: Literal["both", "noisy_only", "none"] = "both"
    """Through which of the clean and the noisy branch the consistency loss has a gradient."""
    noise: Literal["pixel", "research"] = "pixel"
    """Noise in pixel space, or on normalised inputs clipped to [0, 1] as in the authors' code."""
    weighting: Literal["none", "pseudo", "oracle", "oracle_raw"] = "none"
    """Weights of public samples in a client's distillation; the oracles, the authors' code, open the public labels,
    and `pseudo` is ours."""

    def __post_init__(self) -> None:
        if isinstance(self.clusters, int) and self.clusters < 1:
            raise ConfigError(f"cosmos.clusters must be at least 1, auto or groups, got {self.clusters}")
        if (self.epsilon is not None) != (self.clustering == "greedy_eps"):
            raise ConfigError(
                f"cosmos.epsilon is the threshold of clustering=greedy_eps and needed there, "
                f"got epsilon={self.epsilon} with clustering={self.clustering}"
            )
        if self.epsilon_step is not None and self.clustering != "greedy_k":
            raise ConfigError(f"cosmos.epsilon_step belongs to clustering=greedy_k, got {self.clustering}")
        if self.member_weights == "size" and self.aggregation != "mean":
            raise ConfigError(f"cosmos.member_weights=size belongs to aggregation=mean, got {self.aggregation}")
        if not 0 <= self.trim < 0.5:
            raise ConfigError(f"cosmos.trim must be in [0, 0.5), got {self.trim}")
        positive("cosmos", distill_lr=self.distill_lr, server_lr=self.server_lr, mix_width=self.mix_width)
        positive("cosmos", head_sweeps=self.head_sweeps, clip=1.0 if self.clip is None else self.clip)
        positive("cosmos", epsilon_step=1.0 if self.epsilon_step is None else self.epsilon_step)
        not_negative("cosmos", distill_epochs=self.distill_epochs, server_epochs=self.server_epochs)
        not_negative("cosmos", temperature=self.temperature, consistency=self.consistency)
        not_negative("cosmos", epsilon=self.epsilon or 0.0, recluster=self.recluster or 0)

    @property
    def opens_groups(self) -> bool:
        """Whether the server uses the true groups."""
        return self.clustering in ("oracle", "random") or self.clusters == "groups"

    def target(self, clients: int, groups: int | None) -> int:
        """Clusters of `clients` clients, as far as they are known before the run.

        A number of clusters that is found on the way (`auto`, `greedy_eps`) is planned as the number of the partition's
        groups, or, where it has none, as the square root of the number of clients.
        """
        found = groups or round(clients**0.5)
        known = {"single": 1, "singleton": clients, "greedy_eps": found, "oracle": found, "random": found}
        number = self.clusters if isinstance(self.clusters, int) else found
        return min(known.get(self.clustering, number), clients)

    def server_fits(self, clients: int, participants: int, groups: int | None) -> float:
        """How often the server trains on the public pool in a round: once for each cluster that has participants.

        Expected, for clusters of even sizes, where not all clients take part. Heads that learn together do so at once.
        """
        if self.feedback == "no_model":
            return 0
        if self.server == "heads" and self.head_schedule == "joint":
            return 1
        return parts_met(self.target(clients, groups), clients, participants) * (
            self.head_sweeps if self.server == "heads" else 1
        )

    def planned_steps(self, *, everyone: bool) -> Literal["exact", "most", "expected"]:
        """How planned steps are meant: greedy elimination and k-means may end with fewer clusters than K.

        Expected where the number of clusters is found on the way, or where not all clients take part and so not all
        clusters: then steps of the server may differ by more than a tenth, in few rounds or with uneven clusters.

        Args:
            everyone: whether all clients take part in every round.
        """
        if self.feedback == "no_model" or (self.server == "heads" and self.head_schedule == "joint"):
            return "exact"
        found = self.clustering == "greedy_eps" or (self.clustering not in FIXED and self.clusters == "auto")
        if found or (not everyone and self.clustering != "single"):
            return "expected"
        return "most" if self.clustering in ("greedy_k", "kmeans") else "exact"

    @property
    def recluster_every(self) -> int:
        """Rounds between clusterings; 0 for never after the first time."""
        return (1 if self.clustering == "kmeans" else 0) if self.recluster is None else self.recluster
