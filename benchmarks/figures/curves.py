"""Accuracy per round with the range of the seeds, a panel per category (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .blocks import category_place
from .labels import label_lines
from .sheet import SCREEN
from .style import COLOURS, FAINT, GREY, INK, MUTED, legend_below, new_figure, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .blocks import Course
    from .sheet import Sheet

COLUMNS = 2
"""Panels side by side."""


class Categorised(Protocol):
    """What panels are made of: a method's line, in a category."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def category(self) -> str: ...  # noqa: D102


Drawn = TypeVar("Drawn", bound=Categorised)


@styled
def draw(courses: Sequence[Course], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """Mean over seeds as a line, lowest to highest seed as a band.

    Each category has a panel of its own, with all other methods faint behind it and the bounds in every one; as few
    methods as there are colours share one panel. On paper there is one panel, and methods that are not
    highlighted are grey.

    Args:
        courses: the methods of one block.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    sheet = sheet.of([course.label for course in courses])
    panels = by_category(courses, sheet)
    bounds = plain_bounds(courses, sheet)
    figure, grid = panel_grid(panels, len(bounds), sheet)
    last = max(len(course.mean) for course in courses) - 1
    edge = 0.012 * max(last, 1)  # room for half a marker
    grid[0, 0].set(xlim=(-edge, max(last, 1) + edge), ylim=limits(courses))
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, own, bounds if name != "bound" else [], courses, sheet)
    rest = finish_paper(figure, panels, bounds, courses, sheet)
    label_panels(grid, list(panels), "round")
    seeds = sorted({seed for course in courses for seed in course.seeds})
    band = f"bands: lowest to highest of seeds {' '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    text = f"mean client accuracy per round; {band}; lines that start lower enter from below{sheet.rule(rest)}"
    set_title(figure, title, text, on_paper=sheet.on_paper)
    return figure


def panel_grid(panels: Mapping[str, Sequence[object]], bounds: int, sheet: Sheet) -> tuple[Figure, NDArray[Any]]:
    """A figure with axes for each panel, shape (rows, columns), high enough for the names of lines and bounds."""
    if sheet.width:
        figure = sheet.figure((0, 0), paper_height(sheet.width))
        return figure, figure.subplots(1, 1, squeeze=False)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    most = max(map(len, panels.values())) + bounds
    figure = new_figure(max(4.8 * columns, 7.2), max(2.6 if columns > 1 else 3.8, 0.17 * most + 0.8) * rows)
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def paper_height(width: float) -> float:
    """Inches of a figure with one panel, without the legend below it."""
    return 1.4 + 0.12 * width


def finish_paper(
    figure: Figure,
    panels: Mapping[str, Sequence[Categorised]],
    bounds: Sequence[Categorised],
    everyone: Sequence[Categorised],
    sheet: Sheet,
) -> int:
    """The legend of a figure on paper, where lines have no names beside them; how many methods are grey there."""
    if not sheet.width:
        return 0
    from matplotlib.lines import Line2D

    own = [line.label for lines in panels.values() for line in lines]
    rest = len(everyone) - len(own) - len(bounds)
    handles = [Line2D([], [], **sheet.look(label), label=label) for label in sorted(own, key=sheet.order.index)]
    handles += [Line2D([], [], **bound_look(place), label=line.label) for place, line in enumerate(bounds)]
    legend_below(figure, [*handles, *sheet.others(rest)])
    return rest


def bound_look(place: int) -> dict[str, Any]:
    """Of a line that is there to measure others by."""
    return {"color": MUTED, "linewidth": 1, "linestyle": (0, (2 + 3 * place, 2))}


def label_panels(grid: NDArray[Any], names: Sequence[str], below: str, beside: str = "accuracy, %") -> None:
    """Titles where there are several panels, labels at the outer edges, and nothing where there is no panel."""
    if len(names) > 1:
        for axes, name in zip(grid.flat, names, strict=False):
            axes.set_title(name or "no category")
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(beside)
    columns = grid.shape[1]
    for column in range(columns):
        axes = grid[(len(names) - 1 - column) // columns, column]
        axes.set_xlabel(below)
        axes.xaxis.set_tick_params(labelbottom=True)


def plain_bounds(lines: Sequence[Drawn], sheet: Sheet) -> list[Drawn]:
    """The bounds that are drawn as such: on paper not those among the highlighted methods."""
    return [line for line in lines if line.category == "bound" and not (sheet.width and sheet.highlights(line.label))]


def by_category(lines: Sequence[Drawn], sheet: Sheet = SCREEN) -> dict[str, list[Drawn]]:
    """Which methods have lines of their own in which panel; the bounds among them only where nothing else is.

    On paper the highlighted methods share one panel.
    """
    if sheet.width:
        return {"all": [line for line in lines if sheet.highlights(line.label)]}
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


def _panel(
    axes: Axes, own: Sequence[Course], bounds: Sequence[Course], everyone: Sequence[Course], sheet: Sheet
) -> None:
    from matplotlib.collections import LineCollection

    front = {course.label for course in (*own, *bounds)}
    behind = [list(enumerate(course.mean)) for course in everyone if course.label not in front]
    axes.add_collection(
        LineCollection(behind, colors=GREY if sheet.width else FAINT, linewidths=0.6, zorder=1), autolim=False
    )
    ends = []
    for place, course in enumerate(bounds):
        axes.plot(course.mean, **bound_look(place), zorder=2)
        ends.append((course.label, course.mean[-1], {"color": MUTED, "fontsize": 7.5, "style": "italic"}))
    for place, course in enumerate(own):
        look = sheet.look(course.label)
        axes.plot(course.mean, **look, markevery=(place % 3, 3), zorder=4, label=course.label)
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
    if not sheet.width:
        label_lines(axes, ends)
