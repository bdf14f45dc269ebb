"""How far distillation gets and how much predictions still move, in numbers for the record (cosmos room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def divergence(targets: Tensor, predictions: Tensor) -> Tensor:
    """KL(target || prediction) of several models, mean over samples: the residual of a distillation.

    Args:
        targets: class probabilities, shape (models, samples, classes).
        predictions: the models' class probabilities, same shape; 0 counts as the smallest positive number.

    Returns:
        Nats, shape (models,).
    """
    smallest = torch.finfo(predictions.dtype).tiny
    per_class = torch.xlogy(targets, targets) - targets * predictions.clamp_min(smallest).log()
    return per_class.sum(dim=-1).mean(dim=-1)


def change(before: Tensor, after: Tensor) -> Tensor:
    """||after - before||_F / sqrt(N) of each client's predictions on N samples (methods.md 2.11).

    Args:
        before: class probabilities, shape (clients, samples, classes).
        after: the same, later.

    Returns:
        Shape (clients,), in [0, sqrt(2)].
    """
    distance: Tensor = (after - before).flatten(1).norm(dim=1) / before.shape[1] ** 0.5
    return distance
