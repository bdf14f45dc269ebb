"""What all figures share (benchmarks room): fonts, colours with dashes and markers, files with the same bytes always.

Colours are those of Okabe and Ito ("Color Universal Design", 2008) without yellow, which is lost on white. Each comes
with a marker and, from the eighth on, with another dash, so that figures can be read in grey.
"""

from __future__ import annotations

import io
from functools import wraps
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from fl_bench.errors import ConfigError
from fl_bench.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["svg", "pdf", "png"]
"""File formats of figures."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#333333", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))

INK, MUTED, FAINT = "#1a1a1a", "#5f5f5f", "#dcdcdc"
"""Of text, of what stands back, and of what is there for context only."""

RULES: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "fl-bench",
    "pdf.fonttype": 42,
}
"""Settings of matplotlib that all figures are drawn with, whatever a user's own are."""

NO_DATES: dict[Format, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with `RULES` on top of matplotlib's own defaults.

    Raises:
        ConfigError: matplotlib is not installed.
    """

    @wraps(draw)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_matplotlib()
        import matplotlib

        rules: dict[Any, Any] = {**matplotlib.rcParamsDefault, "backend": "agg", **RULES}
        with matplotlib.rc_context(rules):
            return draw(*args, **kwargs)

    return call


def check_matplotlib() -> None:
    """Refuse to draw before any work is done.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        raise ConfigError("figures need matplotlib: pip install 'fl-bench[plots]'") from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, width and height in inches, that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@styled
def render(figure: Figure, kind: Format) -> bytes:
    """The content of a file; the same figure gives the same bytes.

    Drawn by the canvas itself: `Figure.savefig` draws everything twice, the first time for its layout, which is made
    anyway.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvases = {"svg": FigureCanvasSVG, "pdf": FigureCanvasPdf, "png": FigureCanvasAgg}
    buffer = io.BytesIO()
    figure.set(dpi=160, facecolor="white")
    write = getattr(canvases[kind](figure), f"print_{kind}")  # untyped in matplotlib
    write(buffer, metadata=NO_DATES[kind])
    return buffer.getvalue()


def lay_out(figure: Figure) -> None:
    """Fix where axes lie, so that names can be placed on them; what is added later moves nothing."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine("none")


def save(figure: Figure, place: Path, kind: Format) -> Path:
    """Write a figure.

    Args:
        figure: what to write.
        place: folder and name, without a suffix.
        kind: the format, which gives the suffix.
    Returns:
        The file.
    Raises:
        StorageError: it cannot be written.
    """
    path = place.with_name(f"{place.name}.{kind}")
    content = render(figure, kind)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def set_title(figure: Figure, title: str, text: str) -> None:
    """A bold title, and below it, from the left edge on, what the figure shows."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    size = 8.5
    letter = 0.53 * size  # mean width of DejaVu Sans in running text, points
    lines = wrap(text, int((figure.get_figwidth() * 72 - 16) / letter))
    height = figure.get_figheight() * 72
    figure.text(8 / 72 / figure.get_figwidth(), 1 - 6 / height, title, va="top", fontsize=10.5, weight="bold")
    figure.text(8 / 72 / figure.get_figwidth(), 1 - 21 / height, "\n".join(lines), va="top", fontsize=size, color=MUTED)
    top = 1 - (26 + 1.25 * size * len(lines)) / height
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, top))


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the place-th of several lines; 28 differ, and the dash changes with every round."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
    }


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
