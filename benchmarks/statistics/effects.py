"""How large differences are (benchmarks room): hierarchical bootstrap, probability of improvement, wins and ties.

The hierarchical bootstrap draws data sets, then settings within each, then seeds within each, all with replacement
and the same for every method, so that differences stay paired. Its percentiles are widened for few data sets
(T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015): with D of them

    alpha'/2 = Phi( sqrt(D / (D - 1)) t_{alpha/2, D - 1} )

which makes the interval of a normal mean as wide as Student's. Where 2^(1 - D) > alpha there is no interval: all data
sets lie on one side of the truth with that probability, and no resample of them reaches it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .power import smallest_p
from .table import settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .table import Table

    Array = NDArray[np.float64]

DRAWS = 10_000
"""Bootstrap draws."""


def bootstrap_means(table: Table, draws: int, generator: np.random.Generator) -> Array:
    """Mean of every method over data sets, in resamples.

    Args:
        table: complete.
        draws: number of resamples.
        generator: where randomness comes from; methods take none of it, so their order and number change nothing.
    Returns:
        Shape (draws, methods).
    """
    nested = [
        [condition.array().T for condition in table.conditions if condition.dataset == dataset]
        for dataset in table.datasets
    ]
    total = np.zeros((draws, len(table.methods)))
    drawn = generator.integers(len(nested), size=(draws, len(nested)))
    for slot in drawn.T:
        for place, settings in enumerate(nested):
            rows = np.flatnonzero(slot == place)
            inner = generator.integers(len(settings), size=(len(rows), len(settings)))
            for column in inner.T:
                for which, runs in enumerate(settings):
                    hit = rows[column == which]
                    seeds = generator.integers(len(runs), size=(len(hit), len(runs)))
                    total[hit] += runs[seeds].mean(axis=1) / len(settings)
    return np.asarray(total / len(nested), dtype=float)


def overall_means(table: Table) -> Array:
    """Mean of every method over data sets, of means over settings, of means over seeds, shape (methods,)."""
    means: Array = table.block_means("dataset").mean(axis=0)
    return means


def wide_percentiles(draws: Array, datasets: int, alpha: float) -> tuple[Array, Array] | None:
    """The interval of a bootstrap, widened for few data sets; None for too few to hold the level.

    Args:
        draws: shape (draws, ...).
        datasets: D, the number of data sets that were resampled.
        alpha: 0.05 for a 95 % interval.
    """
    if smallest_p(datasets) > alpha:
        return None
    tail = float(special.ndtr(math.sqrt(datasets / (datasets - 1)) * special.stdtrit(datasets - 1, alpha / 2)))
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def probability_of_improvement(table: Table, method: str, other: str) -> float:
    """Share of runs, paired by seed, in which `method` beats `other`, ties counting half.

    Averaged over seeds, settings, then data sets (R. Agarwal et al., NeurIPS 2021, who pair every run with every other;
    here runs of one seed share clients and weights, so only they are compared).
    """
    a, b = table.methods.index(method), table.methods.index(other)
    shares = {
        dataset: [
            float(np.mean((np.sign(settled(values[a] - values[b])) + 1) / 2))
            for values in (condition.array() for condition in table.conditions if condition.dataset == dataset)
        ]
        for dataset in table.datasets
    }
    return float(np.mean([np.mean(share) for share in shares.values()]))


def win_tie_loss(differences: Array, margin: float) -> tuple[int, int, int]:
    """Blocks won and lost by more than the margin, and those between."""
    values = settled(differences)
    wins, losses = int((values > margin).sum()), int((values < -margin).sum())
    return wins, len(values) - wins - losses, losses
