"""How often tests over data sets of one family are right where the truth is known (benchmarks room).

    python -m fl_bench.benchmarks.statistics.calibration_families [SIMULATIONS]

prints the lines of docs/statistics.md on families. Two methods are equally good on the whole; their difference on a
data set has a part of its family and one of its own,

    difference[dataset, seed] = sqrt(8) (sqrt(rho) family[f(dataset)] + sqrt(1 - rho) own[dataset]) + noise

so that two data sets of one family correlate by rho before the noise. A twin is a data set whose rows all are rows of
another one: differences agree but for the noise of seeds (rho = 1).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from . import effects
from .calibration import ALPHA, INTERACTION, NOISE, SEEDS, Row, as_table, markdown
from .signed_rank import signed_rank
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SIMULATIONS = 2000

DESIGNS: tuple[tuple[str, tuple[int, ...], float], ...] = (
    ("9 families, one a twin pair", (2, *[1] * 8), 1.0),
    ("6 families of 7 data sets, one a twin pair", (2, *[1] * 5), 1.0),
    ("8 families, one of 3 data sets, correlation .5", (3, *[1] * 7), 0.5),
    ("8 families, one of 3 data sets, correlation .9", (3, *[1] * 7), 0.9),
    ("7 families, three of them pairs, correlation .9", (2, 2, 2, 1, 1, 1, 1), 0.9),
    ("6 families of 5 data sets each, correlation .9", (5,) * 6, 0.9),
)
"""A name, how many data sets each family has, and the correlation within a family."""

COVERED = 3
"""The design whose intervals are tried."""


def draw(generator: np.random.Generator, sizes: Sequence[int], correlation: float, simulations: int) -> Array:
    """Differences under the null, shape (simulations, data sets, seeds), rounded so that ties happen."""
    families = np.repeat(np.arange(len(sizes)), sizes)
    shared = generator.normal(size=(simulations, len(sizes)))[:, families]
    own = generator.normal(size=(simulations, len(families)))
    spread = INTERACTION * 2**0.5  # of a difference of two methods, each with its own ups and downs
    truth = spread * (correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
    noise = generator.normal(0, NOISE * 2**0.5, (simulations, len(families), SEEDS))
    return settled(np.round(truth[:, :, None] + noise, 1))


def calibrate_families(simulations: int = SIMULATIONS) -> list[Row]:
    """False claims for each design: data sets as blocks, families averaged first, signs turning by family."""
    rows = []
    for name, sizes, correlation in DESIGNS:
        generator = numpy_stream(0, "calibration of families", name)
        differences = draw(generator, sizes, correlation, simulations).mean(axis=2)
        families = np.repeat(np.arange(len(sizes)), sizes)
        labels = [str(family) for family in families]
        belongs = np.equal.outer(np.arange(len(sizes)), families)
        averages = differences @ (belongs / belongs.sum(axis=1, keepdims=True)).T
        found = {
            ("data sets as blocks", "wrong"): [signed_rank(row).p for row in differences],
            ("families averaged", "level"): [signed_rank(row).p for row in averages],
            ("signs turn by family", "level"): [signed_rank(row, labels).p for row in differences],
        }
        rows += [
            Row(f"{name}: {how}", kind, ALPHA, float(np.mean(np.array(p) <= ALPHA)), simulations)
            for (how, kind), p in found.items()
        ]
    return rows


def coverage(simulations: int) -> list[Row]:
    """How often the interval of a mean difference holds the truth, 0, with and without families."""
    name, sizes, correlation = DESIGNS[COVERED]
    generator = numpy_stream(0, "calibration of families", "coverage")
    families = {f"d{place:03d}": str(family) for place, family in enumerate(np.repeat(np.arange(len(sizes)), sizes))}
    hits = {"data sets as blocks": 0, "families": 0}
    for runs in draw(generator, sizes, correlation, simulations):
        table = as_table(np.stack([runs, np.zeros_like(runs)], axis=2))
        for how, read in (("data sets as blocks", table), ("families", table.with_families(families))):
            draws = effects.bootstrap_means(read, 2000, generator)
            interval = effects.wide_percentiles(draws[:, 0] - draws[:, 1], len(read.families), ALPHA)
            hits[how] += interval is not None and bool(interval[0] <= 0 <= interval[1])
    return [
        Row(f"{name}: bootstrap over {how}", "coverage", 1 - ALPHA, count / simulations, simulations)
        for how, count in hits.items()
    ]


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS
    print(markdown([*calibrate_families(asked), *coverage(max(asked // 2, 10))]))
