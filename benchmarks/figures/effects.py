"""How far every method is from the control, with intervals (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sheet import SCREEN
from .style import INK, MUTED, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.figure import Figure

    from ..statistics.result import Effect
    from .sheet import Sheet


@styled
def draw(
    effects: Sequence[Effect],
    *,
    control: str,
    rope: float,
    significant: Collection[str],
    impossible: Collection[str] = (),
    title: str,
    text: str,
    sheet: Sheet = SCREEN,
) -> Figure:
    """A row per method, the one that the control is farthest ahead of at the bottom.

    Differences are the other way round than in tables, method minus control, so that better methods stand to the right.

    Args:
        effects: of the control against each other method.
        control: the vertical line at zero.
        rope: half width of the shaded region of equivalence, points.
        significant: methods that differ significantly: filled marks, bold names.
        impossible: methods whose test cannot reject with these blocks, whatever the numbers: dotted intervals.
        title: what stands above.
        text: tests, intervals and number of blocks, in words.
        sheet: its width.
    """
    ordered = sorted(effects, key=lambda effect: (-effect.difference, effect.other))
    figure = sheet.figure((9.4, 0.2 * len(ordered) + 1.6), 0.15 * len(ordered) + 0.7)
    axes = figure.subplots()
    axes.axvspan(-rope, rope, color="#e3edf5", linewidth=0, zorder=0)
    axes.axvline(0, color="#0072B2", linewidth=1.2, zorder=1)
    for place, effect in enumerate(ordered):
        if effect.low is not None and effect.high is not None:
            dash = (0, (1, 1.2)) if effect.other in impossible else "-"
            interval = [-effect.high, -effect.low], [place, place]
            axes.plot(*interval, color=MUTED, linewidth=1.4, linestyle=dash, solid_capstyle="butt", zorder=2)
        sure = effect.other in significant
        axes.plot(
            -effect.difference, place, marker="o", color=INK if sure else "white", markeredgecolor=INK, markersize=5
        )
        axes.annotate(
            f"{effect.losses} {effect.ties} {effect.wins}",
            (1, place),
            xytext=(8, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=sheet.points(7.5),
            color=MUTED,
        )
    axes.set_yticks(range(len(ordered)), [effect.other for effect in ordered], color=INK)
    for label, effect in zip(axes.get_yticklabels(), ordered, strict=True):
        label.set_fontweight("bold" if effect.other in significant else "normal")
    axes.set(xlabel=f"points ahead of {control}", ylim=(-0.8, len(ordered) - 0.2))
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    set_title(figure, title, text, on_paper=sheet.on_paper)
    return figure
