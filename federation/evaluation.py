"""The evaluator: opens the sealed labels, scores deployed models, and hands back numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from .engine import bind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from .data import FederatedData
    from .payloads import Tree

CHUNK = 2048
"""Samples per forward pass of an evaluation."""


@dataclass(frozen=True)
class Deployed:
    """Models to be evaluated on clients: which of `weights` each member would use."""

    module: nn.Module
    """A network of the architecture; its own weights do not matter."""
    weights: Tree
    """Stacked parameters and buffers, name to (models, ...)."""
    index: tuple[int, ...] | None
    """The model of each member. None: for each member the model that is best on its
    *test* data, an oracle that views named `*_oracle` report and nothing else may use."""

    def __len__(self) -> int:
        return next(iter(self.weights.values())).shape[0]

    def logits(self, model: int, inputs: Tensor) -> Tensor:
        """Output of one of the models in evaluation mode, shape (samples, classes)."""
        names = {name for name, _ in self.module.named_parameters()}
        bind(
            self.module.eval(),
            {name: tensor for name, tensor in self.weights.items() if name in names},
            {name: tensor for name, tensor in self.weights.items() if name not in names},
            model,
        )
        return self.module(inputs)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


@dataclass(frozen=True)
class ClientScores:
    """Per-client results of one view, float64 arrays of shape (clients,); NaN where a client has no samples."""

    accuracy: np.ndarray
    """Top-1 accuracy, percent."""
    loss: np.ndarray
    """Mean cross-entropy, nats."""
    brier: np.ndarray
    """Mean squared distance between probabilities and the one-hot label, in [0, 2]."""
    top5: np.ndarray
    """Top-5 accuracy, percent; equals 100 where there are at most five classes."""

    @staticmethod
    def join(parts: Sequence[tuple[Sequence[int], ClientScores]], clients: int) -> ClientScores:
        """Put the results of several cohorts in client-id order."""
        columns = []
        for name in ("accuracy", "loss", "brier", "top5"):
            column = np.full(clients, np.nan)
            for ids, scores in parts:
                column[list(ids)] = getattr(scores, name)
            columns.append(column)
        return ClientScores(*columns)


def evaluate(deployed: Deployed, data: FederatedData, rows: Sequence[Tensor]) -> ClientScores:
    """Score each member's model on the member's rows.

    Args:
        deployed: the models, and which member uses which.
        data: the federation's data; its sealed labels are opened for metrics only.
        rows: dataset rows of each member.
    """
    members = len(rows)
    with torch.inference_mode():
        if deployed.index is not None:
            owner = deployed.index
            table = torch.full((members, 4), math.nan, dtype=torch.float64, device=data.inputs.device)
            for model in sorted(set(owner)):
                served = [member for member in range(members) if owner[member] == model]
                table[served] = _score(deployed, model, data, [rows[member] for member in served])
        else:
            every = torch.stack([_score(deployed, model, data, rows) for model in range(len(deployed))])
            best = every[:, :, 0].nan_to_num(-1.0).argmax(dim=0)
            table = every[best, torch.arange(members, device=best.device)]
    accuracy, loss, brier, top5 = table.cpu().numpy().T
    return ClientScores(100.0 * accuracy, loss, brier, 100.0 * top5)


def one_model(views: Sequence[Deployed]) -> bool:
    """Whether one and the same model serves all members of all cohorts."""
    weights = [next(iter(deployed.weights.values())) for deployed in views]
    return all(len(tensor) == 1 and tensor.data_ptr() == weights[0].data_ptr() for tensor in weights)


def _score(deployed: Deployed, model: int, data: FederatedData, rows: Sequence[Tensor]) -> Tensor:
    """Mean of (correct, cross-entropy, Brier, in top five) per member, shape (members, 4), float64."""
    joined = torch.cat(list(rows))
    truth = data.sealed_labels.open_for_evaluation()
    parts = [
        _sample_scores(deployed.logits(model, data.inputs_of(piece)), truth[piece])
        for piece in torch.split(joined, CHUNK)
    ]
    sizes = torch.tensor([part.numel() for part in rows], device=joined.device)
    member = torch.repeat_interleave(torch.arange(len(rows), device=joined.device), sizes)
    sums = torch.zeros(len(rows), 4, dtype=torch.float64, device=joined.device).index_add_(0, member, torch.cat(parts))
    return sums / sizes[:, None]


def _sample_scores(logits: Tensor, labels: Tensor) -> Tensor:
    """(correct, cross-entropy, Brier, in top five) of each sample, shape (samples, 4), float64."""
    logits = logits.double()
    probabilities = logits.softmax(dim=1)
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return torch.stack(
        [
            (logits.argmax(dim=1) == labels).double(),
            F.cross_entropy(logits, labels, reduction="none"),
            probabilities.square().sum(dim=1) - 2 * own + 1,
            (top == labels[:, None]).any(dim=1).double(),
        ],
        dim=1,
    )


def summarise(scores: ClientScores, sizes: np.ndarray) -> dict[str, float]:
    """The metrics of methods.md 1.4 over clients.

    Args:
        scores: one view's per-client results.
        sizes: test samples of each client.
    """
    accuracy = scores.accuracy
    worst = np.sort(accuracy)[: math.ceil(0.1 * len(accuracy))]
    return {
        "acc_mean": float(accuracy.mean()),
        "acc_weighted": float(np.average(accuracy, weights=sizes)),
        "acc_std": float(accuracy.std()),
        "acc_worst_decile": float(worst.mean()),
        "acc_min": float(accuracy.min()),
        "loss_mean": float(scores.loss.mean()),
        "brier_mean": float(scores.brier.mean()),
        "top5_mean": float(scores.top5.mean()),
    }


def cluster_quality(labels: np.ndarray, groups: np.ndarray | None) -> dict[str, float | int | None]:
    """How clusters agree with the true groups (methods.md 1.4).

    Args:
        labels: cluster of each client, shape (clients,).
        groups: true group of each client; None where the partition has none.

    Returns:
        Number of clusters in use, smallest and largest size, adjusted Rand index and purity (None without groups).
    """
    _, sizes = np.unique(labels, return_counts=True)
    quality: dict[str, float | int | None] = {
        "clusters": len(sizes),
        "cluster_smallest": int(sizes.min()),
        "cluster_largest": int(sizes.max()),
        "cluster_ari": None,
        "cluster_purity": None,
    }
    if groups is not None:
        from sklearn.metrics import adjusted_rand_score  # scikit-learn takes a second to import

        majority = sum(int(np.bincount(groups[labels == label]).max()) for label in np.unique(labels))
        quality["cluster_ari"] = float(adjusted_rand_score(groups, labels))
        quality["cluster_purity"] = majority / len(labels)
    return quality
