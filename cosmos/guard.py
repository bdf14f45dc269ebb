"""The collapse guard of COSMOS: models that learned nothing start again, judged by training data (methods.md 2.9, Q11).

The authors' code repeats a phase from new weights when a model's accuracy on *test* data is exactly that of guessing.
Here clients are judged on their own training data and server models on their targets. A server model that has converged
does not come closer to its targets either; it has collapsed only if the best constant prediction is about as close.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.lazy import torch

from ..methods.losses import cross_entropy
from .diagnostics import divergence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..federation.cohort import Cohort
    from ..federation.rounds import Federation, Round
    from .servers import ClusterModels, ServerPhase

RESTARTS = 3
"""How often a model may start again in a round."""
ONE_CLASS = 0.99
"""The share of a client's training data from which on they are, or are taken for, a single class."""
CLOSER = 0.99
"""A server model is better than a constant prediction if its KL divergence is below this share of the other's."""


def train_clients(clients: Cohort, federation: Federation) -> None:
    """Train clients on private data; those that collapse do it again, from weights and on batches of their own.

    The restarts of the round, summed over clients, are the column `client_restarts`. The initial weights of attempt a
    are the a-th further ones of the architecture, which a client knows by the seed.
    """
    clients.fit(cross_entropy)
    restarts = torch.zeros(len(clients), dtype=torch.int64)
    suspects = list(range(len(clients)))
    for attempt in range(1, RESTARTS + 1):
        suspects = [suspects[position] for position in collapsed(clients.only(suspects))]
        if not suspects:
            break
        again = clients.only(suspects)
        fresh = federation.fresh_weights(clients.architecture, RESTARTS + 1)
        again.load({name: tensor[attempt : attempt + 1] for name, tensor in fresh.items()})
        again.fit(cross_entropy, fresh=True, stream=f"local, attempt {attempt}")
        restarts[suspects] += 1
    clients.note("client_restarts", restarts, "sum")


def collapsed(clients: Cohort) -> list[int]:
    """The members, by position, that predict a single class for training data that are not of that class alone."""
    said = clients.predict_private(as_="logits").argmax(dim=-1).cpu()
    found = []
    for position, labels in enumerate(clients.label_counts.cpu()):
        samples = int(labels.sum())
        predicted = torch.bincount(said[position, :samples], minlength=len(labels))
        largest = int(predicted.argmax())
        if predicted[largest] >= ONE_CLASS * samples > labels[largest]:
            found.append(position)
    return found


def train_servers(
    servers: ClusterModels, inputs: Tensor, targets: Tensor, active: Sequence[int], phase: ServerPhase, rnd: Round
) -> int:
    """Train cluster models; those that collapse do it again, from other initial weights.

    Args:
        servers: the models.
        inputs: the public pool, shape (samples, *shape).
        targets: what each model learns, shape (K, samples, classes).
        active: the clusters whose models are trained.
        phase: how.
        rnd: the round.

    Returns:
        Restarts of the round, summed over models.
    """
    constant = divergence(targets, targets.mean(dim=1, keepdim=True).expand_as(targets))
    restarts, suspects = 0, list(active)
    for attempt in range(RESTARTS + 1):
        before = divergence(targets, servers.predict(inputs))
        servers.train(inputs, targets, suspects, replace(phase, fresh=attempt > 0), rnd)
        after = divergence(targets, servers.predict(inputs))
        stuck = ((after >= before) & (after >= CLOSER * constant)).tolist()
        suspects = [cluster for cluster in suspects if stuck[cluster]]
        if not suspects or attempt == RESTARTS:
            break
        servers.renew(suspects, attempt + 1)
        restarts += len(suspects)
    return restarts
