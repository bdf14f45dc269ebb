"""Accuracy against what messages tell a curious server about private data (benchmarks room, figures)."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from .costs import point_legend, point_panels
from .labels import label_points
from .sheet import SCREEN
from .style import INK, MUTED, lay_out, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .blocks import Block
    from .sheet import Sheet

ATTACKS = {
    "leak_membership": "membership of training samples: area under the curve (0.5 is guessing)",
    "leak_labels": "class shares: what is inferred is off by (total variation; 0 is exact)",
}
"""What accuracy is set against: column of `rounds.csv` to words."""

LEVELS = {"leak_membership": "guessing", "leak_labels": "a prior"}
"""What the vertical line of an attack is, where it finds nothing."""


@dataclass(frozen=True)
class Leak:
    """One method of a block; numbers of each seed, after the last round."""

    label: str
    category: str
    accuracy: tuple[float, ...]
    """Percent, of every seed that was attacked."""
    found: dict[str, tuple[float, ...]]
    """By name of `ATTACKS`; an attack that has no number is not there."""
    nothing: dict[str, float]
    """By name of `ATTACKS`, where the attack would stand that finds nothing."""


def read_leaks(block: Block) -> list[Leak]:
    """The methods whose messages were attacked, in the order of the block; none where `training.leakage` was off."""
    leaks = []
    for course in block.courses:
        last = [run.rounds[-1] for run in block.records[course.label]]
        found = {
            name: tuple(float(value) for row in last if isinstance(value := row.get(name), int | float))
            for name in ATTACKS
        }
        prior = [float(value) for row in last if isinstance(value := row.get("leak_labels_prior"), int | float)]
        found = {name: values for name, values in found.items() if len(values) == len(last)}
        if found:
            accuracy = tuple(values[-1] for values in course.accuracy)
            nothing = {"leak_membership": 0.5, **({"leak_labels": fmean(prior)} if prior else {})}
            leaks.append(Leak(course.label, course.category, accuracy, found, nothing))
    return leaks


@styled
def draw(leaks: Sequence[Leak], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """A panel per attack: every method where its mean is, seeds as a cross from the lowest to the highest.

    Args:
        leaks: the methods of one block that were attacked.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    shown = [name for name in ATTACKS if any(name in leak.found for leak in leaks)]
    sheet = sheet.of([leak.label for leak in leaks])
    figure, panels = point_panels(len(shown), (9.4, 3.4 * len(shown) + 0.5), sheet)
    for axes, name in zip(panels, shown, strict=True):
        _panel(axes, name, [leak for leak in leaks if name in leak.found], sheet)
    rest = point_legend(figure, [leak.label for leak in leaks], sheet)
    seeds = max(len(leak.accuracy) for leak in leaks)
    spread = f"; crosses: lowest to highest of {seeds} seeds" if seeds > 1 else ""
    set_title(
        figure,
        title,
        "mean client accuracy of the deployed models against what a curious server infers from the messages of the "
        f"last round{spread}; methods that send nothing, or nothing that these attacks read, are not shown"
        f"{sheet.rule(rest)}",
        on_paper=sheet.on_paper,
    )
    if sheet.width:
        return figure
    lay_out(figure)
    for axes, name in zip(panels, shown, strict=True):
        look = {"fontsize": 8, "color": INK, "zorder": 6}
        own = [leak for leak in leaks if name in leak.found]
        label_points(axes, [(leak.label, fmean(leak.found[name]), fmean(leak.accuracy), look) for leak in own], [])
    return figure


def _panel(axes: Axes, name: str, leaks: Sequence[Leak], sheet: Sheet) -> None:
    from matplotlib.ticker import MaxNLocator

    words = ATTACKS[name]
    axes.set_xlabel(words.replace(" (", "\n(").replace(": ", ":\n") if sheet.width else words)
    level = fmean(leak.nothing[name] for leak in leaks)
    left = level <= fmean(fmean(leak.found[name]) for leak in leaks)  # the name stands where most of the room is
    if sheet.width:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.axvline(level, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.annotate(
        LEVELS[name],
        (level, 0.02),
        xytext=(3 if left else -3, 0),
        ha="left" if left else "right",
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        color=MUTED,
        fontsize=sheet.points(7.5),
        style="italic",
    )
    for leak in leaks:
        look = sheet.mark(leak.label)
        across, up = leak.found[name], leak.accuracy
        x, y = fmean(across), fmean(up)
        axes.plot([min(across), max(across)], [y, y], color=look["color"], linewidth=0.8, alpha=0.6, zorder=3)
        axes.plot([x, x], [min(up), max(up)], color=look["color"], linewidth=0.8, alpha=0.6, zorder=3)
        axes.plot(x, y, **look, markersize=6, markeredgecolor="white", markeredgewidth=0.5, linestyle="none", zorder=4)
    axes.margins(0.06, 0.1)
