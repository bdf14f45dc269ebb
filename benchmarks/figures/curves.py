"""Accuracy per round with the range of the seeds, a panel per category (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .blocks import category_place
from .style import COLOURS, FAINT, INK, MUTED, label_lines, line_style, new_figure, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .blocks import Course

COLUMNS = 2
"""Panels side by side."""


class Categorised(Protocol):
    """What panels are made of: a method's line, in a category."""

    @property
    def category(self) -> str: ...  # noqa: D102


Drawn = TypeVar("Drawn", bound=Categorised)


@styled
def draw(courses: Sequence[Course], *, title: str) -> Figure:
    """Mean over seeds as a line, lowest to highest seed as a band.

    Each category has a panel of its own, with all other methods faint behind it and the bounds in every one; as few
    methods as there are colours share one panel.

    Args:
        courses: the methods of one block.
        title: what stands above.
    """
    bounds = [course for course in courses if course.category == "bound"]
    panels = by_category(courses)
    figure, grid = panel_grid(panels, len(bounds))
    last = max(len(course.mean) for course in courses) - 1
    edge = 0.012 * max(last, 1)  # room for half a marker
    grid[0, 0].set(xlim=(-edge, max(last, 1) + edge), ylim=limits(courses))
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, own, bounds if name != "bound" else [], courses)
    label_panels(grid, list(panels), "round")
    seeds = sorted({seed for course in courses for seed in course.seeds})
    band = f"bands: lowest to highest of seeds {' '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    set_title(figure, title, f"mean client accuracy per round; {band}; lines that start lower enter from below")
    return figure


def panel_grid(panels: Mapping[str, Sequence[object]], bounds: int) -> tuple[Figure, NDArray[Any]]:
    """A figure with axes for each panel, shape (rows, columns), high enough for the names of lines and bounds."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    most = max(map(len, panels.values())) + bounds
    figure = new_figure(max(4.8 * columns, 7.2), max(2.6 if columns > 1 else 3.8, 0.17 * most + 0.8) * rows)
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def label_panels(grid: NDArray[Any], names: Sequence[str], below: str) -> None:
    """Titles where there are several panels, labels at the outer edges, and nothing where there is no panel."""
    if len(names) > 1:
        for axes, name in zip(grid.flat, names, strict=False):
            axes.set_title(name or "no category")
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, %")
    columns = grid.shape[1]
    for column in range(columns):
        axes = grid[(len(names) - 1 - column) // columns, column]
        axes.set_xlabel(below)
        axes.xaxis.set_tick_params(labelbottom=True)


def by_category(lines: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    """Which methods have lines of their own in which panel; the bounds among them only where nothing else is."""
    others = [line for line in lines if line.category != "bound"]
    if not others:
        return {"bound": list(lines)}
    if len(others) <= len(COLOURS):
        return {"all": others}
    names = sorted({line.category for line in others}, key=category_place)
    return {name: [line for line in others if line.category == name] for name in names}


def limits(courses: Sequence[Course]) -> tuple[float, float]:
    """The range of the accuracy axis, percent: where methods end, and half as much below it for how they came there.

    Lines that start lower enter from below: else one slow starter would press all others together.
    """
    last = [course.mean[-1] for course in courses]
    low, high = min(last), max(value for course in courses for value in course.mean)
    span = max(high - low, 2.0)
    start = min(value for course in courses for value in course.mean)
    return max(low - 0.5 * span, start - 0.05 * span, 0.0), min(high + 0.05 * span, 100.5)


def _panel(axes: Axes, own: Sequence[Course], bounds: Sequence[Course], everyone: Sequence[Course]) -> None:
    from matplotlib.collections import LineCollection

    front = {course.label for course in (*own, *bounds)}
    behind = [list(enumerate(course.mean)) for course in everyone if course.label not in front]
    axes.add_collection(LineCollection(behind, colors=FAINT, linewidths=0.6, zorder=1), autolim=False)
    ends = []
    for place, course in enumerate(bounds):
        axes.plot(course.mean, color=MUTED, linewidth=1, linestyle=(0, (2 + 3 * place, 2)), zorder=2)
        ends.append((course.label, course.mean[-1], {"color": MUTED, "fontsize": 7.5, "style": "italic"}))
    for place, course in enumerate(own):
        look = line_style(place)
        axes.plot(course.mean, **look, markevery=(place % 3, 3), zorder=4)
        axes.fill_between(
            range(len(course.mean)),
            course.lowest,
            course.highest,
            color=look["color"],
            alpha=0.12,
            linewidth=0,
            zorder=3,
        )
        ends.append((course.label, course.mean[-1], {"color": INK, "fontsize": 8}))
    label_lines(axes, ends)
