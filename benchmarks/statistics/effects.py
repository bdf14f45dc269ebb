"""How large differences are (benchmarks room): hierarchical bootstrap, probability of improvement, wins and ties.

The hierarchical bootstrap draws families of data sets, then data sets within each, then settings, then seeds, all with
replacement and the same for every method, so that differences stay paired. Its percentiles are widened for few families
(T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015): with D of them

    alpha'/2 = Phi( sqrt(D / (D - 1)) t_{alpha/2, D - 1} )

which makes the interval of a normal mean as wide as Student's. Where 2^(1 - D) > alpha there is no interval: all
families lie on one side of the truth with that probability, and no resample of them reaches it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from .power import smallest_p
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .table import Table

    Array = NDArray[np.float64]

DRAWS = 10_000
"""Bootstrap draws."""


def bootstrap_means(table: Table, draws: int, generator: np.random.Generator) -> Array:
    """Mean of every method over families of data sets, in resamples.

    Args:
        table: complete.
        draws: number of resamples.
        generator: where randomness comes from; methods take none of it, so their order and number change nothing.
    Returns:
        Shape (draws, methods).
    """
    total = np.zeros((draws, len(table.methods)))
    runs = [[_runs(table, dataset) for dataset in datasets] for datasets in table.families.values()]
    drawn = generator.integers(len(runs), size=(draws, len(runs)))
    for slot in drawn.T:
        for place, family in enumerate(runs):
            _add(total, np.flatnonzero(slot == place), family, 1, generator)
    return np.asarray(total / len(runs), dtype=float)


def _runs(table: Table, dataset: str) -> list[Array]:
    """The accuracies of a data set in each of its settings, each of shape (seeds, methods)."""
    return [condition.array().T for condition in table.conditions if condition.dataset == dataset]


def _add(
    total: Array, rows: NDArray[np.intp], parts: Sequence[Any], share: int, generator: np.random.Generator
) -> None:
    """Add resampled means to some rows: of parts drawn with replacement, or of seeds where the parts are arrays.

    Args:
        total: shape (draws, methods); changed.
        rows: which draws.
        parts: data sets, each a list of settings; or settings, each an array of shape (seeds, methods).
        share: what the sum is divided by, for parts of parts.
        generator: where randomness comes from.
    """
    drawn = generator.integers(len(parts), size=(len(rows), len(parts)))
    for slot in drawn.T:
        for place, part in enumerate(parts):
            hit = rows[slot == place]
            if isinstance(part, list):
                _add(total, hit, part, share * len(parts), generator)
            else:
                seeds = generator.integers(len(part), size=(len(hit), len(part)))
                total[hit] += part[seeds].mean(axis=1) / (share * len(parts))


def overall_means(table: Table) -> Array:
    """Mean of every method over families, of means over data sets, settings and seeds, shape (methods,)."""
    means: Array = table.block_means("family").mean(axis=0)
    return means


def wide_percentiles(draws: Array, families: int, alpha: float) -> tuple[Array, Array] | None:
    """The interval of a bootstrap, widened for few families; None for too few to hold the level.

    Args:
        draws: shape (draws, ...).
        families: D, the number of families of data sets that were resampled.
        alpha: 0.05 for a 95 % interval.
    """
    if smallest_p(families) > alpha:
        return None
    tail = float(special.ndtr(math.sqrt(families / (families - 1)) * special.stdtrit(families - 1, alpha / 2)))
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def probability_of_improvement(table: Table, method: str, other: str) -> float:
    """Share of runs, paired by seed, in which `method` beats `other`, ties counting half.

    Averaged over seeds, settings, data sets, then families (R. Agarwal et al., NeurIPS 2021, who pair every run with
    every other; here runs of one seed share clients and weights, so only they are compared).
    """
    a, b = table.methods.index(method), table.methods.index(other)
    shares = {
        dataset: np.mean([np.mean((np.sign(settled(at[:, a] - at[:, b])) + 1) / 2) for at in _runs(table, dataset)])
        for dataset in table.datasets
    }
    return float(np.mean([np.mean([shares[name] for name in names]) for names in table.families.values()]))


def win_tie_loss(differences: Array, margin: float) -> tuple[int, int, int]:
    """Blocks won and lost by more than the margin, and those between."""
    values = settled(differences)
    wins, losses = int((values > margin).sum()), int((values < -margin).sum())
    return wins, len(values) - wins - losses, losses
