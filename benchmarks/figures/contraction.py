"""Risks per round with rho and floor of every arm (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contraction.study import START
from .labels import label_lines
from .style import INK, MUTED, line_style, new_figure, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...cosmos.theory.steps import Slope
    from ..contraction.study import Study

EDGE = 0.05
"""Room around what is drawn, as a share of the axis."""

BELOW = 0.3
"""Floors lie below where curves are; so much further, as a share of the curves' range, their axis goes."""


@styled
def draw(study: Study, *, title: str) -> Figure:
    """Mean risk of each arm over the rounds, and beside it rho and floor of the one-step regression with intervals.

    References are grey lines at their lowest; the fit of the claim's arm is dotted. What is not identified says so in
    place of a point. An interval that leaves the panel ends in an arrow.

    Args:
        study: the arms of one data set under one risk.
        title: what stands above.
    """
    arms = study.arms
    figure = new_figure(10.6, max(3.6, 0.27 * len(arms) + 1.5))
    curves, rates, floors = figure.subplots(1, 3, width_ratios=(2.0, 1.0, 1.0))
    _curves(curves, study)
    judged = [study.judged(label) for label in arms]
    _forest(rates, arms, [None if one is None else one.step.rho for one in judged], (0.0, 1.1))
    rates.axvline(1.0, color=MUTED, linewidth=0.8)
    rates.set_title("rho")
    least = [study.lowest(label) for label in study.references]
    low, high = _range(study)
    low = max(low - BELOW * (high - low), 0.0)
    _forest(floors, arms, [None if one is None else one.step.floor for one in judged], (low, high))
    for place in least:
        floors.axvline(place, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    floors.set_title("floor")
    floors.set_yticklabels([])
    level = f"{100 * (1 - study.alpha):g} % intervals over {study.by}s"
    grey = f"; grey: the lowest of {' and '.join(study.references)} in any round, an oracle" if least else ""
    set_title(
        figure,
        title,
        f"{study.risk} of deployed models on clients' test data, mean over {len(study.block.seeds)} seeds and "
        f"{study.block.clients} clients; dotted: F + A rho^t for {study.predictions.claim}; rho and floor of one-step "
        f"regressions, {level}{grey}",
    )
    return figure


def _curves(axes: Axes, study: Study) -> None:
    last = study.block.rounds - 1
    axes.set(xlim=(0, last), ylim=_range(study), xlabel="round", ylabel=study.risk)
    ends = []
    for place, label in enumerate(study.arms):
        curve, look = study.curve(label), line_style(place)
        axes.plot(curve, **look, markevery=(place % 5, 5), zorder=4)
        ends.append((label, curve[-1], {"color": look["color"], "fontsize": 8}))
    for label in study.references:
        axes.axhline(study.lowest(label), color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=2)
        ends.append((label, study.lowest(label), {"color": MUTED, "fontsize": 7.5, "style": "italic"}))
    judged = study.judged(study.predictions.claim)
    if judged is not None:
        rounds = np.arange(START, last + 1, dtype=np.float64)
        fitted = judged.fit.fits["exponential"].at(rounds)
        axes.plot(rounds, fitted, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=5)
    label_lines(axes, ends)


def _range(study: Study) -> tuple[float, float]:
    """The range of the risk axes: where arms are from round 1 on, and the references; round 0 may leave it."""
    values = [value for label in study.arms for value in study.curve(label)[START:]]
    values += [study.lowest(label) for label in study.references]
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    return max(low - EDGE * span, 0.0), high + EDGE * span


def _forest(axes: Axes, arms: Sequence[str], slopes: Sequence[Slope | None], limits: tuple[float, float]) -> None:
    """A point with its interval per arm, the first on top."""
    low, high = limits
    blank = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # no line crosses a word
    axes.set(xlim=limits, ylim=(len(arms) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), arms)
    axes.grid(axis="y", visible=False)
    for place, slope in enumerate(slopes):
        if slope is None or slope.interval is None:
            axes.text(
                (low + high) / 2, place, "not identified", ha="center", va="center", color=MUTED, fontsize=7, bbox=blank
            )
            continue
        colour, start, end = line_style(place)["color"], *np.clip(slope.interval, low, high)
        axes.plot([start, end], [place, place], color=colour, linewidth=1.4)
        for edge, mark, beyond in ((low, "<", slope.interval[0] < low), (high, ">", slope.interval[1] > high)):
            if beyond:
                axes.plot([edge], [place], marker=mark, color=colour, clip_on=False)
        if low <= slope.estimate <= high:
            axes.plot([slope.estimate], [place], marker=line_style(place)["marker"], color=colour)
