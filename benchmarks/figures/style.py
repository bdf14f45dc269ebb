"""What all figures share (benchmarks room): fonts, colours with dashes and markers, files with the same bytes each time.

Colours are those of Okabe and Ito ("Color Universal Design", 2008) without yellow, which is lost on white. Each comes
with a marker and, from the eighth on, with another dash, so that figures can be read in grey.
"""

from __future__ import annotations

import io
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from fl_bench.errors import ConfigError, DataError

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

        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RULES}):
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
    """The content of a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160, metadata=NO_DATES[kind], facecolor="white")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the path's suffix says in which format.

    Raises:
        DataError: the file cannot be written.
    """
    kinds: dict[str, Format] = {".svg": "svg", ".pdf": "pdf", ".png": "png"}
    content = render(figure, kinds[path.suffix])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


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
            xytext=(1.06, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": look.get("color", MUTED), "shrinkA": 1, "shrinkB": 0},
            **look,
        )


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
