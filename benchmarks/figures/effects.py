"""How far every method is from the control, with intervals (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sheet import SCREEN
from .style import INK, MUTED, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

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
    families: Mapping[str, str] | None = None,
    title: str,
    text: str,
    sheet: Sheet = SCREEN,
) -> Figure:
    """A row per method, the one farthest behind the control at the bottom; families one above the other.

    Better methods stand to the right.

    Args:
        effects: of each method against the control.
        control: the vertical line at zero.
        rope: half width of the shaded region of equivalence, points.
        significant: methods that differ significantly: filled marks, bold names.
        impossible: methods whose test cannot reject with these blocks, whatever the numbers: dotted intervals.
        families: the family of tests of each method; without it, or with one, none is named.
        title: what stands above.
        text: tests, intervals and number of blocks, in words.
        sheet: its width.
    """
    rows = dict(_placed(_grouped(effects, families or {})))
    figure = sheet.figure((9.4, 0.2 * len(rows) + 1.6), 0.15 * len(rows) + 0.7)
    axes = figure.subplots()
    axes.axvspan(-rope, rope, color="#e3edf5", linewidth=0, zorder=0)
    axes.axvline(0, color="#0072B2", linewidth=1.2, zorder=1)
    for place, effect in rows.items():
        if isinstance(effect, str):
            axes.annotate(
                effect,
                (0, place),
                xytext=(4, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                va="center",
                fontsize=sheet.points(7.5),
                color=MUTED,
            )
            continue
        if effect.low is not None and effect.high is not None:
            dash = (0, (1, 1.2)) if effect.method in impossible else "-"
            interval = [effect.low, effect.high], [place, place]
            axes.plot(*interval, color=MUTED, linewidth=1.4, linestyle=dash, solid_capstyle="butt", zorder=2)
        sure = effect.method in significant
        axes.plot(
            effect.difference, place, marker="o", color=INK if sure else "white", markeredgecolor=INK, markersize=5
        )
        axes.annotate(
            f"{effect.wins} {effect.ties} {effect.losses}",
            (1, place),
            xytext=(8, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=sheet.points(7.5),
            color=MUTED,
        )
    named = {place: effect.method for place, effect in rows.items() if not isinstance(effect, str)}
    axes.set_yticks(list(named), list(named.values()), color=INK)
    for label, name in zip(axes.get_yticklabels(), named.values(), strict=True):
        label.set_fontweight("bold" if name in significant else "normal")
    axes.set(xlabel=f"points ahead of {control}", ylim=(-0.8, len(rows) - 0.2))
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    set_title(figure, title, text, on_paper=sheet.on_paper)
    return figure


def _grouped(effects: Sequence[Effect], families: Mapping[str, str]) -> dict[str, list[Effect]]:
    """Effects by family, families in the order in which they come, the best method last."""
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        found.setdefault(families.get(effect.method, ""), []).append(effect)
    return {name: sorted(group, key=lambda effect: (effect.difference, effect.method)) for name, group in found.items()}


def _placed(groups: Mapping[str, Sequence[Effect]]) -> Iterator[tuple[int, Effect | str]]:
    """Rows from the bottom up, with the name of a family above its methods where there are several."""
    place = 0
    for name in reversed(list(groups)):
        rows: list[Effect | str] = [*groups[name]]
        if len(groups) > 1:
            rows.append(name)
        yield from enumerate(rows, place)
        place += len(rows)
