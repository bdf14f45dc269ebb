"""The numbers that figures show, by hand, and that each of them is drawn of the smallest and of large inputs."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from fl_bench.benchmarks.figures import (
    clusters,
    costs,
    critical_difference,
    curves,
    deciles,
    effects,
    gallery,
    matrix,
    profiles,
    tradeoff,
)
from fl_bench.benchmarks.figures.blocks import read_blocks
from fl_bench.benchmarks.figures.sheet import Sheet
from fl_bench.benchmarks.figures.style import caption, render
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.costs import Cost, Estimate, costs_of
from fl_bench.benchmarks.statistics.numbers import read_table
from fl_bench.benchmarks.statistics.plan import Plan
from fl_bench.benchmarks.statistics.ranks import cliques
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.statistics.result import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from fl_bench.benchmarks.figures.blocks import Course
    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.statistics.result import Comparison


def svg(figure: Figure) -> str:
    return render(figure, "svg").decode()


def texts(figure: Figure) -> set[str]:
    """All that can be read in a figure."""
    return set(re.findall(r"<(?:text|tspan)[^>]*>([^<]*)</", svg(figure)))


# ---- Pareto front ----------------------------------------------------------------------------------------------------


def test_the_front_by_hand() -> None:
    #            cheap, poor  dear, good  dear, poor  free     as dear as 1 and poorer
    points = [(2.0, 50.0), (5.0, 90.0), (6.0, 80.0), (0.0, 40.0), (5.0, 89.0)]
    assert costs.front(points) == [3, 0, 1]


def test_equal_points_are_on_the_front_together() -> None:
    assert costs.front([(1.0, 5.0), (1.0, 5.0), (1.0, 4.0)]) == [0, 1]
    assert costs.front([(1.0, 5.0), (2.0, 5.0)]) == [0]  # dearer and no better


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    def dominated(point: tuple[float, float]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    assert sorted(costs.front(points)) == [place for place, point in enumerate(points) if not dominated(point)]


def test_costs_name_the_front_and_take_no_best_round(course: Callable[..., Course]) -> None:
    # `early` was best in its first round at half the price; what counts is where it ends: behind `late`.
    methods = [course("early", [99, 10]), course("late", [1, 50]), course("poor", [1, 20])]
    for axes in costs.draw(methods, title="digits").axes:
        assert {text.get_text(): text.get_weight() for text in axes.texts} == {
            "early": "normal",
            "late": "bold",
            "poor": "normal",
        }


def test_of_many_methods_the_front_and_the_best_known_have_names(course: Callable[..., Course]) -> None:
    methods = [course(f"m{number}", [1, number]) for number in range(20)] + [course("cosmos", [1, 3])]
    for axes in costs.draw(methods, title="digits").axes:
        assert {text.get_text() for text in axes.texts} == {"m19", "cosmos"}


def test_pooled_bounds_do_not_compete(course: Callable[..., Course]) -> None:
    free = dict.fromkeys(("bytes", "seconds", "samples"), ((0.0, 0.0),))
    bound = course("pooled-bound", [99, 99], is_reference=True, costs=free, category="bound")
    figure = costs.draw([course("fedavg", [1, 50]), bound], title="digits")
    for axes in figure.axes:
        bold = {text.get_text() for text in axes.texts if text.get_weight() == "bold"}
        assert bold == {"fedavg"}
    assert "pooled-bound" in texts(figure)


# ---- costs over several data sets ------------------------------------------------------------------------------------


def test_better_methods_stand_higher_and_cheaper_ones_to_the_left() -> None:
    # `fedavg` is 2 points (1 to 3) behind the control for a quarter (1/8 to 1/2) of the bytes and twice the seconds;
    # `local`, which sends nothing, is 1 ahead.
    behind = Cost("fedavg", "cosmos", 9, Estimate(-2, -3, -1), Estimate(0.25, 0.125, 0.5), Estimate(2, None, None))
    ahead = Cost("local", "cosmos", 9, Estimate(1, None, None), None, Estimate(0.5, None, None))
    figure = tradeoff.draw([behind, ahead], rope=1, title="t", text="x")
    sent, waited = figure.axes
    assert sent.get_xlabel() == "times as many bytes as cosmos"
    points = [
        [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xydata()) == 1] for axes in figure.axes
    ]
    assert points == [[(0.25, -2), (1, 0)], [(2, -2), (0.5, 1), (1, 0)]]
    crosses = [line.get_xydata().tolist() for line in sent.lines if line.get_alpha() == 0.6]
    assert crosses == [[[0.125, -2], [0.5, -2]], [[0.25, -3], [0.25, -1]]]
    assert not any(line.get_alpha() == 0.6 for line in waited.lines if line.get_ydata()[0] == 1)
    assert {text.get_text() for text in waited.texts} == {"cosmos", "fedavg", "local"}
    assert "without a ratio of bytes, where one of the two sends nothing: local" in caption(figure)


def test_costs_over_data_sets_are_drawn_from_records(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for dataset in ("digits", "vowel"):
        for method, accuracy, seconds in (("fedmd", 60.0, 2.0), ("local", 50.0, 1.0)):
            made = outcome({"client": [0.0, accuracy]}, seconds=seconds)
            store.write(cell_of(method, datasets=(dataset,)), made)
    records = store.records()
    both = compare(read_records(records), Options("fedmd"))
    (found,) = costs_of(both, records)
    assert (found.points.value, found.seconds.value if found.seconds else None) == pytest.approx((-10, 0.5))
    (drawing,) = gallery.from_costs([found], both)
    assert "too few of them for intervals" in caption(drawing.draw())
    one = compare(read_records([one for one in records if one.cell["dataset"] == "vowel"]), Options("fedmd"))
    assert gallery.from_costs([found], one) == []


def test_methods_have_the_colour_of_their_place_whatever_their_category(course: Callable[..., Course]) -> None:
    sheet = Sheet(None, ("b", "a"))
    courses = [course("a", [1, 50]), course("b", [1, 40])]  # of one category
    for axes in costs.draw(courses, title="t", sheet=sheet).axes:
        marks = {line.get_marker(): line.get_color() for line in axes.lines if line.get_marker() not in ("None", "")}
        assert {sheet.mark(name)["marker"]: sheet.mark(name)["color"] for name in "ab"} == marks
    rows = [deciles.deciles(name, "", [10.0, 90.0]) for name in "ab"]
    bars = deciles.draw(rows, title="t", sheet=sheet).axes[0].patches
    assert {to_hex(bar.get_facecolor()) for bar in bars} == {sheet.mark(name)["color"].lower() for name in "ab"}


# ---- performance profiles --------------------------------------------------------------------------------------------


def test_profiles_by_hand() -> None:
    # Best per block: 90, 80, 70. `a` is behind by 0, 0, 10; `b` by 5, 2, 0.
    a, b = profiles.profiles({"b": [85.0, 78.0, 70.0], "a": [90.0, 80.0, 60.0]})[::-1]
    assert (a.label, a.distances, b.label, b.distances) == ("a", (0.0, 0.0, 10.0), "b", (0.0, 2.0, 5.0))
    assert [a.share(distance) for distance in (0.0, 9.9, 10.0)] == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert [b.share(distance) for distance in (0.0, 2.0, 5.0)] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert (a.area, b.area) == pytest.approx((10 / 3, 7 / 3))


# ---- deciles ---------------------------------------------------------------------------------------------------------


def test_deciles_by_hand() -> None:
    # 0, 10, ..., 100: the k-th decile of eleven evenly spaced values is the k-th value.
    row = deciles.deciles("fedmd", "distillation", [100.0, *range(0, 100, 10)])
    assert row.values == pytest.approx(range(0, 101, 10))
    assert (row.mean, row.clients) == (50.0, 11)
    # Two clients: linear in between.
    assert deciles.deciles("a", "", [0.0, 1.0]).values == pytest.approx(np.arange(11) / 10)


def test_deciles_are_of_the_last_round_and_all_seeds(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for seed in (0, 1):
        told = outcome({"client": [1.0, 2.0]})
        for row in told.clients:
            row |= {"client.acc": 100.0 * seed if row["round"] == 1 else 33.0}  # type: ignore[operator]
        store.write(cell_of("local", seed=seed), told)
    (row,) = deciles.read_deciles(read_blocks(store.records())[0])
    assert (row.values[0], row.values[10], row.clients) == (0.0, 100.0, 2)


# ---- clusters --------------------------------------------------------------------------------------------------------


def test_clusters_keep_their_numbers() -> None:
    # Round 2 swaps the numbers, round 3 splits client 3 off, round 4 brings it back under the method's number 7.
    named = [[4, 4, 9, 9], [9, 9, 4, 4], [9, 9, 4, 5], [2, 2, 7, 7]]
    assert clusters.renumbered(named) == ((0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 1))


def test_an_absent_client_is_in_no_cluster_and_is_remembered() -> None:
    # Client 0 is away in round 2; in round 3 its old companions decide nothing: only it was in cluster 0.
    named = [[0, 1, 1], [None, 5, 5], [3, 8, 8]]
    assert clusters.renumbered(named) == ((0, 1, 1), (None, 1, 1), (0, 1, 1))


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=6))
def test_new_numbers_are_the_same_clusters(named: list[list[int]]) -> None:
    for before, after in zip(named, clusters.renumbered(named), strict=True):
        for one, other in itertools.combinations(range(5), 2):
            assert (before[one] == before[other]) == (after[one] == after[other])


@pytest.mark.parametrize("nowhere", [None, -1])
def test_a_membership_is_read_from_a_record(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], nowhere: int | None
) -> None:
    told = outcome({"client": [1.0, 2.0]})
    told.rounds[1] |= {"cluster_ari": 0.5}  # type: ignore[operator]
    rows = [
        {"round": number, "client": client, "group": client % 2, "cluster": cluster, "client.acc": 1.0}
        for number, line in enumerate(([3, 3, 8], [8, nowhere, 3]))
        for client, cluster in enumerate(line)
    ]
    told.clients[:] = rows  # type: ignore[index]
    store.write(cell_of("cosmos"), told)
    store.write(cell_of("local"), outcome({"client": [1.0, 2.0]}))
    (membership,) = clusters.read_memberships(read_blocks(store.records())[0])
    assert (membership.label, membership.groups, membership.agreement) == ("cosmos", (0, 1, 0), (None, 0.5))
    # The method swaps its names in round 2; 8 then holds client 0, who was in 0, and 3 holds client 2, who was in 1.
    assert membership.clusters == ((0, 0, 1), (0, None, 1))
    assert {"cosmos", "group 0", "group 1", "ARI"} <= texts(clusters.draw([membership], title="digits"))


# ---- critical difference ---------------------------------------------------------------------------------------------


@given(st.lists(st.integers(2, 16), min_size=2, max_size=8), st.integers(1, 8))
def test_bars_are_the_maximal_sets_of_methods_that_are_not_told_apart(halves: list[int], double: int) -> None:
    ranks, difference = [half / 2 for half in halves], double / 2
    places = range(len(ranks))
    alike = [
        set(some)
        for size in range(2, len(ranks) + 1)
        for some in itertools.combinations(places, size)
        if all(abs(ranks[one] - ranks[other]) < difference for one, other in itertools.combinations(some, 2))
    ]
    maximal = [one for one in alike if not any(one < other for other in alike)]
    found = [set(group) for group in cliques(ranks, difference)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, maximal))


def test_a_bar_per_group_and_none_for_a_single_method() -> None:
    ranks = {"a": 1.0, "b": 2.0, "c": 2.5, "d": 4.0}
    figure = critical_difference.draw(ranks, [("a", "b"), ("b", "c"), ("d",)], 1.2, title="t", text="x", control="c")
    bars = [line.get_xdata() for line in figure.axes[0].lines if line.get_linewidth() == 3.4]
    assert [list(bar) for bar in bars] == [[1.0, 2.0], [2.0, 2.5]]
    assert {" a 1.00 ", " d 4.00 ", "CD 1.20"} <= {text.get_text() for text in figure.axes[0].texts}


def test_bars_of_one_level_do_not_touch() -> None:
    ranks = dict(zip("abcdef", [1.0, 1.5, 2.0, 2.5, 4.0, 4.5], strict=True))
    groups = [("a", "b", "c"), ("b", "c", "d"), ("e", "f")]
    figure = critical_difference.draw(ranks, groups, 1.1, title="t", text="x")
    bars = [line.get_xydata() for line in figure.axes[0].lines if line.get_linewidth() == 3.4]
    spans = [(bar[0][1], bar[0][0], bar[1][0]) for bar in map(np.asarray, bars)]
    for (level, _, end), (other, start, _) in itertools.combinations(spans, 2):
        assert level != other or end < start


# ---- the matrix ------------------------------------------------------------------------------------------------------


def test_a_cell_of_the_matrix_by_hand() -> None:
    # Differences 3, 0.5, -2, and a block that one of them lacks.
    assert matrix.versus([53.0, 50.5, 48.0, None], [50.0, 50.0, 50.0, 9.0], 1.0) == (pytest.approx(0.5), 1, 1, 1)


def test_the_matrix_shows_at_most_what_fits() -> None:
    names = [f"m{number}" for number in range(30)]
    shown = matrix.chosen(names, ["m29", "nobody", "m3"])
    assert shown == [*names[:11], "m29"]
    assert matrix.chosen(names[:3], ["m2"]) == names[:3]


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.fixture
def comparison(tmp_path: Path) -> Callable[[int, int], Comparison]:
    def make(methods: int, blocks: int) -> Comparison:
        stream = np.random.default_rng(0)
        names = ["cosmos", *(f"method-{number}" for number in range(1, methods))]
        level = stream.normal(scale=4, size=methods)
        lines = [
            f"d{block}," + ",".join(f"{80 + value:.2f}" for value in level + stream.normal(size=methods))
            for block in range(blocks)
        ]
        path = tmp_path / "table.csv"
        path.write_text("\n".join([f"dataset,{','.join(names)}", *lines]))
        return compare(read_table(path), Options())

    return make


@pytest.mark.parametrize(
    ("methods", "blocks", "kinds"),
    [
        (2, 1, {"effects", "matrix"}),
        (2, 6, {"effects", "matrix", "profiles"}),
        (5, 8, {"ranks", "effects", "matrix", "profiles"}),
        pytest.param(36, 10, {"ranks", "effects", "matrix", "profiles"}, marks=pytest.mark.slow),
    ],
)
def test_figures_of_a_comparison(
    comparison: Callable[[int, int], Comparison], methods: int, blocks: int, kinds: set[str]
) -> None:
    drawings = gallery.from_comparison(comparison(methods, blocks))
    assert {drawing.kind for drawing in drawings} == kinds
    for drawing in drawings:
        assert "cosmos" in " ".join(texts(drawing.draw())), drawing.kind


def test_a_filled_mark_is_a_significant_difference(comparison: Callable[[int, int], Comparison]) -> None:
    result = comparison(2, 8)
    (pair,) = result.primary
    for significant in (set(), {pair.method}):
        figure = effects.draw(result.effects, control="cosmos", rope=1, significant=significant, title="t", text="x")
        (mark,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
        assert (mark.get_markerfacecolor() == "white") == (not significant)
        assert mark.get_xdata() == pytest.approx([result.effects[0].difference])


def test_families_of_tests_stand_apart_with_intervals_that_hold_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = [f"d{place},80,{76 + place % 3},{81 + place % 2},{88 - place % 4}" for place in range(8)]
    path.write_text("\n".join(["dataset,cosmos,ditto,fedmd,top", *rows]), encoding="utf-8")
    plan = Plan((("methods", ("ditto", "fedmd")), ("bounds", ("top",))), declared=True)
    result = compare(read_table(path), Options(control="cosmos"), plan)
    (drawing,) = [one for one in gallery.from_comparison(result) if one.kind == "effects"]
    axes = drawing.draw().axes[0]
    named = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
    assert named == {0: "top", 2: "ditto", 3: "fedmd"}  # rows 1 and 4 name the families above their methods
    words = {text.get_text(): text.xy[1] for text in axes.texts if text.get_text() in ("methods", "bounds")}
    assert words == {"bounds": 1, "methods": 4}
    joint = {one.method: one for one in result.joint}
    drawn = {line.get_ydata()[0]: line.get_xdata() for line in axes.lines if len(line.get_ydata()) == 2}
    for place, name in named.items():
        assert list(drawn[place]) == pytest.approx([joint[name].low, joint[name].high])


def test_one_data_set_is_drawn_with_the_interval_of_its_verdict(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("dataset,seed,cosmos,ditto\nd,0,80,76\nd,1,81,76\nd,2,82,79\n", encoding="utf-8")
    result = compare(read_table(path), Options(control="cosmos"))
    (drawing,) = [one for one in gallery.from_comparison(result) if one.kind == "effects"]
    # Differences 4, 5 and 3: mean 4, and 4.303 * 1 / sqrt(3) = 2.484 on either side
    (drawn,) = [line for line in drawing.draw().axes[0].lines if list(line.get_ydata()) == [0, 0]]
    assert list(drawn.get_xdata()) == pytest.approx([-6.484, -1.516], abs=1e-3)


def test_curves_show_every_method_by_name(course: Callable[..., Course]) -> None:
    methods = [course(f"method-{number}", [number, 50 + number], category="personalized") for number in range(13)]
    methods += [course("local", [5, 40], [7, 44], category="bound"), course("odd", [1, 2], category="of a plugin")]
    found = texts(curves.draw(methods, title="digits"))
    assert {method.label for method in methods} <= found
    assert {"personalized", "of a plugin"} <= found


def test_the_band_goes_from_the_lowest_to_the_highest_seed(course: Callable[..., Course]) -> None:
    figure = curves.draw([course("a", [10, 40], [20, 60], [30, 50])], title="t")
    band = figure.axes[0].collections[-1].get_paths()[0].vertices
    assert band[:, 1].min() == 10
    assert {tuple(point) for point in np.asarray(band)} >= {(0, 10), (0, 30), (1, 40), (1, 60)}


def test_drawings_of_records_have_names_of_their_own(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for rounds in (2, 3):  # two settings of one data set
        store.write(cell_of("local", training={"rounds": rounds}), outcome({"client": [1.0, 2.0]}))
    drawings = gallery.from_blocks(read_blocks(store.records()))
    assert len({drawing.name for drawing in drawings}) == 6
    assert {drawing.kind for drawing in drawings} == {"curves", "costs", "deciles"}  # nobody has clusters
