"""Methods that do the same at their defaults (benchmarks room): how far two of them are apart, against noise."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...leaderboard.reported import deployed_view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...records.record import Record

Runs: TypeAlias = "Mapping[tuple[int, bool], np.ndarray]"
"""What repetitions of a run came to, by seed and whether they drew other batches than the others of that seed."""

SETTINGS = ("groups", "sampled", "skewed")
"""The settings of the grid `defaults`, in its order."""

TOLD_APART = 1.0
"""The distance of two methods, in units of noise, up to which one cannot be told from the other."""


def setting(record: Record) -> str:
    """The name that the grid `defaults` gives to the setting of a run."""
    if record.cell["training"]["participation"] < 1:
        return "sampled"
    return "groups" if record.cell["partition"]["scheme"] == "latent-groups" else "skewed"


def losses(records: Sequence[Record]) -> dict[str, dict[str, Runs]]:
    """Test loss of every client's deployed model after the last round, by setting and label; shape (clients,).

    Nothing is chosen by it: it says whether two methods are one, not which is better.
    """

    def of_clients(record: Record) -> list[float]:
        view, last = f"{deployed_view([record])}.loss", record.rounds[-1]["round"]
        return [float(client[view] or 0) for client in record.clients if client["round"] == last]

    return _told(records, of_clients)


def accuracies(records: Sequence[Record]) -> dict[str, dict[str, Runs]]:
    """Validation accuracy after the last round in percent, mean over clients, by setting and label; shape (1,)."""
    return _told(records, lambda record: [float(record.rounds[-1]["val_acc_mean"] or 0)])


def apart(one: Runs, other: Runs) -> float:
    """How far two methods are apart, in units of noise: at most 1 where neither can be told from the other.

    A distance is the mean absolute difference over clients and seeds. Noise is that of a method to itself with other
    batches; the smaller one of the two counts, so that no method hides behind its own noise.
    """
    seeds = [seed for seed, varied in one if not varied]
    noise = min(fmean(_distance(runs[seed, False], runs[seed, True]) for seed in seeds) for runs in (one, other))
    return fmean(_distance(one[seed, False], other[seed, False]) for seed in seeds) / max(noise, 1e-12)


def alike(found: Mapping[str, Mapping[str, Runs]], labels: Sequence[str]) -> dict[tuple[str, str], dict[str, float]]:
    """Pairs of methods that cannot be told apart in any setting, nearest first, with `apart` by setting.

    Args:
        found: what `losses` or `accuracies` gave.
        labels: of the methods to compare, in pairs; those that did not run in every setting are left out.
    """
    ran = [label for label in labels if all(label in methods for methods in found.values())]
    pairs = {
        pair: {name: apart(*(methods[label] for label in pair)) for name, methods in found.items()}
        for pair in combinations(ran, 2)
    }
    near = {pair: by for pair, by in pairs.items() if max(by.values()) <= TOLD_APART}
    return dict(sorted(near.items(), key=lambda item: max(item[1].values())))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def _told(records: Sequence[Record], tell: Callable[[Record], list[float]]) -> dict[str, dict[str, Runs]]:
    """What finished runs come to, by setting, label and repetition."""
    found: dict[str, dict[str, dict[tuple[int, bool], np.ndarray]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.status == "done":
            place = record.repetition.seed, bool(record.repetition.varied)
            found[setting(record)][record.label][place] = np.array(tell(record))
    return {name: dict(methods) for name, methods in found.items()}
