"""What the planted study predicted, and which predictions held (benchmarks room)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from ....cosmos.theory.steps import Slope, difference
from .files import PREDICTIONS, number, read, show_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ....cosmos.theory.verdicts import Judgement
    from .study import Curves

SMALLEST = {"slope": 0.05, "intercept": 0.01, "gap": 0.05}
"""Differences that matter: of slopes, and of intercepts in nats. Two numbers are the same within them."""

Outcome = Literal["supported", "not supported", "not identified"]


def held(expected: str, quantity: str, found: Slope) -> Outcome:
    """Whether a difference goes as predicted.

    `up` and `down` are supported by an interval on that side of 0, and `same` by one within `SMALLEST` of it; an
    interval that is on another side, or that is within `SMALLEST` of 0 where a change was predicted, is against them;
    any other does not tell.
    """
    if found.interval is None:
        return "not identified"
    low, high = found.interval
    small = max(abs(low), abs(high)) < SMALLEST[quantity]
    if expected == "same":
        return "supported" if small else "not supported" if low > 0 or high < 0 else "not identified"
    right, wrong = (low > 0, high < 0) if expected == "up" else (high < 0, low > 0)
    return "supported" if right else "not supported" if wrong or small else "not identified"


def check_predictions(curves: Mapping[str, Curves], judgements: Mapping[str, Judgement]) -> Iterator[dict[str, str]]:
    """Every prediction with what was found."""
    for row in read(PREDICTIONS):
        arm, against, quantity, expected = (row[key] for key in ("arm", "against", "quantity", "expected"))
        found, interval = judgements[arm].verdict, ""
        if quantity == "verdict":
            outcome: Outcome = "supported" if found == expected else "not supported"
            if found == "not identified":
                outcome = "not identified"
        else:
            slope = _measured(quantity, arm, against, curves, judgements)
            outcome, interval = held(expected, quantity, slope), show_interval(slope.interval)
            yield {**row, "found": number(slope.estimate), "interval": interval, "outcome": outcome}
            continue
        yield {**row, "found": found, "interval": interval, "outcome": outcome}


def _measured(
    quantity: str, arm: str, against: str, curves: Mapping[str, Curves], judgements: Mapping[str, Judgement]
) -> Slope:
    if quantity == "gap":
        links = judgements[arm].chain
        assert links is not None  # predicted of arms with server models only
        return links.gap
    of: Literal["rho", "intercept"] = "rho" if quantity == "slope" else "intercept"
    for name in (arm, against):
        if judgements[name].step.rho.interval is None:
            return Slope(math.nan, None)
    return difference(curves[arm].clients, curves[against].clients, of=of, start=0)
