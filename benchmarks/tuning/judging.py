"""How trials are judged (benchmarks room): the median rule, the best, ties, edges; the same for every method."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from fl_bench.spaces import Side, Space

TIE = 1e-9
"""Percent within which two means are equal; then the cheaper setting is chosen."""

STARTUP = 4
"""Earlier trials that have to have got as far before one is stopped. With fewer a median is one trial's luck: the
second trial would have to beat the first on the first data set, and nearly all would stop there."""


class Judged(Protocol):
    """What is asked of a trial."""

    @property
    def number(self) -> int:
        """From 0; the first is the method's entry in the grid."""

    @property
    def status(self) -> str:
        """`done`, or why it cannot be chosen."""

    @property
    def means(self) -> Sequence[float]:
        """Percent on each data set that it finished, in order."""

    @property
    def steps(self) -> int:
        """Training steps."""

    @property
    def bytes(self) -> int:
        """Bytes sent."""


T = TypeVar("T", bound=Judged)


def mean_over(means: Sequence[float], places: int) -> float | None:
    """The mean over the first `places` data sets; None where the trial did not get so far."""
    return fmean(means[:places]) if 0 < places <= len(means) else None


def hopeless(means: Sequence[float], earlier: Iterable[Sequence[float]]) -> float | None:
    """The median that a trial lies below, by which it is stopped; None where it goes on.

    The rule of D. Golovin et al., "Google Vizier", KDD 2017, section 3.2.2, with data sets as steps.

    Args:
        means: percent on each data set that the trial has finished, in order.
        earlier: the same of the trials before it, each as far as it got. Those that got less far are not asked, and
            where fewer than `STARTUP` got as far nothing is stopped.
    """
    own = mean_over(means, len(means))
    reached = [value for one in earlier if (value := mean_over(one, len(means))) is not None]
    if own is None or len(reached) < STARTUP:
        return None
    middle = median(reached)
    return middle if own < middle - TIE else None


def choose(trials: Sequence[T]) -> T:
    """The trial with the best mean; of equal ones that with fewest steps, then fewest bytes, then the earliest.

    Where no trial is done it is the first, the method's entry in the grid.
    """
    done = [trial for trial in trials if trial.status == "done"]
    if not done:
        return trials[0]
    best = max(fmean(trial.means) for trial in done)
    tied = [trial for trial in done if fmean(trial.means) >= best - TIE]
    return min(tied, key=lambda trial: (trial.steps, trial.bytes, trial.number))


def best_so_far(trials: Sequence[Judged]) -> tuple[float | None, ...]:
    """The best mean, percent, after each trial; None before one is done."""
    curve: list[float | None] = []
    for trial in trials:
        before = curve[-1] if curve else None
        own = fmean(trial.means) if trial.status == "done" else None
        curve.append(max((value for value in (before, own) if value is not None), default=None))
    return tuple(curve)


def edges(settings: Mapping[str, Any], spaces: Mapping[str, Space]) -> dict[str, Side]:
    """The settings that lie at an edge of their space where that could go on, and at which."""
    found: dict[str, Side] = {}
    for name, space in spaces.items():
        value = settings[name]
        if isinstance(value, int | float) and not isinstance(value, bool):
            side = space.edge(value)  # type: ignore[arg-type]  # a number of the kind that its space has
            if side is not None and space.widened(side) != space:
                found[name] = side
    return found
