"""What accuracy costs (benchmarks room): points of difference beside ratios of bytes and of seconds, with intervals.

Two methods on some families of data sets: the mean difference of accuracy, and the geometric means of how many times as
many bytes and seconds the one takes. The three share their bootstrap draws of families, so they may be read together.

Bytes are those of the whole run, all clients, both ways, and of shipping the public inputs once. Seconds are wall
seconds of the runs, which other runs on the same machine make longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from ..leaderboard.lines import lines
from . import effects
from .reading import SEPARATOR
from .study import SEED, Study
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ..leaderboard.lines import Line
    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from .result import Comparison, Pair

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spent:
    """What runs of a method on one data set and setting took, mean over seeds."""

    bytes: float
    seconds: float


UNCOUNTED = Spent(math.nan, math.nan)
"""Of runs whose bytes or seconds no record has."""


@dataclass(frozen=True)
class Estimate:
    """A mean over families of data sets."""

    value: float
    low: float | None
    """Of the bootstrap over families; None below the number from which it holds its level."""
    high: float | None


@dataclass(frozen=True)
class Cost:
    """A method against another one: what it gains, and how many times as much it takes."""

    method: str
    other: str
    families: int
    """Of data sets: what the means are over."""
    points: Estimate
    bytes: Estimate | None
    """A ratio; None where one of them sends nothing on some data set, or nobody counted."""
    seconds: Estimate | None


def read_spent(records: Sequence[Record], selection: Selection = "last") -> dict[tuple[str, str, str], Spent]:
    """What was spent, by data set, setting and method; nothing of methods without a finished run.

    Raises:
        DataError: runs of one comparison did not share partition, weights, draws and public order.
    """
    return spent_in(lines(records, selection))


def spent_in(scored: Iterable[Line]) -> dict[tuple[str, str, str], Spent]:
    """The same from the lines of a leaderboard."""
    found = ((line, spent_on(line)) for line in scored)
    return {(line.dataset, line.setting, line.method): spent for line, spent in found if spent is not None}


def spent_on(line: Line) -> Spent | None:
    """What the runs of one line took; None where none is finished."""
    if line.bytes_total is None or line.seconds is None:
        return None
    return Spent(line.bytes_total + (line.bytes_one_off or 0.0), line.seconds)


def costs(study: Study, family: Sequence[Pair], spent: Mapping[tuple[str, str, str], Spent]) -> tuple[Cost, ...]:
    """What each of some pairs gains and takes.

    Args:
        study: what was compared.
        family: the pairs.
        spent: from `read_spent`; views of a method spend what it spends.
    """
    return tuple(_cost(study, pair, spent) for pair in family)


def costs_of(result: Comparison, records: Sequence[Record], selection: Selection = "last") -> tuple[Cost, ...]:
    """What each method gains on the control of a comparison, and takes.

    Args:
        result: of these records.
        records: of at least the methods that were compared.
        selection: which round is reported.
    """
    study = Study(result.table, result.options, result.control)
    return costs(study, result.primary, read_spent(records, selection))


def _cost(study: Study, pair: Pair, spent: Mapping[tuple[str, str, str], Spent]) -> Cost:
    both = study.common((pair.method, pair.other))
    found: dict[str, list[tuple[float, float, float]]] = {}
    for at in both.conditions:
        means = dict(zip(both.methods, at.array().mean(axis=1).tolist(), strict=True))
        one, two = (
            spent.get((at.dataset, at.setting, name.partition(SEPARATOR)[0]), UNCOUNTED)
            for name in (pair.method, pair.other)
        )
        ratios = _log_ratio(one.bytes, two.bytes), _log_ratio(one.seconds, two.seconds)
        found.setdefault(at.dataset, []).append((means[pair.method] - means[pair.other], *ratios))
    values = np.array([_means(_means(found[name]) for name in names) for names in both.families.values()])
    drawn = numpy_stream(SEED, "costs").integers(len(values), size=(effects.DRAWS, len(values)))
    points, sent, waited = (_estimate(column, drawn, study.options.alpha) for column in values.T)
    assert points is not None
    return Cost(pair.method, pair.other, len(values), _settled(points), _ratio(sent), _ratio(waited))


def _means(rows: Iterable[Sequence[float]]) -> list[float]:
    return [fmean(column) for column in zip(*rows, strict=True)]


def _estimate(values: Array, drawn: NDArray[np.int64], alpha: float) -> Estimate | None:
    """The mean of a value per family, with its interval; None where a value is missing."""
    if not np.isfinite(values).all():
        return None
    interval = effects.wide_percentiles(values[drawn].mean(axis=1), len(values), alpha)
    low, high = (None, None) if interval is None else (float(end) for end in interval)
    return Estimate(float(values.mean()), low, high)


def _ratio(logs: Estimate | None) -> Estimate | None:
    """What a mean of logarithms says of ratios."""
    if logs is None:
        return None
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return _settled(Estimate(math.exp(logs.value), low, high))


def _settled(found: Estimate) -> Estimate:
    low, high = (None if end is None else float(settled(end)) for end in (found.low, found.high))
    return Estimate(float(settled(found.value)), low, high)


def _log_ratio(one: float, other: float) -> float:
    return math.log(one / other) if one > 0 and other > 0 else math.nan
