"""The first screen (benchmarks room, report): who is better, worse, undecided; how far; and what the ranking costs.

Differences are method minus control, in points, so that better methods stand to the right of zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING, get_args

from ..leaderboard.budgets import unequal
from ..statistics.controls import against_each
from ..statistics.power import number
from ..statistics.result import Verdict
from ..statistics.verdicts import WORDS, basis, points, where
from ..tables.values import show_bytes, show_seconds
from .board import Cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..statistics.controls import Against
    from ..statistics.costs import Spent
    from ..statistics.result import Comparison, Decision, Joint

STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Points between two ticks of the scale."""

TICKS = 6
"""Of a scale, about: ends are rounded outwards."""

REACH = 2.0
"""How far intervals widen the scale, in widths of the range of the estimates: one wide interval hides no other row."""


@dataclass(frozen=True)
class Said:
    """One line of the finding: `better than`, and which methods."""

    words: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One method in the forest plot; places are percent of the width of the scale."""

    method: str
    verdict: Verdict
    """As in sentences."""
    difference: float
    """Points, method minus control."""
    text: str
    p: str
    possible: bool
    """Whether the test could reject with these blocks, whatever the numbers."""
    note: str
    """Unequal tuning."""
    mean: float
    low: float | None
    high: float | None
    cut: str
    """On which sides the interval goes on beyond the scale: `low`, `high` or both."""


@dataclass(frozen=True)
class View:
    """The comparison as it looks from one control."""

    control: str
    own: bool
    said: tuple[Said, ...]
    families: tuple[tuple[str, tuple[Row, ...]], ...]
    """Rows by family of tests, the first family first; best methods first."""
    ticks: tuple[tuple[float, str], ...]
    rope: tuple[float, float]
    """Where the region of practical equivalence begins and ends."""
    caption: str

    @property
    def zero(self) -> float:
        """Where the control stands."""
        return next(place for place, text in self.ticks if text == "0")


@dataclass(frozen=True)
class Ranked:
    """One method in the ranking."""

    method: str
    rank: Cell
    """Mean rank; nothing for methods that are not ranked."""
    mean: Cell
    bytes: Cell
    seconds: Cell


def views(result: Comparison) -> list[View]:
    """The comparison from each control, its own first."""
    return [_view(result, against) for against in against_each(result)]


def _view(result: Comparison, against: Against) -> View:
    together = {one.method: one for one in against.joint}
    tested = _tested(against)
    low, high, step = _scale(against, together, result.options.rope, tested=tested)
    place = _Place(low, high)
    count = round((high - low) / step)
    ticks = tuple((place(low + step * at), _tick(low + step * at)) for at in range(count + 1))
    families = []
    for family, rows in groupby(against.decisions, key=lambda row: row.family):
        ordered = sorted(rows, key=lambda row: (-row.estimate, row.method))
        families.append(
            (family, tuple(_row(result, row, together[row.method], place, tested=tested) for row in ordered))
        )
    return View(
        control=against.control,
        own=against.own,
        said=tuple(_said(against.decisions)),
        families=tuple(families),
        ticks=ticks,
        rope=(place(max(-result.options.rope, low)), place(min(result.options.rope, high))),
        caption=_caption(result, against, tested=tested),
    )


@dataclass(frozen=True)
class _Place:
    """Where a number stands between the ends of a scale, percent; not beyond them."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)


def _tested(against: Against) -> bool:
    """Whether the tests of the verdicts have intervals; else they are of each pair alone."""
    return all(row.low is not None or row.test == "paired t" for row in against.decisions)


def _interval(row: Decision, together: Joint, *, tested: bool) -> tuple[float, float] | None:
    """Method minus control: of the verdict's test, or of the pair alone, for all rows alike."""
    low, high = (row.low, row.high) if tested else (together.shift_low, together.shift_high)
    return None if low is None or high is None else (low, high)


def _scale(against: Against, together: Mapping[str, Joint], rope: float, *, tested: bool) -> tuple[float, float, float]:
    """Lowest and highest number of the scale, method minus control, and the step between ticks; 0 is a tick."""
    means = [row.estimate for row in against.decisions] + [0.0]
    intervals = [_interval(row, together[row.method], tested=tested) for row in against.decisions]
    lows, highs = ([ends[side] for ends in intervals if ends is not None] for side in (0, 1))
    reach = REACH * max(max(means) - min(means), rope, 1.0)
    low = min(*means, -rope, max(min(lows, default=0.0), min(means) - reach))
    high = max(*means, rope, min(max(highs, default=0.0), max(means) + reach))
    step = next((step for step in STEPS if (high - low) / step <= TICKS - 1), STEPS[-1])
    return math.floor(low / step) * step, math.ceil(high / step) * step or step, step


def _tick(value: float) -> str:
    return f"{round(value, 6):+g}" if abs(value) > 1e-9 else "0"


def _row(result: Comparison, row: Decision, together: Joint, place: _Place, *, tested: bool) -> Row:
    ends = _interval(row, together, tested=tested)
    beyond = [] if ends is None else [("low", ends[0] < place.low), ("high", ends[1] > place.high)]
    return Row(
        method=row.method,
        verdict=row.verdict,
        difference=row.estimate,
        text=f"{row.estimate:+.2f}" + ("" if ends is None else f" ({ends[0]:+.2f} to {ends[1]:+.2f})"),
        p="" if row.p is None else number(row.p),
        possible=row.test == "paired t" or together.attainable,
        note=unequal(dict(result.table.trials), row.method, row.other),
        mean=place(row.estimate),
        low=None if ends is None else place(ends[0]),
        high=None if ends is None else place(ends[1]),
        cut=" ".join(name for name, out in beyond if out),
    )


def _said(decisions: Sequence[Decision]) -> list[Said]:
    """A line per verdict on the first family, `equivalent` only where one is; the other families a line each."""
    families = {name: list(rows) for name, rows in groupby(decisions, key=lambda row: row.family)}
    lines = []
    for place, (family, rows) in enumerate(families.items()):
        for verdict in get_args(Verdict):
            methods = tuple(row.method for row in rows if row.verdict == verdict)
            words = WORDS[verdict] if not place else f"{family}: {WORDS[verdict]}"
            if methods or (not place and verdict != "equivalent"):
                lines.append(Said(words, methods))
    return lines


def _caption(result: Comparison, against: Against, *, tested: bool) -> str:
    """What is drawn, by which tests, over what."""
    first = max(against.decisions, key=lambda row: row.units)
    if not any(_interval(row, one, tested=tested) for row, one in zip(against.decisions, against.joint, strict=True)):
        drawn = "No intervals: there are too few independent numbers for them."
    elif tested:
        drawn = "Bars hold the differences that the test of the verdict does not reject at its step of Holm."
    else:
        level = f"{100 * (1 - result.options.alpha):g} %"
        drawn = (
            f"Bars are {level} intervals of each pair alone, not corrected for the number of methods: a bar without 0 "
            "makes no verdict. Dotted: with so few blocks no difference can be significant."
        )
    parts = [
        f"Method minus {against.control}, points, {where(result, first)}; {basis(result, first, family=True)}.",
        drawn,
        f"Shaded: within {points(result.options.rope)}. Filled dots: better or worse.",
    ]
    return " ".join(parts)


def ranking(result: Comparison, spent: Mapping[tuple[str, str, str], Spent]) -> tuple[list[Ranked], list[Ranked]]:
    """The methods that are ranked, best mean rank first, and the others: bounds and ablations that were declared.

    Args:
        result: the comparison.
        spent: from `statistics.costs`.
    """
    level = any(row.mean_rank is not None for row in result.ranks)
    ranked: list[Ranked] = []
    rest: list[Ranked] = []
    for row in result.ranks:
        taken = {what: _typical(result, row.method, spent, what) for what in ("bytes", "seconds")}
        shown = Ranked(
            method=row.method,
            rank=Cell("" if row.mean_rank is None else f"{row.mean_rank:.2f}", row.mean_rank),
            mean=Cell(f"{row.mean:.2f}", row.mean),
            bytes=Cell(show_bytes(taken["bytes"]), taken["bytes"]),
            seconds=Cell(show_seconds(taken["seconds"]), taken["seconds"]),
        )
        (rest if level and row.mean_rank is None else ranked).append(shown)
    return ranked, rest


def _typical(result: Comparison, method: str, spent: Mapping[tuple[str, str, str], Spent], what: str) -> float | None:
    """What a run of a method takes: the geometric mean over families of data sets; 0 where nothing is ever spent."""
    label = method.partition(" · ")[0]
    by_family: dict[str, list[float]] = {}
    for at in result.table.conditions:
        one = spent.get((at.dataset, at.setting, label))
        if one is not None:
            by_family.setdefault(at.unit, []).append(getattr(one, what))
    values = [value for family in by_family.values() for value in family]
    if not values or (min(values) <= 0 < max(values)):
        return None
    if max(values) == 0:
        return 0.0
    return math.exp(fmean(fmean(map(math.log, family)) for family in by_family.values()))
