"""What a next data set may bring (benchmarks room): predictive probabilities of a pair, and the Bayesian signed rank.

A test asks whether a method is better on the whole; whoever has one data set to train on asks how likely it is better
there. With N block differences of mean d and standard deviation s, the next one is

    blocks        d + s sqrt(1 + 1/N) t_{N-2}
    scale-free    Student(nu, mu_0, tau), over the posterior of the hierarchical model (bayes.py) of x_ij / u_i

A degree of freedom is given away, so that intervals hold where differences are skewed or of unequal spread, too
(docs/statistics.md). u_i is the standard deviation of a difference paired by seed on data set i, pooled over the
methods of the table: sqrt(2) times the residual of accuracies after methods and seeds. On a data set where everything
moves by ten points a lead of one point is little; the scale-free model counts it so. Seeds are taken for independent
there: correlated ones would leave less of a difference to the data set, and intervals that are too short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from fl_bench.streams import numpy_stream

from .bayes import RESOLUTION, sample_predictive, signed_rank_places
from .pairs import seed_differences
from .result import Belief, Prediction
from .study import SEED
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .result import Pair
    from .study import Study
    from .table import Table

    Array = NDArray[np.float64]

HIERARCHICAL_SEEDS, HIERARCHICAL_DATASETS = 5, 3
"""What the hierarchical model needs at least."""


def beliefs(study: Study, family: Sequence[Pair]) -> tuple[Belief, ...]:
    """The Bayesian signed rank of every pair; none with a ROPE of 0.

    Without a ROPE it is surer than .975 of something false more often than in one case of twenty (docs/statistics.md).
    """
    found: list[Belief] = []
    for pair in family if study.options.rope else ():
        differences = study.differences(pair.method, pair.other)
        places = signed_rank_places(differences, study.options.rope, numpy_stream(SEED, "signed rank"))
        found.append(Belief(pair.method, pair.other, places.worse, places.equivalent, places.better))
    return tuple(found)


def predictions(study: Study, pair: Pair, notes: list[str]) -> list[Prediction]:
    """All models of a pair; why one is not there is added to `notes`."""
    method, other, rope, alpha = pair.method, pair.other, study.options.rope, study.options.alpha
    found = []
    blocks = predict_block(study.differences(method, other), rope, alpha)
    if blocks is not None:
        found.append(Prediction(method, other, "blocks", *blocks))
    both = study.common((method, other))
    runs = seed_differences(both, method, other)
    seeds, datasets = min(map(len, runs)), len(runs)
    if seeds < HIERARCHICAL_SEEDS or datasets < HIERARCHICAL_DATASETS:
        notes.append(
            f"no scale-free prediction: it needs {HIERARCHICAL_SEEDS} seeds on each of {HIERARCHICAL_DATASETS} data "
            f"sets, the least are {seeds} on {datasets}"
        )
        return found
    units = [noise(study.table if study.complete else both, *names) for names in both.families.values()]
    scaled = [differences / unit for differences, unit in zip(runs, units, strict=True)]
    draws = sample_predictive(scaled, numpy_stream(SEED, "scale-free"), correlation=0.0)
    if draws is None:
        notes.append(f"no scale-free prediction of {method} and {other}: the chains of its model do not agree")
    else:
        low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
        worse, better = float((draws < 0).mean()), float((draws > 0).mean())
        found.append(Prediction(method, other, "scale-free", worse, 0.0, better, float(low), float(high)))
    return found


def predict_block(differences: Array, rope: float, alpha: float) -> tuple[float, float, float, float, float] | None:
    """P(worse), P(equivalent), P(better) and the predictive interval of the next difference.

    Args:
        differences: shape (blocks,), points.
        rope: half width of the region of practical equivalence, points.
        alpha: 0.05 for a 95 % interval.
    Returns:
        None with one or two blocks, or where all differences are equal.
    """
    values = settled(differences)
    count = len(values)
    if count < 3 or np.ptp(values) == 0:
        return None
    mean, spread = float(values.mean()), float(values.std(ddof=1)) * (1 + 1 / count) ** 0.5
    worse = float(special.stdtr(count - 2, (-rope - mean) / spread))
    better = float(special.stdtr(count - 2, (mean - rope) / spread))
    half = float(special.stdtrit(count - 2, 1 - alpha / 2)) * spread
    return worse, max(0.0, 1 - worse - better), better, mean - half, mean + half


def noise(table: Table, *datasets: str) -> float:
    """Standard deviation of a difference of two methods paired by seed, on a data set, pooled over methods; points.

    sqrt(2) times the residual of accuracies after methods and seeds, pooled over settings, with (methods - 1) times
    (seeds - 1) degrees of freedom each.

    Args:
        table: complete, two methods or more.
        datasets: of the table; the members of a family are pooled, too.
    """
    squares, degrees = 0.0, 0
    for condition in table.conditions:
        if condition.dataset in datasets:
            runs = condition.array()
            rest = runs - runs.mean(axis=0) - runs.mean(axis=1, keepdims=True) + runs.mean()
            squares += float((rest**2).sum())
            degrees += (runs.shape[0] - 1) * (runs.shape[1] - 1)
    return max(float(np.sqrt(2 * squares / degrees)), RESOLUTION)
