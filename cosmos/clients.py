"""The client's side of COSMOS around distillation: who trains, who has nothing to distil, what a view of it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

from ..methods.losses import cross_entropy
from .guard import train_clients

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation
    from .settings import CosmosConfig

ROUNDING = 64
"""Probabilities are the same when they are so many machine epsilons apart: cohorts of other sizes round differently."""


def train(clients: Cohort, config: CosmosConfig, federation: Federation) -> None:
    """Train on private data; under `distill_only` those members alone who never did."""
    learners = newcomers(clients) if config.distill_only else clients
    if not len(learners):
        return
    if config.collapse_guard == "train":
        train_clients(learners, federation)
    else:
        learners.fit(cross_entropy)


def newcomers(clients: Cohort) -> Cohort:
    """The members who were never asked for here, which they remember from now on."""
    kept = clients.kept("trained")
    clients.keep("trained", {"trained": flags(clients)})
    return clients if kept is None else clients.only(positions(kept["trained"] == 0))


def told_otherwise(clients: Cohort, told: Tensor, inputs: Tensor) -> list[int]:
    """The members, by position, who are told something else than they predict, rounding apart.

    Whoever is told just that has the smallest loss there is. Its gradient is rounding, of which Adam makes whole steps.

    Args:
        clients: the cohort.
        told: class probabilities, shape (members, samples, classes).
        inputs: the samples, shape (samples, *shape).
    """
    apart = (told - clients.predict(inputs)).abs().flatten(1).amax(dim=1)
    return positions(apart > ROUNDING * torch.finfo(told.dtype).eps)


def keep_distilled(clients: Cohort) -> None:
    """Let clients keep a copy of their weights for the view `after_distill`."""
    clients.keep("after distillation", {"known": flags(clients), **clients.weights})


def distilled(clients: Cohort) -> Deployed:
    """The weights that each client last kept by `keep_distilled`; its present ones where it never did."""
    kept = clients.kept("after distillation")
    if kept is None:
        return clients.deployed()
    known, now = kept.pop("known") > 0, clients.weights
    return clients.with_weights(
        {name: torch.where(known.view(-1, *[1] * (old.dim() - 1)), old, now[name]) for name, old in kept.items()}
    )


def flags(clients: Cohort) -> Tensor:
    """1 for each member, to keep: it is 0 for who has kept nothing."""
    return torch.ones_like(clients.sizes)


def positions(chosen: Tensor) -> list[int]:
    """Where a mask is true."""
    return [position for position, yes in enumerate(chosen.tolist()) if yes]
