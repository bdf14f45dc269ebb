"""The evaluator: opens the sealed labels, scores deployed models, and hands back numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from .forward import CHUNK, side_by_side, stacked_outputs
from .memory import LONGEST, in_pieces, samples_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from .data import FederatedData
    from .deployed import Deployed

SPAN = 4
"""Forward passes that a thread takes on at a time."""


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


def evaluate(deployed: Deployed, data: FederatedData, rows: Sequence[Tensor], *, threads: int = 1) -> ClientScores:
    """Score each member's model on the member's rows.

    Args:
        deployed: the models, and which member uses which.
        data: the federation's data; its sealed labels are opened for metrics only.
        rows: dataset rows of each member.
        threads: forward passes at a time, on a CPU.
    """
    members = range(len(rows))
    with torch.inference_mode():
        if deployed.index is None:
            models, served = list(range(len(deployed))), [list(members)] * len(deployed)
        else:
            owner = deployed.index
            models = sorted(set(owner))
            served = [[member for member in members if owner[member] == model] for model in models]
        parts = [[rows[member] for member in mine] for mine in served]
        scores = _scores(deployed, models, [torch.cat(part) for part in parts], data, threads)
        tables = [_means(score, [own.numel() for own in part]) for score, part in zip(scores, parts, strict=True)]
        if deployed.index is None:
            every = torch.stack(tables)
            best = every[:, :, 0].nan_to_num(-1.0).argmax(dim=0)
            table = every[best, torch.arange(len(rows), device=best.device)]
        else:
            found = torch.cat(tables)
            place = torch.tensor([member for mine in served for member in mine], device=found.device)
            table = found.new_empty(len(rows), 4)
            table[place] = found
    accuracy, loss, brier, top5 = table.cpu().numpy().T
    return ClientScores(100.0 * accuracy, loss, brier, 100.0 * top5)


def sample_losses(deployed: Deployed, model: int, rows: Sequence[Tensor], data: FederatedData) -> list[np.ndarray]:
    """Cross-entropy of one model on each sample of some sets, nats, float64 of shape (samples,) each.

    Args:
        deployed: the models.
        model: which of them.
        rows: dataset rows of each set; their sealed labels are opened for metrics only.
        data: the federation's data.
    """
    with torch.inference_mode():
        (scores,) = _scores(deployed, [model], [torch.cat(list(rows))], data, 1)
        return [part[:, 1].cpu().numpy() for part in torch.split(scores, [own.numel() for own in rows])]


def one_model(views: Sequence[Deployed]) -> bool:
    """Whether one and the same model serves all members of all cohorts."""
    weights = [next(iter(deployed.weights.values())) for deployed in views]
    return all(len(tensor) == 1 and tensor.data_ptr() == weights[0].data_ptr() for tensor in weights)


def _scores(
    deployed: Deployed, models: Sequence[int], rows: Sequence[Tensor], data: FederatedData, threads: int
) -> Sequence[Tensor]:
    """The scores of each model on its rows, shape (samples, 4) each."""
    logits = _stacked_logits if data.device.type == "cuda" and len(models) > 1 else _looped_logits
    labels = data.sealed_labels.open_for_evaluation()[torch.cat(list(rows))]
    # The GPU of a Mac has no float64.
    where = torch.device("cpu") if data.device.type == "mps" else data.device
    scores = _sample_scores(logits(deployed, models, rows, data, threads).to(where), labels.to(where))
    return torch.split(scores, [own.numel() for own in rows])


def _looped_logits(
    deployed: Deployed, models: Sequence[int], rows: Sequence[Tensor], data: FederatedData, threads: int
) -> Tensor:
    """Logits of each model on its rows, one model after the other, shape (samples of all, classes)."""
    jobs = [(model, piece) for model, own in zip(models, rows, strict=True) for piece in torch.split(own, SPAN * CHUNK)]
    chunk = CHUNK if data.device.type == "cpu" else LONGEST

    def outputs(module: nn.Module, job: int) -> Tensor:
        model, piece = jobs[job]
        with torch.inference_mode():
            return torch.cat(
                [deployed.logits(model, data.inputs_of(part), module) for part in torch.split(piece, chunk)]
            )

    done = side_by_side(deployed.module, threads, range(len(jobs)), outputs)
    return torch.cat([done[job] for job in range(len(jobs))])


def _stacked_logits(
    deployed: Deployed, models: Sequence[int], rows: Sequence[Tensor], data: FederatedData, threads: int
) -> Tensor:
    """The same with all models at once, their rows padded to the most that a model has."""
    padded = pad_sequence(list(rows), batch_first=True)
    weights = {name: tensor[list(models)] for name, tensor in deployed.weights.items()}
    most = samples_at_once(deployed.module, len(models), data.about.shape, data.dtype, data.device)
    pieces: list[Tensor] = []

    def run(columns: Sequence[int]) -> None:
        inputs = data.inputs_of(padded[:, columns[0] : columns[-1] + 1])
        pieces.append(stacked_outputs(deployed.module.eval(), weights, inputs, shared=False))

    in_pieces(range(padded.shape[1]), most, run)
    logits = torch.cat(pieces, dim=1)
    return torch.cat([logits[place, : own.numel()] for place, own in enumerate(rows)])


def _means(scores: Tensor, sizes: Sequence[int]) -> Tensor:
    """Means over members' samples, shape (members, 4); always summed in one order, on a GPU too."""
    sums = pad_sequence(list(torch.split(scores, list(sizes))), batch_first=True).sum(dim=1)
    return sums / torch.tensor(sizes, device=scores.device)[:, None]


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
    """The metrics of methods.md 1.4 over the clients that have test samples.

    Args:
        scores: one view's per-client results.
        sizes: test samples of each client; some client has one.
    """
    tested = sizes > 0
    accuracy = scores.accuracy[tested]
    worst = np.sort(accuracy)[: math.ceil(0.1 * len(accuracy))]
    return {
        "acc_mean": float(accuracy.mean()),
        "acc_weighted": float(np.average(accuracy, weights=sizes[tested])),
        "acc_std": float(accuracy.std()),
        "acc_worst_decile": float(worst.mean()),
        "acc_min": float(accuracy.min()),
        "loss_mean": float(scores.loss[tested].mean()),
        "brier_mean": float(scores.brier[tested].mean()),
        "top5_mean": float(scores.top5[tested].mean()),
    }


def cluster_quality(labels: np.ndarray, groups: np.ndarray | None) -> dict[str, float | int | None]:
    """How clusters agree with the true groups (methods.md 1.4).

    Args:
        labels: cluster of each client, shape (clients,); -1 for a client without one, who is left out.
        groups: true group of each client; None where the partition has none.

    Returns:
        Clients that have a cluster, number of clusters in use, smallest and largest size, adjusted Rand index and
        purity (None without groups).
    """
    placed = labels >= 0
    labels, groups = labels[placed], None if groups is None else groups[placed]
    _, sizes = np.unique(labels, return_counts=True)
    quality: dict[str, float | int | None] = {
        "cluster_clients": len(labels),
        "clusters": len(sizes),
        "cluster_smallest": int(sizes.min(initial=len(labels))),
        "cluster_largest": int(sizes.max(initial=0)),
        "cluster_ari": None,
        "cluster_purity": None,
    }
    if groups is not None and len(labels):
        from sklearn.metrics import adjusted_rand_score  # scikit-learn takes a second to import

        majority = sum(int(np.bincount(groups[labels == label]).max()) for label in np.unique(labels))
        quality["cluster_ari"] = float(adjusted_rand_score(groups, labels))
        quality["cluster_purity"] = majority / len(labels)
    return quality
