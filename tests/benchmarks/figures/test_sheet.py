"""Figures for papers: text that can be read at the final size, nothing outside or on top, eight methods at most."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fl_bench.benchmarks.figures import (
    clusters,
    costs,
    critical_difference,
    curves,
    deciles,
    effects,
    leakage,
    matrix,
    profiles,
    sweep,
    tradeoff,
)
from fl_bench.benchmarks.figures.blocks import Block
from fl_bench.benchmarks.figures.sheet import HIGHLIGHTED, Sheet, ordered
from fl_bench.benchmarks.figures.style import GREY, LEAST_POINTS, MUTED, caption, render
from fl_bench.benchmarks.figures.varied import Line, Sweep
from fl_bench.benchmarks.statistics.costs import Cost, Estimate
from fl_bench.benchmarks.statistics.result import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from fl_bench.benchmarks.figures.blocks import Course

METHODS = ("cosmos", "fedct[mode=sequential]", *(f"method-{number}" for number in range(10)))
KINDS = (
    "ranks",
    "effects",
    "matrix",
    "profiles",
    "curves",
    "costs",
    "deciles",
    "clusters",
    "leakage",
    "sweep",
    "tradeoff",
)


def effect(other: str, difference: float) -> Effect:
    return Effect(other, "cosmos", difference, difference - 1, difference + 1, 3, 1, 2, 0.5)


def span(value: float) -> Estimate:
    return Estimate(value, value - 0.5, value + 0.5)


@pytest.fixture
def drawn(course: Callable[..., Course]) -> Callable[[str, float | None], Figure]:
    """A figure of twelve methods, one of them with a long name."""

    def draw(kind: str, width: float | None) -> Figure:
        sheet = Sheet(width, METHODS)
        courses = [course(label, [50, 60 + place, 70 + place]) for place, label in enumerate(METHODS)]
        if kind == "curves":
            return curves.draw(courses, title="digits", sheet=sheet)
        if kind == "costs":
            return costs.draw(courses, title="digits", sheet=sheet)
        if kind == "deciles":
            rows = [deciles.deciles(label, "averaging", [10.0 * place, 100]) for place, label in enumerate(METHODS)]
            return deciles.draw(rows, title="digits", sheet=sheet)
        if kind == "profiles":
            found = profiles.profiles({label: [50.0 + place, 60] for place, label in enumerate(METHODS)})
            return profiles.draw(found, title="t", sheet=sheet)
        if kind == "ranks":
            ranks = {label: 1.0 + place for place, label in enumerate(METHODS)}
            return critical_difference.draw(ranks, [METHODS[:5], METHODS[3:]], 5, title="t", text="x", sheet=sheet)
        if kind == "effects":
            found = [effect(label, place - 5.0) for place, label in enumerate(METHODS[1:])]
            return effects.draw(found, control="cosmos", rope=1, significant=(), title="t", text="x", sheet=sheet)
        if kind == "matrix":
            names = matrix.fitting(METHODS, ["cosmos"], sheet)
            cells = {pair: matrix.Versus(-12.34, 10, 0, 10, 0.0001, True) for pair in itertools.permutations(names, 2)}
            return matrix.draw(names, cells, dict.fromkeys(names, 91.23), title="t", text="x", sheet=sheet)
        if kind == "clusters":
            member = clusters.Membership("cosmos", 3, (0, 0, 1, 1, 2, 2), ((0, 0, 1, 1, 2, 2),) * 30, (0.5,) * 30)
            return clusters.draw([member] * 5, title="digits", sheet=sheet)
        if kind == "leakage":
            leaks = [
                leakage.Leak(
                    label,
                    "averaging",
                    (50.0, 60.0 + place),
                    dict.fromkeys(leakage.ATTACKS, (0.5, 0.7)),
                    {
                        "leak_membership": 0.5,
                        "leak_labels": 0.9,
                    },
                )
                for place, label in enumerate(METHODS)
            ]
            return leakage.draw(leaks, title="digits", sheet=sheet)
        if kind == "tradeoff":
            found = [Cost(label, "cosmos", 9, span(place), span(2.0), span(1.5)) for place, label in enumerate(METHODS)]
            return tradeoff.draw(found[1:], rope=1.0, title="t", text="x", sheet=sheet)
        ends = [(float(place), float(place + 5)) for place in range(len(METHODS))]
        lines = tuple(
            Line(label, "averaging", (0.1, 1.0), end, end, end) for label, end in zip(METHODS, ends, strict=True)
        )
        swept = Sweep("digits", "partition.alpha", "", "r", lines, ("0",), True, (9,), False)
        return sweep.draw(swept, title="digits", sheet=sheet)

    return draw


def written(figure: Figure) -> list[Text]:
    """All text that is drawn, which ticks beyond an axis's limits are not; the figure is drawn for it."""
    FigureCanvasAgg(figure).draw()
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            edge = 1e-6 * (high - low)
            shown = axes.get_visible() and axes.axison
            hidden |= {
                id(label)
                for minor in (False, True)
                for place, label in zip(axis.get_ticklocs(minor=minor), axis.get_ticklabels(minor=minor), strict=False)
                if not (shown and low - edge <= place <= high + edge)
            }
            hidden |= set() if shown else {id(axis.label)}
    return [text for text in found if isinstance(text, Text) and text.get_text().strip() and id(text) not in hidden]


@pytest.mark.parametrize("width", [3.5, 7.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_for_a_paper_can_be_read(
    drawn: Callable[[str, float | None], Figure], kind: str, width: float
) -> None:
    figure = drawn(kind, width)
    assert figure.get_figwidth() == width
    texts = written(figure)
    assert min(text.get_fontsize() for text in texts) >= LEAST_POINTS
    assert not figure.texts  # neither a title nor words above
    assert caption(figure).endswith(".")
    for text in texts:
        box, name = text.get_window_extent(), text.get_text()
        assert min(box.x0, box.y0) >= -1, name
        assert (box.x1 <= figure.bbox.x1 + 1, box.y1 <= figure.bbox.y1 + 1) == (True, True), name
    for axes in figure.axes:
        names = [text.get_window_extent() for text in axes.texts]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
    for legend in figure.legends:
        for axes in figure.axes:
            assert not axes.get_tightbbox().overlaps(legend.get_window_extent())
        entries = [text.get_window_extent() for text in legend.get_texts()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(entries, 2))


def test_names_that_leave_no_room_for_the_ranks_are_cut() -> None:
    ranks = {f"{'long-' * 8}{letter}": 1.0 + place for place, letter in enumerate("abcd")}
    figure = critical_difference.draw(ranks, [], 1, title="t", text="x", sheet=Sheet(3.5))
    (axes,) = figure.axes
    assert axes.get_position().width * 3.5 > 0.75  # inches
    for text in written(figure):
        box = text.get_window_extent()
        assert (box.x0 >= 0, box.x1 <= figure.bbox.x1) == (True, True), text.get_text()


@pytest.mark.parametrize("kind", ["curves", "sweep", "profiles", "costs", "leakage", "tradeoff"])
def test_eight_methods_stand_out_and_the_others_are_one_grey_entry(
    drawn: Callable[[str, float | None], Figure], kind: str
) -> None:
    (legend,) = drawn(kind, 3.5).legends
    names = [text.get_text().split("  ")[0] for text in legend.get_texts()]
    assert set(names) == {*METHODS[:HIGHLIGHTED], "4 other methods"}
    looks = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == HIGHLIGHTED + 1
    assert len({marker for _, marker in looks}) == HIGHLIGHTED + 1  # told apart in grey
    assert GREY in {colour for colour, _ in looks}


@pytest.mark.parametrize("width", [None, 3.5])
def test_a_method_has_one_look_in_all_figures(
    drawn: Callable[[str, float | None], Figure], width: float | None
) -> None:
    for label in METHODS[:HIGHLIGHTED]:
        looks = {
            (line.get_color(), line.get_marker(), line.get_linestyle())
            for kind in ("curves", "profiles", "sweep")
            for line in drawn(kind, width).axes[0].lines
            if str(line.get_label()).split("  ")[0] == label
        }
        assert len(looks) == 1, label


@pytest.mark.parametrize("kind", ["curves", "costs", "clusters"])
def test_two_drawings_are_the_same_bytes(drawn: Callable[[str, float | None], Figure], kind: str) -> None:
    assert render(drawn(kind, 3.5), "svg") == render(drawn(kind, 3.5), "svg")


def test_what_was_named_comes_first_then_the_best_and_bounds_last(course: Callable[..., Course]) -> None:
    # `good` is second of four on a block: 1/4 end higher; `fair` third: 2/4; `poor` last: 3/4. `local` is a bound.
    ends = {"local": 90, "good": 80, "fair": 70, "poor": 60}
    courses = [
        course(label, [0, end], category="bound" if label == "local" else "averaging") for label, end in ends.items()
    ]
    block = Block("digits", "s", "", tuple(courses), {}, ())
    assert ordered([block], ["cosmos", "poor", "poor"]) == ("poor", "good", "fair", "local")


def test_the_median_seed_of_clusters_is_shown_with_the_others_in_grey() -> None:
    runs = [
        clusters.Membership("ifca", seed, (0, 1), ((0, 1),), (agreement,))
        for seed, agreement in enumerate((0.9, 0.1, 0.4, 0.2))
    ]
    shown = clusters.median_seed(runs)  # 0.1 0.2 0.4 0.9: the lower of the middle two
    assert (shown.seed, shown.others) == (3, ((0.9,), (0.1,), (0.4,)))
    assert "median" in caption(clusters.draw([shown], title="digits"))


def test_an_interval_that_no_test_can_confirm_is_dotted() -> None:
    figure = effects.draw(
        [effect("a", 3.0), effect("b", 2.0)],
        control="cosmos",
        rope=1,
        significant=(),
        impossible={"b"},
        title="t",
        text="x",
    )
    intervals = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_color() == MUTED]
    assert {line.get_ydata()[0]: line.get_linestyle() != "-" for line in intervals} == {0: True, 1: False}


def test_one_line_for_several_entries_takes_the_place_of_the_first() -> None:
    sheet = Sheet(order=("local", "cosmos[clusters=2]", "cosmos[clusters=3]"))
    assert sheet.of(["cosmos", "local", "new"]).order == ("local", "cosmos", "cosmos[clusters=3]", "new")
    assert Sheet().of(["b", "a"]).order == ("b", "a")
