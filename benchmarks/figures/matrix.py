"""The multi-comparison matrix: every method against every other one (benchmarks room, figures).

A. Ismail-Fawaz et al., "An Approach to Multiple Comparison Benchmark Evaluations that is Stable Under Manipulation of
the Comparate Set", 2023, arXiv:2305.11921. What stands in a cell depends on its two methods only; mean ranks do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .sheet import HIGHLIGHTED, SCREEN
from .style import INK, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from .sheet import Sheet

MOST = 12
"""Methods that fit; a comparison of more shows the control, the bounds and the best ones."""

NARROW = 0.46
"""Inches of a cell on paper, where the numbers just fit."""

LETTER = 0.0625
"""Inches of a letter of a name on paper, about."""


@dataclass(frozen=True)
class Versus:
    """One method against another, in the form that a cell shows."""

    difference: float
    """Points, row minus column."""
    wins: int
    ties: int
    losses: int
    p: float
    """Adjusted."""
    significant: bool


def versus(
    scores: Sequence[float | None], others: Sequence[float | None], margin: float
) -> tuple[float, int, int, int]:
    """Mean difference over the blocks that both have, and wins, ties and losses beyond a margin."""
    gaps = [one - two for one, two in zip(scores, others, strict=True) if one is not None and two is not None]
    wins, losses = sum(gap > margin for gap in gaps), sum(gap < -margin for gap in gaps)
    return sum(gaps) / len(gaps), wins, len(gaps) - wins - losses, losses


def chosen(ordered: Sequence[str], always: Sequence[str], most: int = MOST) -> list[str]:
    """At most so many methods: those of `always` that are there, then the first ones, in the given order."""
    kept = [name for name in always if name in ordered][:most]
    kept += [name for name in ordered if name not in kept][: most - len(kept)]
    return [name for name in ordered if name in kept]


def fitting(ordered: Sequence[str], always: Sequence[str], sheet: Sheet) -> list[str]:
    """What is `chosen` for a sheet: as many methods as its width has room for, the longest name counted in."""
    if not sheet.width:
        return chosen(ordered, always)
    for most in range(HIGHLIGHTED, 2, -1):
        names = chosen(ordered, always, most)
        if NARROW * len(names) + LETTER * max(7, *map(len, names)) + 0.25 <= sheet.width:
            return names
    return chosen(ordered, always, 2)


@styled
def draw(
    names: Sequence[str],
    cells: Mapping[tuple[str, str], Versus],
    means: Mapping[str, float],
    *,
    title: str,
    text: str,
    sheet: Sheet = SCREEN,
) -> Figure:
    """Rows and columns are methods, best first; a cell says how the row does against the column.

    Colour is the difference (orange: the row is behind, blue: ahead); the signs say the same in grey, and a bold cell
    with a frame is significant.

    Args:
        names: at least two methods.
        cells: one per ordered pair.
        means: mean accuracy of each, percent.
        title: what stands above.
        text: test, correction, margin and number of blocks, in words.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    size = 0.74
    screen = max(size * len(names) + 1.9, 6.4), 0.62 * size * len(names) + 1.7
    figure = sheet.figure(screen, 0.42 * len(names) + 0.075 * max(map(len, names)) * 0.6 + 0.2)
    axes = figure.subplots()
    far = max((abs(cell.difference) for cell in cells.values()), default=0) or 1.0
    shades = LinearSegmentedColormap.from_list("behind, ahead", ["#E8A26B", "#FFFFFF", "#7FB3DB"])
    for (row, column), cell in cells.items():
        x, y = names.index(column), names.index(row)
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=shades(0.5 + 0.5 * cell.difference / far), linewidth=0))
        if cell.significant:
            axes.add_patch(Rectangle((x + 0.03, y + 0.04), 0.94, 0.92, fill=False, edgecolor=INK, linewidth=1.3))
        weight = "bold" if cell.significant else "normal"
        lines = (
            f"{cell.difference:+.2f}",
            f"{cell.wins} {cell.ties} {cell.losses}",
            _probability(cell.p, short=bool(sheet.width)),
        )
        for line, height, points in zip(lines, (0.24, 0.53, 0.8), (8.5, 7.5, 7.5), strict=True):
            at = x + 0.5, y + height
            axes.text(*at, line, ha="center", va="center", fontsize=sheet.points(points), weight=weight)
    for place in range(len(names)):
        axes.add_patch(Rectangle((place, place), 1, 1, facecolor="#f3f3f3", linewidth=0))
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
    centres = [place + 0.5 for place in range(len(names))]
    axes.set_yticks(centres, [f"{name}\n{means[name]:.2f} %" for name in names], color=INK)
    axes.set_xticks(centres, [f"{name}" for name in names], color=INK, rotation=35, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for edge in range(1, len(names)):
        axes.axhline(edge, color="white", linewidth=1.5)
        axes.axvline(edge, color="white", linewidth=1.5)
    set_title(figure, title, text, on_paper=sheet.on_paper)
    return figure


def _probability(p: float, *, short: bool) -> str:
    """`p = .016`, or `p .016` where there is little room."""
    text = "p < .001" if p < 0.001 else "p = 1" if p >= 0.9995 else f"p = {p:.3f}".replace("0.", ".")
    return text.replace("= ", "").replace("< ", "<") if short else text
