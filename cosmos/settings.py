"""Settings of COSMOS: every ablation of the method is one of these fields (methods.md 2.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.spaces import Integers, Linear, Log, space

from ..methods.base import not_negative, positive


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
    clusters: int | str = field(default=5, metadata=space(Integers(2, 10)))
    """Target number K: a number; `auto`, by the silhouette of complete linkage (ours); `emerges`, whatever greedy
    elimination leaves at a threshold that `emergence` sets (`greedy_k` only); or `groups`, the true number of latent
    groups, which the paper's runs know (it opens the seal), also as `groups+2` or `groups-1`, but never below 1."""
    emergence: Literal["silhouette", "gap", "quantile", "stability"] = field(default="silhouette", metadata=LATER)
    """How `clusters: emerges` sets the distance threshold B0 without the number of groups: the best mean silhouette of
    greedy elimination, the largest gap of merge heights, a quantile of distances, or the clusters on which small parts
    of the public samples agree best. All ours."""
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
    feedback: Literal["own_cluster", "max_conf_global", "no_model", "soft_mix", "own_past"] = "own_cluster"
    """What clients get: their cluster model's predictions, the most confident model's for each sample, the aggregate
    itself (no server model at all), or a mixture of all models by distance (ours). `own_past` is a control that learns
    from nobody: each client gets the predictions that it sent the time before last, once it has sent two."""
    mix_width: float = 0.1
    """sigma of `soft_mix`, in units of the l2 distance."""
    server: Literal["models", "heads"] = "models"
    """K independent server models, or one backbone with K heads."""
    head_schedule: Literal["joint", "sequential"] = "joint"
    """Heads learn on the same batches together, or one cluster after the other (the authors' code)."""
    head_sweeps: int = 1
    """How often `sequential` goes through the clusters in a round."""
    server_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of each server model over the public pool per round, E_srv; the paper's, as many as clients take."""
    server_lr: float | None = field(default=None, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of server models; null is the clients', `training.lr` (the paper: 1e-4 for its large server models,
    1e-3 for AlexNet-small)."""
    server_reset: bool = False
    """Start server models afresh every round instead of going on with them."""
    server_rounds: int | None = field(default=None, metadata=LATER)
    """Train server models in the first so many rounds only, then leave them as they are; null in every round. It is a
    control, ours; models of clusters that form later are never trained."""
    order: Literal["distill_first", "distill_last"] = field(default="distill_first", metadata=LATER)
    """What a client does in a round: distil from the last round's feedback, then train on private data (the authors'
    code); or train, then distil from this round's feedback (their text), in two exchanges."""
    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of each client over the public pool per round but the first, E_dis."""
    distill_lr: float = field(default=1e-4, metadata=space(Log(1e-5, 1e-1)))
    """Learning rate of the clients' distillation."""
    clip: float | None = 1.0
    """Largest gradient norm in distillation and server training; null for none."""
    distill_only: bool = False
    """Train on private data only in the round in which a client takes part for the first time: the map of predictions
    to predictions on its own."""
    temperature: float = 1.0
    """tau of the soft targets, on both sides: below 1 sharper, 0 one-hot."""
    consistency: float = field(default=1.0, metadata=space(Linear(0.0, 2.0, least=0)))
    """lambda, the weight of the consistency loss (the authors' scripts ask for 5, but their loss has no gradient)."""
    server_consistency: float | None = field(default=None, metadata=LATER)
    """lambda of the server models; null is `consistency`. The authors' text has the loss at the server only, which is
    `consistency: 0` with a number here."""
    consistency_grad: Literal["both", "noisy_only", "none"] = "both"
    """Through which of the clean and the noisy branch the consistency loss has a gradient."""
    noise: Literal["pixel", "research"] = "pixel"
    """Noise in pixel space, or on normalised inputs clipped to [0, 1] as in the authors' code. In texts, `pixel` draws
    a tenth of the tokens anew."""
    weighting: Literal["none", "pseudo", "oracle", "oracle_raw"] = "none"
    """Weights of public samples in a client's distillation; the oracles, the authors' code, open the public labels,
    and `pseudo` is ours."""
    collapse_guard: Literal["off", "train"] = field(default="off", metadata=LATER)
    """`train`: a model that has collapsed starts again from other initial weights and repeats its phase, at most three
    times, judged by training data only (the authors judge by test accuracy). A client has collapsed when, after local
    training, it gives one class to 99 % of its training data, which are not that class themselves. A server model has
    when its mean KL divergence from A_k has not decreased and a constant prediction would do as well. The record counts
    `client_restarts` and `server_restarts`, and their steps with all others."""
    diagnostics: bool = field(default=False, metadata=LATER)
    """Record how far distillation gets, for a forward pass more of each client: `distill_residual`, the clients' mean
    KL divergence from their targets on U right after distillation; `server_residual`, that of the clusters' models from
    theirs after training; and `prediction_change`, the mean over clients of ||P_i - the last P_i||_F / sqrt(N)."""

    def __post_init__(self) -> None:
        if (
            self.clusters not in ("auto", "emerges")
            and self.beyond_groups is None
            and not (isinstance(self.clusters, int) and self.clusters >= 1)
        ):
            raise ConfigError(
                "cosmos.clusters must be a number of at least 1, auto, emerges, groups, or groups with a difference "
                f"such as groups+2, got {self.clusters}"
            )
        if self.clusters == "emerges" and (self.clustering != "greedy_k" or self.epsilon_step is not None):
            raise ConfigError(
                "cosmos.clusters=emerges belongs to clustering=greedy_k without epsilon_step, "
                f"got clustering={self.clustering} with epsilon_step={self.epsilon_step}"
            )
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
        positive("cosmos", distill_lr=self.distill_lr, mix_width=self.mix_width)
        positive("cosmos", server_lr=1.0 if self.server_lr is None else self.server_lr)
        positive("cosmos", head_sweeps=self.head_sweeps, clip=1.0 if self.clip is None else self.clip)
        positive("cosmos", epsilon_step=1.0 if self.epsilon_step is None else self.epsilon_step)
        not_negative("cosmos", distill_epochs=self.distill_epochs, server_epochs=self.server_epochs)
        not_negative("cosmos", temperature=self.temperature, consistency=self.consistency)
        not_negative("cosmos", epsilon=self.epsilon or 0.0, recluster=self.recluster or 0)
        not_negative("cosmos", server_consistency=self.server_consistency or 0.0, server_rounds=self.server_rounds or 0)

    @property
    def opens_groups(self) -> bool:
        """Whether the server uses the true groups."""
        return self.clustering in ("oracle", "random") or self.beyond_groups is not None

    @property
    def beyond_groups(self) -> int | None:
        """What `clusters` adds to the true number of groups; None where it does not name them."""
        named = re.fullmatch(r"groups([+-]\d+)?", str(self.clusters))
        return None if named is None else int(named[1] or 0)

    @property
    def client_weight(self) -> float:
        """lambda in the clients' loss: 0 where the consistency loss has no gradient."""
        return 0.0 if self.consistency_grad == "none" else self.consistency

    @property
    def server_weight(self) -> float:
        """lambda in the loss of the server models."""
        if self.server_consistency is None or self.consistency_grad == "none":
            return self.client_weight
        return self.server_consistency

    @property
    def recluster_every(self) -> int:
        """Rounds between clusterings; 0 for never after the first time."""
        return (1 if self.clustering == "kmeans" else 0) if self.recluster is None else self.recluster
