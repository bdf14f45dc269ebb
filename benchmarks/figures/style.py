"""What all figures share (benchmarks room): fonts, colours with dashes and markers, files with the same bytes always.

Colours are those of Okabe and Ito ("Color Universal Design", 2008) without yellow, which is lost on white, and the wine
of Paul Tol's muted scheme. Each comes with a marker and a dash, so that figures can be read in grey.
"""

from __future__ import annotations

import io
from functools import partial, wraps
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from fl_bench.errors import ConfigError
from fl_bench.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Format = Literal["svg", "pdf", "png"]
"""File formats of figures."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#333333", "#56B4E9", "#E69F00", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))

INK, MUTED, GREY, FAINT = "#1a1a1a", "#5f5f5f", "#a8a8a8", "#dcdcdc"
"""Of text, of what stands back, of methods that are not highlighted, and of what is there for context only."""

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

LEAST_POINTS = 7.0
"""Of text in a paper at its final size: what publishers ask for at the least."""

PAPER: dict[str, Any] = {
    "font.size": LEAST_POINTS,
    "axes.titlesize": LEAST_POINTS,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.4,
}
"""Settings on top of `RULES` for figures of a given width."""

NO_DATES: dict[Format, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with `RULES`, and `PAPER` if there is a `sheet` with a width, on top of matplotlib's own defaults.

    Raises:
        ConfigError: matplotlib is not installed.
    """

    @wraps(draw)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_matplotlib()
        import matplotlib

        sheet: Any = kwargs.get("sheet")
        paper = PAPER if sheet is not None and sheet.width else {}
        rules: dict[Any, Any] = {**matplotlib.rcParamsDefault, "backend": "agg", **RULES, **paper}
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


def new_figure(width: float, height: float, dpi: float = 160) -> Figure:
    """An empty figure, width and height in inches, that belongs to no window; dots per inch are those of PNG files.

    A notebook shows it as it would be saved.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=dpi)
    vars(figure)["_repr_png_"] = partial(_in_notebook, figure)  # matplotlib has one for figures of pyplot alone
    return figure


def _in_notebook(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """The figure as PNG, and its width on the screen."""
    return render(figure, "png"), {"width": round(96 * figure.get_figwidth())}


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
    figure.set(facecolor="white")
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


def set_title(figure: Figure, title: str, text: str, *, on_paper: bool = False) -> None:
    """A bold title, and below it, from the left edge on, what the figure shows; on paper neither is drawn.

    Both are kept as the figure's label, which `caption` reads.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure.set_label(f"{title}: {text}.")
    if on_paper:
        for axes in figure.axes:  # ticks made later, when it is drawn, are as large as those made now
            axes.tick_params(which="both", labelsize=LEAST_POINTS)
        return
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


def caption(figure: Figure) -> str:
    """What a figure shows, in words, whether it stands above it or not."""
    return str(figure.get_label())


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend under all axes, in as many columns as the width has room for; the figure grows by its height."""
    from matplotlib import rcParams

    size = float(rcParams["font.size"])
    entry = (0.64 * max(len(str(handle.get_label())) for handle in handles) + 5.2) * size  # points
    columns = max(1, min(len(handles), int(figure.get_figwidth() * 72 / entry)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + (1.75 * rows + 1) * size / 72)
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=size,
        handlelength=3,
        columnspacing=1.2,
        handletextpad=0.6,
    )


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the place-th of several lines; 256 differ, and the first eight in each of colour and
    marker."""
    turn, count = place // len(COLOURS), len(DASHES)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[(place + turn // count) % len(MARKERS)],
        "linestyle": DASHES[(place + turn) % count],
    }
