"""The critical-difference diagram (benchmarks room, figures).

J. Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006, section 3.2.2. Methods stand
at their mean ranks, best to the left; a bar joins methods that are not told apart. Only maximal groups have a bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sheet import SCREEN
from .style import INK, MUTED, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from .sheet import Sheet

BAR = 0.16
"""Inches from bar to bar."""
LINE = 0.19
"""Inches from name to name."""
AXIS = 0.8
"""Inches of the axis at the least on paper; longer names are cut."""
LETTER = 0.058
"""Inches of a letter on paper, about."""
RANK = 7
"""Letters of a rank and the blanks around it."""


@styled
def draw(
    ranks: Mapping[str, float],
    groups: Sequence[Sequence[str]],
    critical_difference: float,
    *,
    title: str,
    text: str,
    control: str | None = None,
    sheet: Sheet = SCREEN,
) -> Figure:
    """The diagram; the better half of the methods is named on the left, the other half on the right.

    Args:
        ranks: mean rank of each method, 1 is best.
        groups: the maximal sets of methods within which no two differ, as `RankDifferences.groups` has them.
        critical_difference: drawn as a ruler.
        title: what stands above.
        text: test, level and number of blocks, in words.
        control: a method that is set in bold.
        sheet: its width.
    """
    bar_step, line_step = (0.1, 0.135) if sheet.width else (BAR, LINE)
    thick = 2.4 if sheet.width else 3.4
    ordered = sorted(ranks, key=lambda name: (ranks[name], name))
    bars = [group for group in groups if len(group) > 1]
    half = -(-len(ordered) // 2)
    levels = _levels([(min(map(ranks.__getitem__, bar)), max(map(ranks.__getitem__, bar))) for bar in bars])
    below = 0.16 + bar_step * (max(levels, default=-1) + 1) + 0.06
    above = 0.72 if sheet.width else 1.2  # inches from the axis to the upper edge
    height = above + below + line_step * half + (0.05 if sheet.width else 0.25)
    figure = sheet.figure((9.4, height), height)
    figure.set_layout_engine("none")
    left_side, right_side = 0.19, 0.19
    names = ordered
    if sheet.width:
        longest = [max(map(len, part)) for part in (ordered[:half], ordered[half:])]
        room = int((sheet.width - AXIS) / LETTER) - 2 * RANK
        most = max(room // 2, room - min(longest))
        names = [name if sum(longest) <= room or len(name) <= most else f"{name[: most - 1]}…" for name in ordered]
        left_side, right_side = (
            (max(map(len, part)) + RANK) * LETTER / sheet.width for part in (names[:half], names[half:])
        )
    across = 1 - left_side - right_side
    axes = figure.add_axes((left_side, 0, across, 1))
    low, high = 1.0, float(len(ordered))
    axis = height - above  # inches from the bottom
    axes.set(xlim=(low, high), ylim=(0, height))
    axes.axis("off")
    axes.plot([low, high], [axis, axis], color=INK, linewidth=1.1, clip_on=False)
    step = max(1, round(len(ordered) / (12 if sheet.width is None else 3.5 * sheet.width * across)))
    for rank in range(1, len(ordered) + 1, step):
        axes.plot([rank, rank], [axis, axis + 0.07], color=INK, linewidth=0.9, clip_on=False)
        axes.text(rank, axis + 0.12, str(rank), ha="center", va="bottom", color=MUTED, fontsize=sheet.points(8))
    ruler = min(critical_difference, high - low)
    label = f"CD {critical_difference:.2f}" + ("" if ruler == critical_difference else ", more than the axis is long")
    axes.plot([low, low + ruler], [axis + 0.42] * 2, color=INK, linewidth=1.6, marker="|", markersize=7, clip_on=False)
    axes.text(low + ruler / 2, axis + 0.47, label, ha="center", va="bottom", fontsize=sheet.points(8))
    for bar, level in zip(bars, levels, strict=True):
        y = axis - 0.16 - bar_step * level
        ends = min(map(ranks.__getitem__, bar)), max(map(ranks.__getitem__, bar))
        axes.plot(ends, [y, y], color=INK, linewidth=thick, solid_capstyle="round", clip_on=False, zorder=4)
    for place, (name, short) in enumerate(zip(ordered, names, strict=True)):
        left = place < half
        line = place if left else len(ordered) - 1 - place
        y = axis - below - line_step * line - 0.04
        edge = low - 0.01 * (high - low) if left else high + 0.01 * (high - low)
        color, width = ("#0072B2", 1.3) if name == control else (MUTED, 0.7)
        way = [ranks[name], ranks[name], edge], [axis, y, y]
        axes.plot(*way, color=color, linewidth=width, clip_on=False, zorder=2)
        axes.plot(ranks[name], axis, marker="o", markersize=3.4, color=color, clip_on=False, zorder=5)
        axes.text(
            edge,
            y,
            f" {short} {ranks[name]:.2f} ",
            ha="right" if left else "left",
            va="center",
            weight="bold" if name == control else "normal",
            fontsize=sheet.points(8.5),
        )
    set_title(figure, title, text, on_paper=sheet.on_paper)
    return figure


def _levels(spans: Sequence[tuple[float, float]]) -> list[int]:
    """A level for each bar, from the axis down, so that bars of one level do not touch."""
    ends: list[float] = []
    levels = []
    for low, high in spans:
        level = next((level for level, end in enumerate(ends) if low > end), len(ends))
        ends[level : level + 1] = [high]
        levels.append(level)
    return levels
