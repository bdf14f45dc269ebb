"""Accuracy against what it costs, with the Pareto front (benchmarks room, figures)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .blocks import COSTS
from .labels import label_points
from .sheet import SCREEN
from .style import INK, MUTED, lay_out, legend_below, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .blocks import Course
    from .sheet import Sheet

ALWAYS_NAMED = ("cosmos", "fedavg", "local")
"""Methods with a name in every panel, on the front or not."""

FEW = 10
"""Up to so many methods all have their names."""

WIDE = 5.0
"""Inches from which on panels stand side by side on paper."""


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of (cost, accuracy): places of the points that no other one is as cheap and as good as.

    A point is off the front when another costs no more and reaches no less, and one of the two strictly so. Equal
    points are all on it or all off it.

    Returns:
        Places in the order of cost.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1], place))
    kept: list[int] = []
    for place in order:
        if not kept or points[place][1] > points[kept[-1]][1] or points[place] == points[kept[-1]]:
            kept.append(place)
    return kept


@styled
def draw(courses: Sequence[Course], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """A panel per cost: every method where it ends, the front as steps, and the way of the methods on it.

    The front is made of the reported last rounds only: taking each method's best round would select on test data.
    Bounds that train on pooled data are horizontal lines; nothing competes with them.

    Args:
        courses: the methods of one block.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    sheet = sheet.of([course.label for course in courses])
    competitors = [course for course in courses if not course.is_reference]
    pooled = [course for course in courses if course.is_reference]
    figure, panels = point_panels(len(COSTS), (9.4, 3.2 * len(COSTS) + 0.6), sheet)
    for axes, (name, words) in zip(panels, COSTS.items(), strict=True):
        axes.set(ylim=_limits(courses), xlabel=words)
        _panel(axes, name, competitors, sheet)
        for course in pooled:
            axes.axhline(course.mean[-1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
        for height, text in _joined([(course.mean[-1], course.label) for course in pooled], axes.get_ylim()):
            axes.annotate(
                text,
                (0.012, height),
                xytext=(0, 2),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                color=MUTED,
                fontsize=sheet.points(7.5),
                style="italic",
            )
    rest = point_legend(figure, [course.label for course in competitors], sheet)
    set_title(
        figure,
        title,
        "accuracy against what it costs, where each method ends, mean over seeds; steps: the Pareto front (nothing "
        "cheaper is as good), its methods with dark edges; thin lines: the way of the methods on it, round by round"
        f"{sheet.rule(rest)}",
        on_paper=sheet.on_paper,
    )
    lay_out(figure)
    for axes, name in zip(panels, COSTS, strict=True):
        _names(axes, name, competitors, sheet)
    return figure


def point_panels(count: int, screen: tuple[float, float], sheet: Sheet) -> tuple[Figure, Sequence[Axes]]:
    """Axes for points, one accuracy axis for all: below each other, or beside each other where the sheet is wide."""
    wide = sheet.width is not None and sheet.width >= WIDE
    figure = sheet.figure(screen, 2.0 if wide else 1.65 * count)
    if wide:
        panels = figure.subplots(1, count, squeeze=False, sharey=True)[0, :]
    else:
        panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    for axes in panels[: 1 if wide else count]:
        axes.set_ylabel("accuracy, %")
    return figure, list(panels)


def point_legend(figure: Figure, labels: Sequence[str], sheet: Sheet) -> int:
    """Explain the marks of methods below all axes; how many of them are grey.

    Args:
        figure: gets the legend.
        labels: methods that have a mark.
        sheet: how methods look.
    """
    from matplotlib.lines import Line2D

    shown = [label for label in sheet.order if label in labels and sheet.highlights(label)]
    rest = len(labels) - len(shown)
    marks = [Line2D([], [], **sheet.mark(label), linestyle="none", markersize=5, label=label) for label in shown]
    legend_below(figure, [*marks, *sheet.others(rest, linestyle="none", marker=".")])
    return rest


def numbers_between(spread: float, sheet: Sheet) -> list[int]:
    """Which numbers stand between two powers of ten on an axis from one value to `spread` times as much."""
    spread *= 10 if sheet.width else 1  # a narrow axis has room for fewer numbers
    return [1, 2, 5] if spread < 200 else [1, 3] if spread < 2000 else [1]


def _limits(courses: Sequence[Course]) -> tuple[float, float]:
    ends = [course.mean[-1] for course in courses]
    span = max(max(ends) - min(ends), 2.0)
    return max(min(ends) - 0.12 * span, 0.0), max(ends) + 0.12 * span


def _joined(lines: Sequence[tuple[float, str]], limits: tuple[float, float]) -> list[tuple[float, str]]:
    """Names of level lines; those too near to stand one above the other share the upper one's place."""
    found: list[tuple[float, str]] = []
    for height, name in sorted(lines, reverse=True):
        if found and found[-1][0] - height < 0.07 * (limits[1] - limits[0]):
            found[-1] = (found[-1][0], f"{found[-1][1]}, {name}")
        else:
            found.append((height, name))
    return found


def _panel(axes: Axes, cost: str, courses: Sequence[Course], sheet: Sheet) -> None:
    from matplotlib.ticker import SymmetricalLogLocator

    points = [(course.cost(cost)[-1], course.mean[-1]) for course in courses]
    best = front(points)
    positive = [spent for spent, _ in points if spent > 0]
    least, most = min(positive, default=1.0), max(positive, default=1.0)
    shortest = 0.0
    if most > 8 * least:
        floor = shortest = 10.0 ** math.floor(math.log10(least))  # between it and 0 the axis is linear, and short
        between = numbers_between(most / least, sheet)
        axes.set_xscale("symlog", linthresh=floor, linscale=0.8 if sheet.width else 0.35, subs=[2, 3, 4, 5, 6, 7, 8, 9])
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=floor, subs=between))
        axes.set_xlim(-0.25 * floor if len(positive) < len(points) else 0.8 * least, most * 1.6)
    else:
        axes.set_xlim(-0.03 * most, most * 1.1)
    axes.xaxis.set_major_formatter(lambda value, _: "" if 0 < value < 0.999 * shortest else amount(value, cost))
    corners = _corners([points[place] for place in best], axes.get_xlim()[1])
    axes.plot(*zip(*corners, strict=True), color=INK, linewidth=1.1, zorder=3)
    for place, course in enumerate(courses):
        on_front = place in best
        look = sheet.mark(course.label)
        if on_front:
            axes.plot(course.cost(cost), course.mean, color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)
        stands_out = on_front or sheet.highlights(course.label)
        axes.plot(
            *points[place],
            **look,
            markersize=6 if stands_out and sheet.width else 7 if on_front else 5,
            alpha=1 if stands_out else 0.55,
            markeredgecolor=INK if on_front else "white",
            markeredgewidth=0.8 if on_front else 0.4,
            linestyle="none",
            zorder=5 if stands_out else 4,
            clip_on=False,
        )


def _names(axes: Axes, cost: str, courses: Sequence[Course], sheet: Sheet) -> None:
    """Names of the methods on the front and of those that every reader looks for; on paper those of no legend."""
    points = [(course.cost(cost)[-1], course.mean[-1]) for course in courses]
    best = front(points)
    named = []
    for place, course in enumerate(courses):
        if sheet.width:
            shown = place in best and not sheet.highlights(course.label)
        else:
            shown = place in best or course.label in ALWAYS_NAMED or len(courses) <= FEW
        look = {"fontsize": sheet.points(8), "weight": "bold" if place in best else "normal", "color": INK, "zorder": 6}
        named.append((course.label if shown else "", *points[place], look))
    corners = _corners([points[place] for place in best], axes.get_xlim()[1])
    label_points(axes, sorted(named, key=lambda point: (point[1], -point[2])), corners)


def _corners(steps: Sequence[tuple[float, float]], edge: float) -> list[tuple[float, float]]:
    """The front as a line: level until something better can be had, to the edge of the axes."""
    corners = [steps[0]]
    for spent, accuracy in steps[1:]:
        corners += [(spent, corners[-1][1]), (spent, accuracy)]
    return [*corners, (edge, corners[-1][1])]


def amount(value: float, cost: str) -> str:
    """A tick of an axis of costs, one of `COSTS`, short; nothing below zero."""
    if value < 0:
        return ""
    units = {"bytes": ("B", "kB", "MB", "GB", "TB"), "samples": ("", "k", "M", "G", "T"), "seconds": ("s",)}[cost]
    place = min(int(math.log10(max(value, 1)) // 3), len(units) - 1)
    return f"{value / 1000**place:g} {units[place]}".rstrip()
