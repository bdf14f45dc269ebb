"""Accuracy or costs against the one setting that varies, with the range of the seeds (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..grid.names import short
from .blocks import COSTS
from .costs import amount
from .curves import bound_look, by_category, finish_paper, label_panels, panel_grid, plain_bounds
from .labels import label_lines
from .sheet import SCREEN
from .style import FAINT, GREY, INK, MUTED, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .sheet import Sheet
    from .varied import Line, Sweep

BESIDE = {"accuracy": "accuracy, %", "bytes": "bytes sent", "seconds": "seconds of training"}
"""What stands beside the vertical axis."""

DECADES = 30
"""From this ratio of the largest to the smallest value on, the axis is logarithmic."""


@styled
def draw(sweep: Sweep, *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """A line per method, mean over seeds, lowest to highest seed as a band; of costs, those of whole runs.

    As many methods as there are colours share a panel; else each category has one, with all other methods faint behind
    it and the bounds in every one.

    On paper there is one panel of the highlighted methods, the others grey.

    Args:
        sweep: runs that differ in one setting.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    sheet = sheet.of([line.label for line in sweep.lines])
    panels = by_category(sweep.lines, sheet)
    bounds = plain_bounds(sweep.lines, sheet)
    figure, grid = panel_grid(panels, len(bounds), sheet)
    _scale(grid[0, 0], sweep)
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, own, bounds if name != "bound" else [], sweep.lines, sheet)
    rest = finish_paper(figure, panels, bounds, sweep.lines, sheet)
    below = f"{short(sweep.setting)} ({sweep.of})" if sweep.of else short(sweep.setting)
    label_panels(grid, list(panels), below, BESIDE[sweep.measure])
    set_title(figure, title, caption(sweep) + sheet.rule(rest), on_paper=sheet.on_paper)
    return figure


def caption(sweep: Sweep) -> str:
    """What the figure shows, in words."""
    after = " or ".join(map(str, sweep.rounds))
    several = f"bands: lowest to highest of seeds {' '.join(sweep.seeds)}"
    seeds = several if len(sweep.seeds) > 1 else f"seed {sweep.seeds[0]}"
    gaps = "" if sweep.balanced else "; not every method has every seed at every value"
    whose = "mean accuracy of honest clients" if sweep.honest else "mean client accuracy"
    what = (
        f"{whose} after round {after}"
        if sweep.measure == "accuracy"
        else f"{COSTS[sweep.measure]}, up to round {after}"
    )
    return f"{what}, all other settings equal; {seeds}{gaps}"


def _scale(axes: Axes, sweep: Sweep) -> None:
    """Limits and ticks: the values that were run."""
    values = sorted({value for line in sweep.lines for value in line.values})
    low, high = values[0], values[-1]
    if low > 0 and high / low >= DECADES:
        axes.set_xscale("log")
        edge = (high / low) ** 0.012
        axes.set_xlim(low / edge, high * edge)
    else:
        edge = 0.012 * (high - low)
        axes.set_xlim(low - edge, high + edge)
    axes.set_xticks(values, labels=[f"{value:g}" for value in values], minor=False)
    axes.xaxis.set_tick_params(which="minor", bottom=False, labelbottom=False)
    lowest = min(value for line in sweep.lines for value in line.lowest)
    highest = max(value for line in sweep.lines for value in line.highest)
    if sweep.measure != "accuracy":
        _scale_costs(axes, sweep.measure, lowest, highest)
        return
    margin = 0.06 * max(highest - lowest, 2.0)
    axes.set_ylim(max(lowest - margin, 0.0), min(highest + margin, 100.5))


def _scale_costs(axes: Axes, cost: str, lowest: float, highest: float) -> None:
    """From nothing on, or logarithmic where methods are far apart."""
    if lowest > 0 and highest / lowest >= DECADES:
        axes.set_yscale("log")
        edge = (highest / lowest) ** 0.05
        axes.set_ylim(lowest / edge, highest * edge)
        axes.yaxis.set_tick_params(which="minor", labelleft=False)
    else:
        axes.set_ylim(0.0, 1.08 * highest)
    axes.yaxis.set_major_formatter(lambda value, _: amount(value, cost))


def _panel(axes: Axes, own: Sequence[Line], bounds: Sequence[Line], everyone: Sequence[Line], sheet: Sheet) -> None:
    front = {line.label for line in (*own, *bounds)}
    for line in everyone:
        if line.label not in front:
            axes.plot(line.values, line.mean, color=GREY if sheet.width else FAINT, linewidth=0.6, zorder=1)
    ends = []
    for place, line in enumerate(bounds):
        axes.plot(line.values, line.mean, **bound_look(place), zorder=2)
        ends.append((line.label, line.mean[-1], {"color": MUTED, "fontsize": 7.5, "style": "italic"}))
    for line in own:
        look = sheet.look(line.label)
        axes.plot(line.values, line.mean, **look, zorder=4, label=line.label)
        axes.fill_between(
            line.values, line.lowest, line.highest, color=look["color"], alpha=0.12, linewidth=0, zorder=3
        )
        ends.append((line.label, line.mean[-1], {"color": INK, "fontsize": 8}))
    if not sheet.width:
        label_lines(axes, ends)
