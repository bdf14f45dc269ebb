"""Methods by data sets (benchmarks room, report): the measures that the page shows as a table, and all differences.

Differences on a single data set are paired by seed. Their intervals are Student's at 95 %, each for itself: they say
where to look, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from ..grid.names import in_order
from ..leaderboard.naming import in_setting
from ..statistics.costs import spent_on
from ..statistics.per_dataset import t_interval
from ..statistics.reading import POOLED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..leaderboard.lines import Line
    from ..statistics.result import Comparison
    from .board import Entry

    Pairs = list[list[tuple[float, float | None] | None]]

LEVEL = 0.05
"""Of the intervals of single differences."""

Values = list[list[float | None]]
"""A row per method, a column per data set and setting."""


@dataclass(frozen=True)
class Measure:
    """A number of a run that stands in a table of its own."""

    name: str
    meaning: str
    unit: str
    """`percent`, `points`, `bytes` or `seconds`."""
    more: bool
    """Whether more is better."""

    def of(self, line: Line) -> float | None:
        """The number of one line of the leaderboard; None where it has none."""
        spent = spent_on(line)
        return {
            "accuracy": line.acc_mean,
            "worst 10 %": line.acc_worst_decile,
            "val": line.val,
            "bytes": None if spent is None else spent.bytes,
            "time": None if spent is None else spent.seconds,
        }[self.name]


MEASURES = (
    Measure("accuracy", "Mean accuracy over clients, percent, mean over seeds.", "percent", True),
    Measure("worst 10 %", "Mean accuracy of the worst tenth of the clients, percent.", "percent", True),
    Measure("val", "Mean validation accuracy, percent. Settings may be chosen by it.", "percent", True),
    Measure("bytes", "Bytes of a whole run, all clients, both ways, public inputs once.", "bytes", False),
    Measure("time", "Wall-clock seconds of a run, including any other load on the machine.", "seconds", False),
)


@dataclass(frozen=True)
class Column:
    """A data set in a setting."""

    dataset: str
    setting: str
    name: str
    """The data set, with the setting where it has several."""


@dataclass(frozen=True)
class ByDataset:
    """What the table of methods by data sets shows."""

    methods: tuple[str, ...]
    """Those that are ranked in their order, then the others, then those that are set apart."""
    apart: int
    """How many of the last ones are set apart: bounds, and what the comparison does not rank."""
    references: tuple[str, ...]
    """Methods that train on pooled data: no federated method competes with them."""
    columns: tuple[Column, ...]
    measures: tuple[Measure, ...]
    """Those that any method has a number of; accuracy is always there."""
    values: dict[str, Values]
    """By name of a measure."""
    differences: list[Pairs] | None
    """By column, then for each method but the last: mean and half width of the interval against each later method.
    None without a comparison."""


def by_dataset(scored: Sequence[Line], bounds: Collection[str], result: Comparison | None) -> ByDataset:
    """The table of every method's own numbers.

    Args:
        scored: the lines of the leaderboard.
        bounds: methods that are there to measure others by.
        result: what gives the order and the differences; None where nothing can be compared.
    """
    own = {(line.method, line.dataset, line.setting): line for line in scored if line.deployed}
    names = {(line.dataset, line.setting): line.setting_name for line in own.values()}
    places = sorted(names, key=lambda place: (place[0], in_order(names[place]), place[1]))
    columns = tuple(Column(*place, in_setting(place[0], names[place])) for place in places)
    methods, apart = _order(own.values(), bounds, result)
    rows = [[own.get((method, at.dataset, at.setting)) for at in columns] for method in methods]
    values = {one.name: [[_value(one, line) for line in row] for row in rows] for one in MEASURES}
    filled = {name for name, numbers in values.items() if any(value is not None for row in numbers for value in row)}
    known = [one for one in MEASURES if one.name in filled | {"accuracy"}]
    return ByDataset(
        methods=methods,
        apart=apart,
        references=tuple(sorted({line.method for line in own.values() if line.view == POOLED})),
        columns=columns,
        measures=tuple(known),
        values={one.name: values[one.name] for one in known},
        differences=None if result is None else [_differences(methods, at, result) for at in columns],
    )


def _order(own: Iterable[Line], bounds: Collection[str], result: Comparison | None) -> tuple[tuple[str, ...], int]:
    """All methods in order, and how many of the last are set apart."""
    means: dict[str, list[float]] = {}
    for line in own:
        means.setdefault(line.method, []).append(line.acc_mean or 0.0)
    ranks = [] if result is None else [row for row in result.ranks if row.method in means]
    ranked = {row.method for row in ranks if row.mean_rank is not None}
    outside = {row.method for row in ranks} - ranked if ranked else set()
    last = (set(bounds) | outside) - ranked
    compared = [row.method for row in ranks]
    rest = sorted(set(means) - set(compared), key=lambda name: (-fmean(means[name]), name))
    ordered = [*compared, *rest]
    front = [name for name in ordered if name not in last]
    return (*front, *(name for name in ordered if name in last)), len(ordered) - len(front)


def _value(measure: Measure, line: Line | None) -> float | None:
    value = None if line is None else measure.of(line)
    return None if value is None else round(value, 2)


def _differences(methods: Sequence[str], column: Column, result: Comparison) -> Pairs:
    """Of one data set and setting; None for methods that were not compared on it."""
    known = {(at.dataset, at.setting): at for at in result.table.conditions}
    at = known.get((column.dataset, column.setting))
    accuracies = {} if at is None else dict(zip(result.table.methods, at.array(), strict=True))
    found: Pairs = []
    for place, one in enumerate(methods[:-1]):
        row: list[tuple[float, float | None] | None] = []
        for other in methods[place + 1 :]:
            pairs = accuracies[one] - accuracies[other] if one in accuracies and other in accuracies else np.array([])
            pairs = pairs[np.isfinite(pairs)]
            interval = None if result.table.factors or not len(pairs) else t_interval(pairs, LEVEL)
            half = None if interval is None else round((interval[1] - interval[0]) / 2, 2)
            row.append((round(float(pairs.mean()), 2), half) if len(pairs) else None)
        found.append(row)
    return found


def badges_of(board: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """The badges of every method's own numbers, on any data set."""
    found: dict[str, dict[str, None]] = {}
    for entry in board:
        if entry.deployed:
            found.setdefault(entry.method, {}).update(dict.fromkeys(entry.badges))
    return {name: tuple(badges) for name, badges in found.items()}
