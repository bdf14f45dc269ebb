"""Names beside lines and points, where none covers another (benchmarks room, figures)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .style import MUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


def label_lines(axes: Axes, ends: Sequence[tuple[str, float, dict[str, Any]]], *, gap_points: float = 9.5) -> None:
    """Write names right of the axes beside the ends of lines, moved apart until none covers another.

    Args:
        axes: limits are set, and stay as they are; lines end at the right edge.
        ends: (name, height of the line's end in data units, keywords of the text) of each line.
        gap_points: least distance of two labels, in points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    height = axes.get_position().height * figure.get_figheight() * 72  # points; the final layout is hardly smaller
    low, high = axes.get_ylim()
    places = spread([end for _, end, _ in ends], gap_points / height * (high - low), low, high)
    for (name, end, look), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            xy=(1, end),
            xytext=(1.07, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linewidth": 0.5,
                "color": MUTED,
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 2,
            },
            **look,
        )


def label_points(
    axes: Axes,
    points: Sequence[tuple[str, float, float, dict[str, Any]]],
    line: Sequence[tuple[float, float]] = (),
) -> None:
    """Write names beside points, each where it covers no name, point or line; needs the figure's final layout.

    Places are tried from near to far, above before beside before below. A name that fits nowhere stands above.

    Args:
        axes: limits are set, and the layout has been made (`lay_out`).
        points: (name, x, y in data units, keywords of the text) of each; name "" for points to keep clear only.
        line: corners of a line to keep clear.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    scale = 72 / figure.dpi
    places = [tuple(axes.transData.transform((x, y)) * scale) for _, x, y, _ in points]
    low, _, high, top = (edge * scale for edge in axes.bbox.extents)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    corners = [tuple(axes.transData.transform(corner) * scale) for corner in line]
    for (x0, y0), (x1, y1) in pairwise(corners):
        taken.append((min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    for (name, x, y, look), (left, bottom) in zip(points, places, strict=True):
        if not name:
            continue
        wide, tall = 0.62 * len(name) * look.get("fontsize", 8) + 2, look.get("fontsize", 8) * 1.15
        boxes = [
            (left + dx - wide * (0.5 - 0.5 * side), bottom + dy - tall / 2, side, dx, dy)
            for step in (1, 2, 3, 4, 5)
            for side, dx, dy in (
                (0, 0, 3 + 8 * step),
                (1, 7 * step, 0),
                (-1, -7 * step, 0),
                (0, 0, -3 - 8 * step),
                (1, 6 * step, 9 * step),
                (-1, -6 * step, 9 * step),
                (1, 6 * step, -9 * step),
                (-1, -6 * step, -9 * step),
            )
        ]
        free = [
            box
            for box in boxes
            if low <= box[0]
            and box[0] + wide <= high
            and box[1] + tall <= top
            and not any(_overlap((box[0], box[1], box[0] + wide, box[1] + tall), other) for other in taken)
        ]
        start, base, side, dx, dy = (free or boxes)[0]
        taken.append((start, base, start + wide, base + tall))
        axes.annotate(
            name,
            (x, y),
            xytext=(dx, dy),
            textcoords="offset points",
            ha={0: "center", 1: "left", -1: "right"}[side],
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": MUTED, "shrinkA": 0, "shrinkB": 3}
            if abs(dx) + abs(dy) > 12
            else None,
            **look,
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as possible (least squares) to the wanted ones, in the same order and at least `gap` apart.

    Subtracting k * gap from the k-th smallest turns this into isotonic regression, which pooling neighbours that are
    out of order solves. Places stay within [low, high] where that leaves room for all; else they overflow evenly.
    """
    order = sorted(range(len(wanted)), key=lambda index: (wanted[index], index))
    pools: list[list[float]] = []  # [mean, members]
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, count = pools.pop()
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / (pools[-1][1] + count), pools[-1][1] + count]
    first, last = low, high - (len(wanted) - 1) * gap
    if first > last:
        first = last = (first + last) / 2
    flat = [min(max(mean, first), last) for mean, count in pools for _ in range(int(count))]
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = flat[rank] + rank * gap
    return places
