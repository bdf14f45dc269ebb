"""The chance to detect a difference, and what it would take (benchmarks room): a design, and the spread seen so far.

The test is the very one that is used, the exact signed rank with Holm over the family, on simulated block differences

    D = Z R / sqrt(B - 1)        Z: standard normal, R: the B residuals seen, one column per method

which have the covariances that were seen, of methods that share a control too. One method then differs by so many
points and the others by nothing, which is where Holm asks for most: p <= alpha / methods. With other numbers of seeds
the variance of a column is between + within / seeds, its two parts as they were seen.

On one data set rows are seeds, and the test is Student's t of differences paired by seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from fl_bench.errors import DataError
from fl_bench.streams import numpy_stream

from .pairs import seed_differences
from .power import blocks_needed, smallest_p
from .signed_rank import chances_of_sums
from .study import SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .study import Study

    Array = NDArray[np.float64]

EFFECTS = (1.0, 2.0, 3.0)
"""Differences whose chance is told, points."""

WANTED = 0.8
"""The chance that a design should have."""

SIMULATIONS = 2000
"""Simulated comparisons; the standard error of a chance is 0.011 at most."""

ALIKE = 1e-18
"""Variances below are rounding: differences that agree to nine decimals are equal."""

MOST = 100
"""Blocks, and seeds on one data set, up to which a design is looked for."""

SEEDS = (1, 3, 5, 10, 20)
"""Seeds for which the number of blocks is told."""


@dataclass(frozen=True)
class Spread:
    """How the differences between a control and the methods of a family vary, as seen so far."""

    control: str
    methods: tuple[str, ...]
    residuals: Array
    """Block differences less their mean, shape (blocks, methods); of seeds, where there is one block."""
    within: Array | None
    """Variance of a block difference that comes from one seed, by method, points squared; None from single seeds."""
    seeds: float
    """Seeds per block that were seen, mean."""
    one_block: bool = False
    """Whether rows are seeds on one data set."""

    @property
    def variances(self) -> Array:
        """Of a difference, by method, points squared."""
        found: Array = self.residuals.var(axis=0, ddof=1)
        return found

    def p(self, differences: Array) -> Array:
        """Two-sided p values of simulated differences, rows along the second axis, by the test that is used."""
        return _paired_t(differences) if self.one_block else _signed_rank(differences)

    def scales(self, seeds: int | None) -> Array:
        """What a residual is multiplied by to be one of a mean over so many seeds; None: as many as were seen."""
        if seeds is None or self.within is None:
            return np.ones(len(self.methods))
        total = self.variances
        between = np.maximum(0.0, total - self.within / self.seeds)
        factors: Array = np.sqrt((between + self.within / seeds) / np.where(total > 0, total, 1.0))
        return factors


@dataclass(frozen=True)
class Chance:
    """How likely the difference between the control and one method is detected."""

    method: str
    spread: float
    """Standard deviation of a difference over blocks (over seeds, on one data set), points."""
    from_seeds: float | None
    """Share of its variance that comes from seeds; None where each block has one."""
    chances: tuple[float, ...] | None
    """For `EFFECTS`; None where all differences that were seen are equal, which tells nothing of others."""


@dataclass(frozen=True)
class Need:
    """What it takes to detect differences with the chance `WANTED`."""

    seeds: int | None
    """Per block; None on one data set, where seeds are what is needed."""
    needed: tuple[int | None, ...]
    """Blocks, or seeds on one data set, for `EFFECTS`; None: more than `MOST`."""


@dataclass(frozen=True)
class Power:
    """What a design can be expected to show, for one family of tests; see `chances.py`."""

    family: str
    tests: int
    control: str
    alpha: float
    blocks: int
    seeds: int
    floor: int
    """Blocks below which no test can reject, whatever the differences."""
    seen_blocks: int
    seen_seeds: float
    rows: tuple[Chance, ...]
    typical: str
    """The method of median spread, to which `needs` belong; of those whose differences are not all equal."""
    needs: tuple[Need, ...]


def spread_of(study: Study, methods: Sequence[str]) -> Spread:
    """How the differences between the control of a study and some methods vary.

    Raises:
        DataError: there is no control, or nothing that varies: one data set with one seed.
    """
    control = study.control
    if control is None:
        raise DataError("power is that of tests against a control, and there is none; name it with --control")
    runs = {other: seed_differences(study.common((control, other)), control, other) for other in methods}
    counts = [len(row) for row in runs[methods[0]]]
    if len(study.scores) == 1:
        columns = np.stack([np.mean(runs[other], axis=0) for other in methods], axis=1)
        if len(columns) < 2:
            raise DataError(
                "one data set (or family of data sets) with one seed shows no spread, so power cannot be estimated; "
                "run at least a second one, or a second seed"
            )
        return Spread(control, tuple(methods), columns - columns.mean(axis=0), None, float(len(columns)), True)
    differences = np.stack([study.differences(control, other) for other in methods], axis=1)
    within = None
    if min(counts) > 1:
        share = len(study.scores) / len(counts)  # data sets of one block are averaged
        means = [[float(row.var(ddof=1)) / len(row) for row in runs[other]] for other in methods]
        within = np.mean(means, axis=1) * share * float(np.mean(counts))
    return Spread(control, tuple(methods), differences - differences.mean(axis=0), within, float(np.mean(counts)))


def power_of(
    spread: Spread, *, family: str, tests: int, blocks: int, seeds: int, alpha: float, needs: bool = True
) -> Power:
    """What a design can be expected to show.

    Args:
        spread: as seen so far.
        family: its name.
        tests: of the family; methods that were not seen yet count, too.
        blocks: of the design.
        seeds: of the design, per block.
        alpha: the level.
        needs: whether to look for designs that have the chance `WANTED`.
    Raises:
        DataError: all differences that were seen are equal, for every method.
    """
    total = spread.variances
    varied = np.flatnonzero(total > ALIKE)
    if not len(varied):
        raise DataError(
            f"every difference from {spread.control} that was seen is the same, so there is no spread to tell a chance "
            "from; run further data sets or seeds"
        )
    chances = _chances(spread, varied.tolist(), seeds if spread.one_block else blocks, seeds, tests, alpha)
    typical = int(varied[np.argsort(total[varied], kind="stable")[len(varied) // 2]])
    shares = None if spread.within is None else spread.within / spread.seeds / np.where(total > 0, total, 1.0)
    return Power(
        family=family,
        tests=tests,
        control=spread.control,
        alpha=alpha,
        blocks=blocks,
        seeds=seeds,
        floor=blocks_needed(tests, alpha),
        seen_blocks=1 if spread.one_block else len(spread.residuals),
        seen_seeds=spread.seeds,
        rows=tuple(
            Chance(
                method=method,
                spread=float(np.sqrt(total[place])),
                from_seeds=None if shares is None else float(min(1.0, shares[place])),
                chances=chances.get(place),
            )
            for place, method in enumerate(spread.methods)
        ),
        typical=spread.methods[typical],
        needs=_needs(spread, typical, seeds, tests, alpha) if needs else (),
    )


def _needs(spread: Spread, typical: int, seeds: int, tests: int, alpha: float) -> tuple[Need, ...]:
    """What the typical method would take, by seeds."""
    drawn: dict[int, Array] = {}  # by rows: differences of that method

    def chance(rows: int, effect: float, scale: float) -> float:
        if rows not in drawn:
            drawn[rows] = _draw(spread, rows)[:, :, typical]
        return _detected(spread, drawn[rows] * scale + effect, tests, alpha)

    if spread.one_block:
        return (Need(None, tuple(_least(partial(chance, effect=effect, scale=1.0), 2) for effect in EFFECTS)),)
    floor, found = blocks_needed(tests, alpha), []
    for count in sorted({*SEEDS, seeds}) if spread.within is not None else [seeds]:
        scale = float(spread.scales(count)[typical])
        needed = tuple(_least(partial(chance, effect=effect, scale=scale), floor) for effect in EFFECTS)
        found.append(Need(count, needed))
    return tuple(found)


def _least(chance: Callable[[int], float], first: int) -> int | None:
    """The smallest number from `first` on with the chance `WANTED`, which grows with it; None beyond `MOST`."""
    low, high = first, MOST
    if chance(high) < WANTED:
        return None
    while low < high:
        half = (low + high) // 2
        low, high = (low, half) if chance(half) >= WANTED else (half + 1, high)
    return low


def _chances(
    spread: Spread, places: Sequence[int], rows: int, seeds: int, tests: int, alpha: float
) -> dict[int, tuple[float, ...]]:
    """For `EFFECTS`, by place of the method; rows are blocks, or the seeds of the only one."""
    if rows < 2 or (not spread.one_block and smallest_p(rows) > alpha / tests):
        return dict.fromkeys(places, (0.0,) * len(EFFECTS))
    drawn, scales = _draw(spread, rows), spread.scales(seeds)
    return {
        place: tuple(_detected(spread, drawn[:, :, place] * scales[place] + effect, tests, alpha) for effect in EFFECTS)
        for place in places
    }


def _draw(spread: Spread, rows: int) -> Array:
    """Differences without any shift, shape (simulations, rows, methods)."""
    seen = len(spread.residuals)
    normal = numpy_stream(SEED, "power", str(rows)).standard_normal((SIMULATIONS, rows, seen))
    drawn: Array = normal @ spread.residuals / np.sqrt(seen - 1)
    return drawn


def _signed_rank(differences: Array) -> Array:
    """Two-sided p values of the exact signed rank along the second axis; differences have no ties."""
    blocks = differences.shape[1]
    ranks = np.argsort(np.argsort(np.abs(differences), axis=1), axis=1) + 1
    plus = (ranks * (differences > 0)).sum(axis=1)
    larger = np.maximum(plus, blocks * (blocks + 1) // 2 - plus)
    p: Array = np.minimum(1.0, 2 * _tails(blocks)[larger])
    return p


def _paired_t(differences: Array) -> Array:
    """Two-sided p values of Student's t along the second axis."""
    rows = differences.shape[1]
    t = np.abs(differences.mean(axis=1)) / (differences.std(axis=1, ddof=1) / np.sqrt(rows))
    p: Array = 2 * special.stdtr(rows - 1, -t)
    return p


@lru_cache(maxsize=256)
def _tails(blocks: int) -> Array:
    """P(W+ >= w) of ranks 1 to N, for every w."""
    tails: Array = np.cumsum(chances_of_sums(np.arange(1, blocks + 1))[::-1])[::-1]
    return tails


def _detected(spread: Spread, differences: Array, tests: int, alpha: float) -> float:
    """Share of simulations in which Holm's first step rejects; nothing is shown of the others, so it stays that.

    Args:
        spread: whose test it is.
        differences: from one method, shape (simulations, rows).
        tests: of the family.
        alpha: the level.
    """
    return float((spread.p(differences[:, :, None])[:, 0] <= alpha / tests).mean())
