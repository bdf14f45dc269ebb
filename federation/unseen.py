"""Clients that were kept out of training: admitted at the end, in the method's way, and scored (federation room)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .cohort import Cohort
from .evaluation import summarise
from .factory import Factory
from .rows import Scoring
from .settings import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from .channel import Channel
    from .data import FederatedData
    from .deployed import Deployed
    from .rounds import Round


class Admitting(Protocol):
    """What is needed of a method; `methods.base.Method` is the interface that methods implement."""

    def build_client(self, base: nn.Module) -> nn.Module: ...  # noqa: D102
    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed | None: ...  # noqa: D102


def score_unseen(
    method: Admitting, data: FederatedData, identities: Sequence[int], seen: Factory, channel: Channel, rnd: Round
) -> dict[str, float | int | None]:
    """Build the clients, let the method admit them, and score what they would deploy.

    They start from the initial weights of their architecture, are told what waits for all clients of it alike, and take
    their local steps in the round after the last, `training.admission_epochs` passes instead of the local epochs.

    Args:
        method: the method, after its last round.
        data: the private and test data of these clients.
        identities: what names their random streams.
        seen: where the models of the other clients come from.
        channel: where messages wait.
        rnd: the round after the last.

    Returns:
        `unseen.<metric>` of every metric over these clients, and the steps of their admission; nothing where the method
        says that it admits nobody.

    Raises:
        Diverged: a weight or a score is not finite.
    """
    epochs = seen.training.admission_epochs or seen.training.local_epochs
    factory = Factory(
        data,
        seen.mix,
        replace(seen.training, local_epochs=epochs),
        seen.execution,
        seeds=seen.seeds,
        identities=tuple(identities),
        client_module=method.build_client,
    )
    factory.build_clients()
    scores = Scoring(data, seen.execution.threads or 1)
    for architecture in factory.clients:
        own = factory.ids_of(architecture)
        cohort = factory.client_cohort(architecture, own, rnd.index)
        beyond = tuple(seen.data.clients + client for client in own)  # no number that another client has
        newcomers = Cohort(replace(cohort.members, ids=beyond), cohort.work, cohort.label_counts)
        received = channel.standing(seen.ids_of(architecture), len(own))
        view = method.unseen(newcomers, received, rnd)
        if view is None:
            return {}
        newcomers.check_finite()
        scores.add(own, {UNSEEN: view}, headline=UNSEEN)
    found = summarise(scores.joined()[UNSEEN], np.array(data.test.sizes))
    return {
        **{f"{UNSEEN}.{name}": value for name, value in found.items()},
        f"{UNSEEN}.clients": data.clients,
        "steps_unseen": sum(factory.work.steps.values()),
    }
