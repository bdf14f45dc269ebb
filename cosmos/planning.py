"""What COSMOS trains in a round, as planned before the run (cosmos room): settings and facts in, phases out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..methods.planning import PlannedPhase, parts_met

if TYPE_CHECKING:
    from ..methods.base import Facts
    from .settings import CosmosConfig

FIXED = ("single", "singleton", "oracle", "random")
"""Clusterings whose number of clusters does not depend on `clusters`."""


def phases(config: CosmosConfig, facts: Facts) -> tuple[PlannedPhase, ...]:
    """Distillation, local training and server training; a consistency term makes every step on U one on two batches."""
    distil = PlannedPhase("distill", config.distill_epochs, "public", passes=2 if config.client_weight else 1)
    train = PlannedPhase("local", facts.local_epochs)
    models = server_fits(config, facts.clients, facts.participants or facts.clients, facts.groups)
    teach = PlannedPhase(
        "server",
        config.server_epochs,
        "public",
        passes=2 if config.server_weight else 1,
        models=models,
        stop=config.server_rounds,
    )
    return (_timed(distil, config), _alone(train, config), teach)


def _timed(distil: PlannedPhase, config: CosmosConfig) -> PlannedPhase:
    """When clients distil: from their second turn on, and where they do so last from the first."""
    at_once = config.order == "distill_last"
    if config.feedback == "own_past":  # of the time before last, which somebody has who has sent twice
        return replace(distil, turn="later", start=1 if at_once else 2)
    if at_once:
        return distil
    if config.feedback == "max_conf_global":  # goes to all, and not only to those who have reported
        return replace(distil, start=1)
    return replace(distil, turn="later")


def _alone(train: PlannedPhase, config: CosmosConfig) -> PlannedPhase:
    """When clients train on private data: always, or once."""
    return replace(train, turn="first") if config.distill_only else train


def target(config: CosmosConfig, clients: int, groups: int | None) -> int:
    """Clusters of `clients` clients, as far as they are known before the run.

    A number of clusters that is found on the way (`auto`, `emerges`, `greedy_eps`) is planned as the number of the
    partition's groups, or, where it has none, as the square root of the number of clients.
    """
    found = groups or round(clients**0.5)
    known = {"single": 1, "singleton": clients, "greedy_eps": found, "oracle": found, "random": found}
    number = config.clusters if isinstance(config.clusters, int) else max(found + (config.beyond_groups or 0), 1)
    return min(known.get(config.clustering, number), clients)


def server_fits(config: CosmosConfig, clients: int, participants: int, groups: int | None) -> float:
    """How often the server trains on the public pool in a round: once for each cluster that has participants.

    Expected, for clusters of even sizes, where not all clients take part. Heads that learn together do so at once.
    """
    if config.feedback in ("no_model", "own_past"):
        return 0
    if config.server == "heads" and config.head_schedule == "joint":
        return 1
    sweeps = config.head_sweeps if config.server == "heads" else 1
    return sweeps * parts_met(target(config, clients, groups), clients, participants)


def meaning(config: CosmosConfig, *, everyone: bool) -> Literal["exact", "most", "expected"]:
    """How planned steps are meant: greedy elimination and k-means may end with fewer clusters than K.

    Expected where the number of clusters is found on the way, where collapsed models train again, or where not all
    clients take part and so not all clusters: then steps of the server may differ by more than a tenth, in few rounds
    or with uneven clusters. Whoever is told just what it predicts trains no step, so `no_model` plans the most.

    Args:
        config: the settings.
        everyone: whether all clients take part in every round.
    """
    if config.collapse_guard == "train":
        return "expected"
    if config.feedback in ("no_model", "own_past"):
        skips = config.feedback == "no_model" and config.temperature == 1 and config.client_weight == 0
        waits = config.feedback == "own_past" and not everyone
        return "most" if skips or waits else "exact"
    if config.server == "heads" and config.head_schedule == "joint":
        return "exact"
    found = config.clustering == "greedy_eps" or (
        config.clustering not in FIXED and config.clusters in ("auto", "emerges")
    )
    if found or (not everyone and config.clustering != "single"):
        return "expected"
    return "most" if config.clustering in ("greedy_k", "kmeans") else "exact"
