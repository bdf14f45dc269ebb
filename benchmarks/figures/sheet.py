"""The sheet of all figures of one call (benchmarks room): how wide it is, which methods stand out and how they look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .style import GREY, LEAST_POINTS, line_style, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from .blocks import Block

HIGHLIGHTED = 8
"""Methods that stand out at most; as many colours and markers there are."""

DOTS = 300
"""Per inch of a PNG file on paper."""


@dataclass(frozen=True)
class Sheet:
    """What figures of one call have in common."""

    width: float | None = None
    """Inches, the figure's final width in a paper; None: the form for screens, with title and text above."""
    order: tuple[str, ...] = ()
    """Methods, those that stand out first; a method has the look of its place here in all figures."""

    @property
    def on_paper(self) -> bool:
        """Whether figures have a width of a paper, and no title."""
        return self.width is not None

    def of(self, labels: Sequence[str]) -> Sheet:
        """This sheet with all methods of a figure in its order.

        What it lacks comes last; but a method that is drawn as one line for several entries, `cosmos` for
        `cosmos[clusters=2]` and `cosmos[clusters=3]`, takes the place of the first of them.
        """
        order = list(self.order)
        for label in labels:
            entry = next((place for place, one in enumerate(order) if one.startswith(f"{label}[")), None)
            if label in order:
                continue
            if entry is None:
                order.append(label)
            else:
                order[entry] = label
        return replace(self, order=tuple(order))

    def highlights(self, label: str) -> bool:
        """Whether a method stands out."""
        return label in self.order[:HIGHLIGHTED]

    def look(self, label: str) -> dict[str, Any]:
        """Colour, marker and dash of a method, the same in all figures of the sheet."""
        return line_style(self.order.index(label))

    def mark(self, label: str) -> dict[str, Any]:
        """Colour and marker of a method; grey, and the same for all, where it does not stand out."""
        if not self.highlights(label):
            return {"color": GREY, "marker": "."}
        look = self.look(label)
        return {"color": look["color"], "marker": look["marker"]}

    def points(self, size: float) -> float:
        """The size of text that has this size on screens, points."""
        return LEAST_POINTS if self.width else size

    def figure(self, screen: tuple[float, float], height: float) -> Figure:
        """An empty figure.

        Args:
            screen: width and height for screens, inches.
            height: that of a figure of the sheet's width, inches.
        """
        return new_figure(*screen) if self.width is None else new_figure(self.width, height, DOTS)

    def others(self, count: int, **look: Any) -> list[Line2D]:
        """The entry of a legend for so many methods that do not stand out, by their look; none for none."""
        from matplotlib.lines import Line2D

        words = "1 other method" if count == 1 else f"{count} other methods"
        return [Line2D([], [], **{"color": GREY, "linewidth": 0.7, **look}, label=words)] if count else []

    def rule(self, rest: int) -> str:
        """Which methods stand out, in words that end a caption; nothing where all do."""
        if rest <= 0:
            return ""
        return (
            f"; in colour, eight at most: the control, the methods that were named first, then those of the best mean "
            f"ranks; grey: {rest} more"
        )


SCREEN = Sheet()
"""For screens, every figure with an order of its own."""


def ordered(blocks: Sequence[Block], first: Sequence[str]) -> tuple[str, ...]:
    """All methods of records: those of `first`, then by mean rank over data sets, bounds last.

    A rank is the share of a block's methods that end higher, so that small blocks count as much as large ones.

    Args:
        blocks: data sets in a setting.
        first: the control and what was named, in order; names without a record are passed over.
    """
    ranks: dict[str, list[float]] = {}
    bounds: set[str] = set()
    for block in blocks:
        ends = {course.label: course.mean[-1] for course in block.courses}
        bounds |= {course.label for course in block.courses if course.category == "bound"}
        for label, end in ends.items():
            ranks.setdefault(label, []).append(sum(other > end for other in ends.values()) / len(ends))
    front = [label for label in dict.fromkeys(first) if label in ranks]
    rest = sorted((label in bounds, fmean(ranks[label]), label) for label in ranks if label not in front)
    return (*front, *(label for _, _, label in rest))
