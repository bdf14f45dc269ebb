"""The row of a round: what was scored, sent and done, as plain values for the record (federation room)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import Diverged

from .evaluation import ClientScores, cluster_quality, evaluate, one_model, summarise

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .data import FederatedData
    from .deployed import Deployed
    from .faults import Met, Place
    from .work import WorkLog

HOPELESS = 1000.0
"""A training loss of so many times that of even guessing, ln C, is a diverged run, finite or not."""

BRIER_DECIMALS = 6
"""Decimals of Brier scores in rows of clients: full ones would make records a third larger and say no more."""


@dataclass(frozen=True)
class RoundRow:
    """The results of one round."""

    values: dict[str, float | int | None]
    """Flat and ordered; clocks start with `seconds_`. None: not defined for this method or round."""
    clients: list[dict[str, float | int | str | None]]
    """One row per client."""


class Scoring:
    """The views of one round, scored on every client's test data.

    Args:
        data: the federation's data; its sealed labels are opened for metrics only.
        threads: forward passes at a time, on a CPU.
    """

    def __init__(self, data: FederatedData, threads: int) -> None:
        self._data = data
        self._threads = threads
        self._test, self._validation = data.test.split(), data.validation.split()
        self._scored: dict[str, list[tuple[Sequence[int], ClientScores]]] = {}
        self._held_out: list[tuple[Sequence[int], ClientScores]] = []
        self._served: dict[str, list[Deployed]] = {}

    def add(self, ids: Sequence[int], views: Mapping[str, Deployed], *, headline: str) -> None:
        """Score the views of some clients; the one called `headline` on their validation data too."""
        data = self._data
        for view, deployed in views.items():
            rows = [self._test[client] for client in ids]
            self._scored.setdefault(view, []).append((ids, evaluate(deployed, data, rows, threads=self._threads)))
            self._served.setdefault(view, []).append(deployed)
        if data.validation.rows.numel():
            kept = [self._validation[client] for client in ids]
            self._held_out.append((ids, evaluate(views[headline], data, kept, threads=self._threads)))

    def joined(self) -> dict[str, ClientScores]:
        """The scores of all clients, by view.

        Raises:
            Diverged: a loss of a client that has test samples is not finite.
        """
        tested = np.array(self._data.test.sizes) > 0
        joined = {view: ClientScores.join(parts, self._data.clients) for view, parts in self._scored.items()}
        for view, scores in joined.items():
            if not np.isfinite(scores.loss[tested]).all():
                raise Diverged(f"the test loss of view {view} is not finite")
        return joined

    def metrics(
        self, joined: Mapping[str, ClientScores], draws: np.ndarray, poisoned: Collection[int] = ()
    ) -> dict[str, float | int | None]:
        """The metrics of every view over clients, and validation accuracy.

        Args:
            joined: the scores of all clients, by view.
            draws: rounds so far for which each client was drawn, shape (clients,).
            poisoned: clients that do harm; where there are any, `acc_honest` is the accuracy over the others.
        """
        data, clients = self._data, self._data.clients
        sizes = np.array(data.test.sizes)
        metrics: dict[str, float | int | None] = {}
        for view, scores in joined.items():
            metrics.update({f"{view}.{name}": value for name, value in summarise(scores, sizes).items()})
            metrics.update({f"{view}.{name}": value for name, value in by_draw(scores, sizes, draws).items()})
            if poisoned:
                metrics[f"{view}.acc_honest"] = honest(scores, sizes, poisoned)
            served = self._served[view]
            if clients > 1 and data.global_test.numel() and one_model(served):
                alone = replace(served[0], index=(0,))
                everywhere = evaluate(alone, data, [data.global_test], threads=self._threads)
                metrics[f"{view}.acc_global_test"] = float(everywhere.accuracy[0])
        held_out = self._held_out
        metrics["val_acc_mean"] = float(np.nanmean(ClientScores.join(held_out, clients).accuracy)) if held_out else None
        return metrics


def by_draw(scores: ClientScores, sizes: np.ndarray, draws: np.ndarray) -> dict[str, float | None]:
    """Accuracy over clients that took part and over those that never did, which differ where few are drawn.

    Args:
        scores: one view's per-client results.
        sizes: test samples of each client.
        draws: rounds so far for which each client was drawn, shape (clients,).

    Returns:
        `acc_drawn`, the mean accuracy over the clients with test samples that were drawn for at least one round so far;
        `acc_new`, that over those with test samples that never were. None where there is no such client.
    """
    kinds = {"acc_drawn": draws > 0, "acc_new": draws == 0}
    found = {name: scores.accuracy[chosen & (sizes > 0)] for name, chosen in kinds.items()}
    return {name: float(accuracy.mean()) if accuracy.size else None for name, accuracy in found.items()}


def honest(scores: ClientScores, sizes: np.ndarray, poisoned: Collection[int]) -> float | None:
    """Mean accuracy over the clients with test samples that are not poisoned; None where there is none.

    Args:
        scores: one view's per-client results.
        sizes: test samples of each client.
        poisoned: the clients that do harm.
    """
    chosen = (sizes > 0) & ~np.isin(np.arange(len(sizes)), list(poisoned))
    return float(scores.accuracy[chosen].mean()) if chosen.any() else None


def fault_counts(met: Met, index: int, absent: Mapping[int, Place], cut: Collection[int]) -> dict[str, int]:
    """How many clients the faults of round `index` met; only of faults that the run has.

    `absent_before_upload` and `absent_after_download`: of the participants, who went absent there. `not_joined`: who
    could not be drawn yet. `cut_short`: who had more to do than the deadline left.

    Args:
        met: the faults of the run.
        index: the round, from 0.
        absent: who went absent, and where.
        cut: who was cut short.
    """
    faults, places = met.faults, list(absent.values())
    here: tuple[Place, ...] = (
        ("before_upload", "after_download") if faults.absent_at == "either" else (faults.absent_at,)
    )
    return {
        **({f"absent_{place}": places.count(place) for place in here} if faults.absent else {}),
        **({"not_joined": sum(first > index for first in met.joins)} if faults.late else {}),
        **({"cut_short": len(cut)} if faults.deadline is not None else {}),
    }


def training_losses(work: WorkLog, classes: int) -> dict[str, float | None]:
    """Mean training loss of each kind of work; None where there was none.

    That of `local` is the mean over clients of the cross-entropy on private samples in their first pass of the round,
    which is one quantity in every method; the others are means of whatever the method descends.

    Raises:
        Diverged: a loss is hopeless, or not a number.
    """
    losses = {kind: work.mean_loss(kind) for kind in ("local", "distill", "server")}
    hopeless = HOPELESS * math.log(max(2, classes))
    for kind, loss in losses.items():
        if loss is not None and not loss <= hopeless:
            raise Diverged(
                f"the mean {kind} training loss is {loss:.3g}; guessing evenly would have {hopeless / HOPELESS:.3g}"
            )
    return {**losses, "local": work.mean_cross_entropy()}


def cluster_metrics(clusters: np.ndarray | None, groups: np.ndarray | None) -> dict[str, float | int | None]:
    """How clusters agree with the true groups; nothing for a method without clusters."""
    return {} if clusters is None else cluster_quality(clusters, groups)


def client_rows(
    index: int,
    data: FederatedData,
    architectures: Sequence[str],
    clusters: np.ndarray | None,
    groups: np.ndarray | None,
    joined: Mapping[str, ClientScores],
    draws: np.ndarray,
    *,
    risks: bool,
) -> list[dict[str, float | int | str | None]]:
    """A row per client of round `index`: who it is, for how many rounds so far it was drawn, and its scores.

    Those are its accuracy and loss in every view (None without samples); with `risks` its Brier score as well, to
    `BRIER_DECIMALS` decimals.
    """
    columns = {
        f"{view}.{short}": column
        for view, scores in joined.items()
        for short, column in (
            ("acc", scores.accuracy),
            ("loss", scores.loss),
            *((("brier", scores.brier.round(BRIER_DECIMALS)),) if risks else ()),
        )
    }
    return [
        {
            "round": index,
            "client": client,
            "group": None if groups is None else int(groups[client]),
            "model": architectures[client],
            "train_size": data.train.sizes[client],
            "test_size": data.test.sizes[client],
            "cluster": None if clusters is None else int(clusters[client]),
            "draws": int(draws[client]),
            **{name: float(column[client]) if data.test.sizes[client] else None for name, column in columns.items()},
        }
        for client in range(data.clients)
    ]
