"""Performance profiles: how often a method is nearly the best (benchmarks room, figures).

E. D. Dolan and J. J. More, "Benchmarking optimization software with performance profiles", Mathematical Programming 91,
2002; here with distances in percentage points instead of ratios, since accuracies near 100 have no useful ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..statistics.table import settled
from .sheet import HIGHLIGHTED, SCREEN
from .style import FAINT, GREY, legend_below, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from .sheet import Sheet


@dataclass(frozen=True)
class Profile:
    """One method; a step function of the distance."""

    label: str
    distances: tuple[float, ...]
    """To the best method on each block, points, rising; shape (blocks,)."""

    def share(self, distance: float) -> float:
        """Share of blocks on which the method is within `distance` points of the best."""
        return sum(own <= distance for own in self.distances) / len(self.distances)

    @property
    def area(self) -> float:
        """Mean distance to the best: the area above the profile."""
        return sum(self.distances) / len(self.distances)


def profiles(scores: Mapping[str, Sequence[float]]) -> list[Profile]:
    """Profiles of methods that have a score on every block, the least mean distance first.

    Args:
        scores: method to accuracies, percent, in the same order of blocks, at least one.
    """
    best = [max(values) for values in zip(*scores.values(), strict=True)]
    found = [
        Profile(label, tuple(sorted(settled([top - own for top, own in zip(best, values, strict=True)]).tolist())))
        for label, values in scores.items()
    ]
    return sorted(found, key=lambda profile: (profile.area, profile.label))


@styled
def draw(found: Sequence[Profile], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """The profiles as steps; those of highlighted methods by name, the rest faint.

    Args:
        found: what `profiles` gives.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    sheet = sheet.of([profile.label for profile in found])
    named = {profile.label for profile in found if sheet.highlights(profile.label)}
    named = named or {profile.label for profile in found[:HIGHLIGHTED]}
    blocks = len(found[0].distances)
    figure = sheet.figure((9.4, 4.6), 1.4 + 0.12 * (sheet.width or 0))
    axes = figure.subplots()
    far = max(profile.distances[-1] for profile in found if profile.label in named) * 1.05 + 0.5
    axes.set(xlim=(0, far), ylim=(-0.02, 1.03), xlabel="points behind the best method of the block")
    axes.set_ylabel(f"share of the {blocks} blocks")
    handles = []
    for profile in found:
        x = [0.0, *profile.distances, max(far, profile.distances[-1])]
        y = [profile.share(0.0), *(profile.share(distance) for distance in profile.distances), 1.0]
        if profile.label in named:
            label = f"{profile.label}  {profile.area:.1f}"
            handles += axes.step(x, y, where="post", **sheet.look(profile.label), label=label, zorder=3)
        else:
            axes.step(x, y, where="post", color=GREY if sheet.width else FAINT, linewidth=0.7, zorder=1)
    rest = len(found) - len(named)
    if sheet.width:
        legend_below(figure, [*handles, *sheet.others(rest)])
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, handlelength=3.2, labelspacing=0.9)
    set_title(
        figure,
        title,
        f"on which share of the {blocks} blocks (data sets in a setting) a method is within so many points of the best"
        f"; number after a name: mean points behind the best{sheet.rule(rest)}",
        on_paper=sheet.on_paper,
    )
    return figure
