"""What accuracy costs over several data sets: points against ratios of bytes and seconds (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .costs import numbers_between, point_legend, point_panels
from .labels import label_points
from .sheet import SCREEN
from .style import INK, MUTED, lay_out, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..statistics.costs import Cost, Estimate
    from .sheet import Sheet

RATIOS = ("bytes", "seconds")
"""What points are set against, by their names in `Cost`."""


@styled
def draw(costs: Sequence[Cost], *, rope: float, title: str, text: str, sheet: Sheet = SCREEN) -> Figure:
    """A panel for bytes and one for seconds: every method as a cross of its two intervals, the control at (1, 0).

    Better methods stand higher, and cheaper ones to the left.

    Args:
        costs: of each method against one control.
        rope: half width of the shaded region of equivalence, points.
        title: what stands above.
        text: what means and intervals are over, in words.
        sheet: its width, and how methods look.
    """
    control = costs[0].other
    sheet = sheet.of([control, *(cost.method for cost in costs)])
    shown = [name for name in RATIOS if _with(costs, name)]
    figure, panels = point_panels(len(shown), (9.4, 3.4 * len(shown) + 0.5), sheet)
    for axes, name in zip(panels, shown, strict=True):
        _panel(axes, _with(costs, name), rope, sheet)
        axes.plot(1, 0, **sheet.mark(control), markersize=7, markeredgecolor=INK, linestyle="none", zorder=5)
        axes.set_xlabel(f"times as many {name} as {control}")
        if axes.get_ylabel():
            axes.set_ylabel(f"points ahead of {control}")
    rest = point_legend(figure, [control, *(cost.method for cost in costs)], sheet)
    silent = [cost.method for cost in costs if cost.bytes is None]
    without = f"; without a ratio of bytes, where one of the two sends nothing: {', '.join(silent)}" if silent else ""
    set_title(figure, title, f"{text}{without}{sheet.rule(rest)}", on_paper=sheet.on_paper)
    if sheet.on_paper:
        return figure
    lay_out(figure)
    look = {"fontsize": 8, "color": INK, "zorder": 6}
    for axes, name in zip(panels, shown, strict=True):
        places = [(cost.method, ratio.value, cost.points.value, look) for cost, ratio in _with(costs, name)]
        label_points(axes, [(control, 1.0, 0.0, look), *places], [])
    return figure


def _with(costs: Sequence[Cost], name: str) -> list[tuple[Cost, Estimate]]:
    """The costs that have a ratio, with it."""
    return [(cost, ratio) for cost in costs if (ratio := getattr(cost, name)) is not None]


def _panel(axes: Axes, costs: Sequence[tuple[Cost, Estimate]], rope: float, sheet: Sheet) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.axhspan(-rope, rope, color="#e3edf5", linewidth=0, zorder=0)
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=1)
    for cost, ratio in costs:
        look, x, y = sheet.mark(cost.method), ratio.value, cost.points.value
        if ratio.low is not None and ratio.high is not None:
            axes.plot([ratio.low, ratio.high], [y, y], color=look["color"], linewidth=0.8, alpha=0.6, zorder=3)
        if cost.points.low is not None and cost.points.high is not None:
            ends = [cost.points.low, cost.points.high]
            axes.plot([x, x], ends, color=look["color"], linewidth=0.8, alpha=0.6, zorder=3)
        axes.plot(x, y, **look, markersize=6, markeredgecolor="white", markeredgewidth=0.5, linestyle="none", zorder=4)
    axes.margins(0.08, 0.1)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=numbers_between(high / low, sheet)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
