"""How often every printed test and interval is right where the truth is known (benchmarks room).

    python -m fl_bench.benchmarks.statistics.calibration [SIMULATIONS]

prints the table of docs/statistics.md. The null has an interaction of method and data set, as real comparisons have:
every method is a little better on some data sets and a little worse on others, and none is better on the whole:

    score[dataset, seed, method] = difficulty[dataset] + interaction[dataset, method] + noise[dataset, seed, method]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from fl_bench.streams import numpy_stream

from . import bayes, effects, ranks
from .multiple import holm
from .per_dataset import bca_interval, t_interval
from .signed_rank import signed_rank
from .table import DONE, Condition, Table
from .verdicts import many

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ALPHA = 0.05

INTERACTION, NOISE = 2.0, 1.0
"""Standard deviations in points: of a method's ups and downs over data sets, and of seeds."""

DATASETS, SEEDS, METHODS = 10, 5, 5
"""The design that is simulated unless a row says otherwise."""

SIMULATIONS = 4000


@dataclass(frozen=True)
class Row:
    """One line of the calibration table."""

    name: str
    kind: str
    """`level`: the share of false claims, at most `nominal`; `power`: of true ones, equal to `nominal`; `coverage`: of
    intervals that hold the truth, at least `nominal`; `belief`: of posteriors that are sure of something false, which
    no theorem bounds; `wrong`: a practice that the project refuses, for show."""
    nominal: float
    rate: float
    simulations: int

    @property
    def error(self) -> float:
        """Standard error of the rate if it were nominal."""
        return float(np.sqrt(self.nominal * (1 - self.nominal) / self.simulations))


def null_scores(
    generator: np.random.Generator, datasets: int = DATASETS, seeds: int = SEEDS, methods: int = METHODS
) -> Array:
    """Scores under the null, shape (datasets, seeds, methods), rounded to a tenth so that ties happen."""
    difficulty = generator.uniform(50, 95, (datasets, 1, 1))
    interaction = generator.normal(0, INTERACTION, (datasets, 1, methods))
    noise = generator.normal(0, NOISE, (datasets, seeds, methods))
    return np.round(difficulty + interaction + noise, 1)


def calibrate(simulations: int = SIMULATIONS) -> list[Row]:
    """All rows; those of the slow tests take fewer simulations."""
    few = max(simulations // 4, 10)
    return [
        *levels(simulations),
        *on_one_dataset(few),
        *coverage(few),
        *bayesian(few),
        *powers(simulations),
        *wrong(simulations),
    ]


def levels(simulations: int) -> list[Row]:
    """False claims of the tests over data sets."""
    critical = ranks.critical_difference(METHODS, DATASETS, ALPHA)
    error = ranks.rank_error(METHODS, DATASETS)
    pairs = [(one, other) for one in range(METHODS) for other in range(one + 1, METHODS)]

    def claims(generator: np.random.Generator) -> list[bool]:
        scores = null_scores(generator).mean(axis=1)
        p = {pair: signed_rank(scores[:, pair[0]] - scores[:, pair[1]]).p for pair in pairs}
        control = [p[0, other] for other in range(1, METHODS)]
        found, means = ranks.friedman(scores), ranks.mean_ranks(scores)
        z_p = 2 * special.ndtr(-np.abs(means[0] - means[1:]) / error)
        holes = scores.copy()
        holes[generator.permutation(DATASETS)[:METHODS], np.arange(METHODS)] = np.nan
        return [
            control[0] <= ALPHA,
            holm(control).min() <= ALPHA,
            holm(list(p.values())).min() <= ALPHA,
            found.chi2_p <= ALPHA,
            found.f_p <= ALPHA,
            bool(np.ptp(means) >= critical),
            holm(z_p).min() <= ALPHA,
            ranks.skillings_mack(holes)[2] <= ALPHA,
        ]

    names = [
        "signed rank, one pair",
        "signed rank, 4 against a control, Holm (any)",
        "signed rank, all 10 pairs, Holm (any)",
        "Friedman chi-square",
        "Iman-Davenport F",
        "Nemenyi, all pairs (any)",
        "mean ranks against a control, Holm (any)",
        "Skillings-Mack, one gap per method",
    ]
    return _rows(names, "level", ALPHA, claims, simulations)


def on_one_dataset(simulations: int) -> list[Row]:
    """False claims and coverage on single data sets, where the null is no difference on any of them."""

    def claims(generator: np.random.Generator) -> list[bool]:
        differences = generator.normal(0, NOISE, (DATASETS, SEEDS))
        intervals = [t_interval(row, ALPHA / DATASETS) for row in differences]
        p = [interval[2] for interval in intervals if interval is not None]
        return [holm(p).min() <= ALPHA]

    def covered(generator: np.random.Generator) -> list[bool]:
        differences = generator.normal(1, NOISE, (DATASETS, SEEDS))
        student = [t_interval(row, ALPHA / DATASETS) for row in differences]
        bca = [bca_interval(generator.normal(1, NOISE, seeds), ALPHA, generator, least=5) for seeds in (SEEDS, 20)]
        return [
            all(interval is not None and interval[0] <= 1 <= interval[1] for interval in student),
            *(interval is not None and interval[0] <= 1 <= interval[1] for interval in bca),
        ]

    rows = _rows(["t on 10 data sets, 5 seeds, Holm (any)"], "level", ALPHA, claims, simulations)
    names = [
        "t on 10 data sets, 5 seeds, simultaneous (all)",
        "BCa on one data set, 5 seeds (too short, not printed)",
        "BCa on one data set, 20 seeds",
    ]
    return rows + _rows(names, "coverage", 1 - ALPHA, covered, simulations)


def coverage(simulations: int) -> list[Row]:
    """Coverage of intervals over data sets. The truth of a mean difference is 1 point, of a mean rank (k + 1) / 2."""
    names, sizes = [], (6, 10, 20)
    for datasets in sizes:
        names.append(f"hierarchical bootstrap of a mean difference, {datasets} data sets")
    names.append("bootstrap of a mean rank, 10 data sets")

    def covered(generator: np.random.Generator) -> list[bool]:
        found = []
        for datasets in sizes:
            scores = null_scores(generator, datasets, methods=2) + np.array([1.0, 0.0])
            draws = effects.bootstrap_means(as_table(scores), 2000, generator)
            found.append(_holds(effects.wide_percentiles(draws[:, 0] - draws[:, 1], datasets, ALPHA), 1.0))
        means = null_scores(generator).mean(axis=1)
        drawn = ranks.bootstrap_ranks(means, [str(place) for place in range(DATASETS)], 2000, generator)
        found.append(_holds(effects.wide_percentiles(drawn[:, 0], DATASETS, ALPHA), (METHODS + 1) / 2))
        return found

    return _rows(names, "coverage", 1 - ALPHA, covered, simulations)


def bayesian(simulations: int) -> list[Row]:
    """How often a posterior above 95 % is wrong."""

    def claims(generator: np.random.Generator) -> list[bool]:
        scores = null_scores(generator, methods=2).mean(axis=1)
        places = bayes.signed_rank_places(scores[:, 0] - scores[:, 1], 0.0, generator)
        close = null_scores(generator, methods=2).mean(axis=1)
        near = bayes.signed_rank_places(close[:, 0] - close[:, 1], 1.0, generator)
        return [max(places.better, places.worse) > 0.975, max(near.better, near.worse) > 0.975]

    names = ["Bayesian signed rank, P > .975 for better or worse, ROPE 0", "the same, ROPE 1"]
    return _rows(names, "belief", ALPHA, claims, simulations)


def powers(simulations: int) -> list[Row]:
    """Power where theory has it: with N blocks at the edge of power only one sign throughout rejects.

    For differences Normal(delta, 1) that happens with probability Phi(delta)^N + Phi(-delta)^N.
    """
    rows = []
    for blocks, tests in ((6, 1), (8, 4)):
        for delta in (0.5, 1.0, 2.0):
            theory = float(stats.norm.cdf(delta) ** blocks + stats.norm.cdf(-delta) ** blocks)

            def claims(
                generator: np.random.Generator, blocks: int = blocks, tests: int = tests, delta: float = delta
            ) -> list[bool]:
                return [signed_rank(generator.normal(delta, 1, blocks)).p <= ALPHA / tests]

            name = f"signed rank, {blocks} blocks, shift of {delta:g} standard deviations, level .05 / {tests}"
            rows += _rows([name], "power", theory, claims, simulations)
    return rows


def wrong(simulations: int) -> list[Row]:
    """What comes of taking seeds for independent blocks."""
    designs = ((1, 10), (1, 100), (4, 5), (4, 20), (10, 5), (10, 20))

    def claims(generator: np.random.Generator) -> list[bool]:
        found = []
        for datasets, seeds in designs:
            scores = null_scores(generator, datasets, seeds, 2)
            found.append(signed_rank((scores[:, :, 0] - scores[:, :, 1]).ravel()).p <= ALPHA)
        return found

    names = [f"seeds as blocks: {many(datasets, 'data set')} x {seeds} seeds" for datasets, seeds in designs]
    return _rows(names, "wrong", ALPHA, claims, simulations)


def markdown(rows: Sequence[Row]) -> str:
    """The table of docs/statistics.md."""
    words = {"level": "false claims", "coverage": "coverage", "power": "power"}
    words |= {"belief": "sure and wrong", "wrong": "false claims (!)"}
    lines = ["| test or interval | what | nominal | measured | simulations |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {words[row.kind]} | {row.nominal:.3f} | {row.rate:.3f} | {row.simulations} |" for row in rows
    ]
    return "\n".join(lines)


def _rows(
    names: Sequence[str],
    kind: str,
    nominal: float,
    simulate: Callable[[np.random.Generator], list[bool]],
    simulations: int,
) -> list[Row]:
    generator = numpy_stream(0, "calibration", names[0])
    counts = np.sum([simulate(generator) for _ in range(simulations)], axis=0)
    return [
        Row(name, kind, nominal, float(count) / simulations, simulations)
        for name, count in zip(names, counts, strict=True)
    ]


def _holds(interval: tuple[Array, Array] | None, truth: float) -> bool:
    return interval is not None and bool(interval[0] <= truth <= interval[1])


def as_table(scores: Array) -> Table:
    """A table of simulated scores of shape (data sets, seeds, methods)."""
    methods = tuple(f"m{place}" for place in range(scores.shape[2]))
    conditions = tuple(
        Condition(
            dataset=f"d{place:03d}",
            setting="",
            setting_text="",
            classes=None,
            seeds=tuple(range(len(runs))),
            accuracy=tuple(tuple(row) for row in runs.T.tolist()),
            status=((DONE,) * len(runs),) * len(methods),
        )
        for place, runs in enumerate(scores)
    )
    return Table(methods, conditions, selection="simulated", tuning="none")


if __name__ == "__main__":
    print(markdown(calibrate(*map(int, sys.argv[1:]))))
