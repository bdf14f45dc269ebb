"""A whole comparison: what it refuses, what it says, and what must change none of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fl_bench.benchmarks.statistics import bayes, effects, study
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.multiple import holm
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fl_bench.benchmarks.statistics.result import Comparison
    from fl_bench.benchmarks.statistics.table import Table

    MakeTable = Callable[..., Table]

GAP = np.nan


@pytest.fixture(autouse=True, scope="module")
def few_draws() -> Iterator[None]:
    """Intervals and beliefs need many draws; what is looked at here does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "DRAWS", 200)
        patch.setattr(effects, "DRAWS", 200)
        patch.setattr(bayes, "DRAWS", 1000)
        patch.setattr(bayes, "WARM_UP", 200)
        patch.setattr(bayes, "KEPT", 400)
        yield


def numbers(datasets: int, seeds: int, shifts: list[float], seed: int = 0) -> np.ndarray:
    """Data sets of different difficulty, methods that differ by `shifts`, and noise."""
    generator = np.random.default_rng(seed)
    hard = generator.uniform(50, 90, (datasets, 1, 1))
    return hard + np.array(shifts) + generator.normal(0, 0.5, (datasets, seeds, len(shifts)))


def claims(result: Comparison) -> dict[str, Any]:
    """What a reader would take away, without intervals, which move with the order of resampling."""
    order = {pair.method: (round(pair.p_holm, 9), pair.significant) for pair in result.primary}
    assert result.omnibus is not None
    return {
        "primary": order,
        "secondary": {frozenset((pair.method, pair.other)): pair.significant for pair in result.secondary},
        "omnibus": round(result.omnibus.chi2, 6),
        "ranks": {row.method: round(row.mean_rank or 0, 6) for row in result.ranks},
        "groups": {frozenset(group) for group in result.rank_differences.groups} if result.rank_differences else None,
        "cells": {(row.dataset, row.method): row.significant for row in result.per_dataset},
        "wins": {effect.method: (effect.wins, effect.ties, effect.losses) for effect in result.effects},
    }


def test_a_clear_winner_on_many_data_sets(table_of: MakeTable) -> None:
    table = table_of(numbers(9, 3, [5.0, 0.0, 0.0]), methods=["cosmos", "fedmd", "local"])
    result = compare(table)
    assert result.control == "cosmos"
    assert (result.counts.blocks, result.counts.seeds_least, result.counts.settings) == (9, 3, 1)
    assert [(pair.method, pair.p, pair.significant) for pair in result.primary] == [
        ("fedmd", 2**-8, True),
        ("local", 2**-8, True),
    ]
    assert result.summary[1] == ("Worse than cosmos: fedmd, local (on 9 data sets, signed rank, Holm over 2 tests).")
    decision = result.decisions[0]
    assert result.verdicts[0] == (
        f"fedmd is worse than cosmos on 9 data sets: {decision.estimate:+.2f} ({decision.low:+.2f} to "
        f"{decision.high:+.2f}) points, p = .008, signed rank, Holm over 2 tests."
    )
    assert decision.high is not None
    assert decision.high < 0
    assert [family.sentence for family in result.power] == ["", ""]
    assert [(effect.wins, effect.losses) for effect in result.effects] == [(0, 9), (0, 9)]
    assert [belief.worse > 0.95 for belief in result.beliefs] == [True, True]
    assert result.ranks[0].method == "cosmos"
    assert result.ranks[0].best == 1.0


def test_a_control_that_loses_is_beaten_by_name(table_of: MakeTable) -> None:
    result = compare(table_of(numbers(9, 3, [-5.0, 0.0]), methods=["cosmos", "local"]))
    assert result.summary[0] == "Better than cosmos: local (on 9 data sets, signed rank)."
    assert result.verdicts[0].startswith("local is better than cosmos on 9 data sets: +")
    assert "two methods need no omnibus test" in result.notes


def test_three_data_sets_show_nothing_and_say_so(table_of: MakeTable) -> None:
    result = compare(table_of(numbers(3, 3, [5.0, 0.0]), methods=["cosmos", "local"]))
    assert result.verdicts == (
        f"local against cosmos on 3 data sets is undecided: {result.decisions[0].estimate:+.2f} points, p = .25, "
        "signed rank.",
    )
    assert any("with 3 data sets, no signed-rank test can reach .05, however large" in said for said in result.summary)
    assert result.effects[0].low is None
    assert any(note.startswith("no intervals over data sets") for note in result.notes)


def test_one_data_set_and_one_seed_print_no_nonsense(table_of: MakeTable) -> None:
    result = compare(table_of(numbers(1, 1, [5.0, 0.0, 1.0]), methods=["cosmos", "local", "fedmd"]))
    assert result.omnibus is None
    assert result.per_dataset[0].p is None
    assert result.ranks[0].best is None
    assert {
        "one block allows no omnibus test",
        "one data set: no interval over data sets, and no claim beyond it",
    } <= set(result.notes)
    json.dumps(result.as_dict(), allow_nan=False)


def test_an_incomplete_table_is_refused_and_the_gap_named(table_of: MakeTable) -> None:
    values = numbers(4, 2, [0.0, 1.0])
    values[2, 1, 1] = GAP
    table = table_of(values, methods=["cosmos", "local"], datasets=["a", "b", "c", "d"])
    with pytest.raises(DataError, match="c, seed 1, missing: local"):
        compare(table)
    result = compare(table, Options(on_missing="complete-blocks"))
    assert (result.missing, result.dropped) == (("c, seed 1, missing: local",), ("c, seed 1",))
    assert result.counts.blocks == 4
    assert [len(condition.seeds) for condition in result.table.conditions] == [2, 2, 1, 2]


def test_complete_blocks_drop_a_data_set_that_a_method_lacks(table_of: MakeTable) -> None:
    values = numbers(4, 2, [0.0, 1.0, 2.0])
    values[2, :, 1] = GAP
    result = compare(
        table_of(values, methods=["a", "b", "c"], datasets=list("wxyz")), Options("a", on_missing="complete-blocks")
    )
    assert (result.blocks, result.dropped) == (("w", "x", "z"), ("y",))


def test_skillings_mack_compares_pairs_on_what_both_have(table_of: MakeTable) -> None:
    values = numbers(7, 2, [3.0, 0.0, 1.0])
    values[2, :, 1] = GAP
    result = compare(table_of(values, methods=["a", "b", "c"]), Options("a", on_missing="skillings-mack"))
    assert {pair.method: pair.blocks for pair in result.primary} == {"b": 6, "c": 7}
    assert result.omnibus is not None
    assert result.omnibus.test == "Skillings-Mack"
    assert result.rank_differences is None
    assert {row.method: row.blocks for row in result.ranks} == {"a": 7, "b": 6, "c": 7}
    json.dumps(result.as_dict(), allow_nan=False)


def test_diverged_runs_count_as_guessing_in_a_line_of_their_own(table_of: MakeTable) -> None:
    # local is better than cosmos on the six data sets where it converges; on the seventh it diverges
    values = numbers(7, 1, [0.0, 5.0])
    values[6, 0, 1] = GAP
    table = table_of(values, methods=["cosmos", "local"])
    last = replace(table.conditions[6], status=(("done",), ("diverged",)))
    table = replace(table, conditions=(*table.conditions[:6], last))
    result = compare(table, Options(on_missing="complete-blocks"))
    assert result.primary[0].p == 2**-5
    assert result.primary[0].significant
    # at 100 / 10 = 10 % local loses by far, the largest rank of seven: W- = 7, W+ = 21, P(W >= 21) = 19 / 128 of the
    # sums of subsets of 1..7 (those of at most 7: 1+1+1+2+2+3+4+5)
    assert (result.with_chance[0].w_plus, result.with_chance[0].w_minus) == (21, 7)
    assert result.with_chance[0].p == pytest.approx(2 * 19 / 128)
    assert "With diverged runs at the accuracy of guessing the verdict on local changes." in result.summary


def test_the_control(table_of: MakeTable) -> None:
    table = table_of(numbers(3, 1, [0.0, 1.0]), methods=["a", "b"])
    assert compare(table).control is None
    assert compare(table).primary == ()
    assert [pair.other for pair in compare(table, Options("b")).primary] == ["b"]
    with pytest.raises(ConfigError, match="no method of this comparison is named 'c'"):
        compare(table, Options("c"))


def test_settings_as_blocks_are_labelled_and_resample_data_sets(table_of: MakeTable) -> None:
    values = numbers(6, 2, [0.0, 1.0])
    table = table_of(
        values, methods=["cosmos", "local"], datasets=["x", "x", "x", "y", "y", "y"], settings=list("abcabc")
    )
    assert compare(table).counts.blocks == 2
    result = compare(table, Options(blocks="setting"))
    assert (result.counts.blocks, result.counts.datasets) == (6, 2)
    assert result.effects[0].low is None  # two data sets, however many settings
    assert any("secondary analysis" in note for note in result.notes)


def test_five_seeds_bring_the_hierarchical_model(table_of: MakeTable) -> None:
    result = compare(table_of(numbers(4, 5, [4.0, 0.0]), methods=["cosmos", "local"]))
    assert [found.model for found in result.predictions] == ["blocks", "scale-free"]
    assert min(found.worse for found in result.predictions[1:]) > 0.8
    assert result.per_dataset[0].bca_low is None  # that takes twenty seeds
    fewer = compare(table_of(numbers(4, 4, [4.0, 0.0]), methods=["cosmos", "local"]))
    assert [found.model for found in fewer.predictions] == ["blocks"]
    assert any(note.startswith("no scale-free prediction") for note in fewer.notes)


def test_significance_is_that_of_the_adjusted_p(table_of: MakeTable) -> None:
    # six data sets, all won: p = 1/32 < .05, but over two tests Holm makes 1/16 of it
    result = compare(table_of(numbers(6, 2, [5.0, 0.0, 0.0]), methods=["cosmos", "fedmd", "local"]))
    assert [(pair.p, pair.p_holm, pair.significant) for pair in result.primary] == [(1 / 32, 1 / 16, False)] * 2


def test_intervals_on_data_sets_are_simultaneous(table_of: MakeTable) -> None:
    # differences 1, 2, 3 on each of four data sets: mean 2, error 1 / sqrt(3); t_{1 - .05/8, 2} = 8.8602
    values = np.zeros((4, 3, 2))
    values[:, :, 1] = [1, 2, 3]
    row = compare(table_of(values, methods=["cosmos", "local"])).per_dataset[0]
    assert (row.low, row.high) == pytest.approx((2 - 8.8602 / 3**0.5, 2 + 8.8602 / 3**0.5), abs=1e-3)
    # t = 2 sqrt(3) on two degrees: p = .0742; Holm over four
    assert (row.p, row.p_holm) == pytest.approx((0.0742, 0.2967), abs=1e-4)


def test_the_leader_without_a_data_set(table_of: MakeTable) -> None:
    # a leads on x and y, b on z: without z there is only a
    values = np.array([[[2.0, 1, 0]], [[2, 1, 0]], [[1, 2, 0]]])
    result = compare(table_of(values, methods=["a", "b", "c"], datasets=["x", "y", "z"]), Options("a"))
    assert {left.dataset: left.leader for left in result.left_out}["z"] == "a"
    assert {row.method: row.without_one for row in result.ranks} == {"a": (1.0, 1.5), "b": (1.5, 2.0), "c": (3.0, 3.0)}


def test_a_verdict_that_only_needs_all_blocks_depends_on_none_of_them(table_of: MakeTable) -> None:
    # six data sets, all won: p = 1/32; without any one of them five cannot show anything, whichever it is
    result = compare(table_of(numbers(6, 2, [5.0, 0.0]), methods=["cosmos", "local"]))
    assert [left.lost for left in result.left_out] == [()] * 6
    # seven, of which the smallest is lost: W- = 1, p = 2 * 2 / 128; without one of the six others p = 2 * 2 / 64
    values = np.zeros((7, 1, 2))
    values[:, 0, 0] = [-1, 2, 3, 4, 5, 6, 7]
    result = compare(table_of(values, methods=["cosmos", "local"]))
    assert result.primary[0].significant
    assert [left.lost for left in result.left_out] == [()] * 7
    assert not any("depends on one" in said for said in result.summary)


def test_a_verdict_that_hangs_on_one_data_set_is_named(table_of: MakeTable) -> None:
    # eleven data sets, the three smallest lost: W- = 6, and 14 of 2^11 sums of ranks are at most that: p = 28 / 2048.
    # The largest is worth 11; without any of the others little changes; with a twelfth that is lost by much p is .11
    values = np.zeros((12, 1, 2))
    values[:, 0, 0] = [-1, -2, -3, 4, 5, 6, 7, 8, 9, 10, 11, -12]
    result = compare(table_of(values, methods=["cosmos", "local"]))
    assert not result.primary[0].significant
    assert {left.dataset: left.gained for left in result.left_out if left.gained} == {"d11": ("local",)}
    assert "A verdict depends on one data set: it changes without d11." in result.summary


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0},
        {"alpha": 0.7},
        {"rope": -1.0},
        {"rope": float("nan")},
        {"blocks": "seed"},
        {"on_missing": "zero"},
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Options(**options)


def test_the_same_bytes_every_time(table_of: MakeTable) -> None:
    table = table_of(numbers(6, 5, [0.5, 0.0, 0.0]), methods=["cosmos", "fedmd", "local"])
    assert json.dumps(compare(table).as_dict()) == json.dumps(compare(table).as_dict())


tables = st.tuples(st.integers(3, 8), st.integers(1, 3), st.integers(0, 10**6)).map(
    lambda size: np.round(numbers(size[0], size[1], [0.0, 0.6, -0.4, 0.0], seed=size[2]), 1)  # rounded: ties happen
)
METHODS = ["cosmos", "fedmd", "ifca", "local"]


@settings(max_examples=25)
@given(values=tables, data=st.data())
def test_a_constant_for_a_data_set_changes_no_claim(
    table_of: MakeTable, values: np.ndarray, data: st.DataObject
) -> None:
    constants = data.draw(st.lists(st.floats(-30, 30), min_size=len(values), max_size=len(values)))
    moved = values + np.array(constants)[:, None, None]
    assert claims(compare(table_of(moved, METHODS))) == claims(compare(table_of(values, METHODS)))


@settings(max_examples=25)
@given(values=tables, data=st.data())
def test_the_order_of_methods_seeds_and_data_sets_changes_no_claim(
    table_of: MakeTable, values: np.ndarray, data: st.DataObject
) -> None:
    def shuffled(count: int) -> list[int]:
        return data.draw(st.permutations(range(count)))

    datasets, seeds, methods = (shuffled(count) for count in values.shape)
    names = [f"d{place:02d}" for place in range(len(values))]
    other = table_of(
        values[datasets][:, seeds][:, :, methods], [METHODS[place] for place in methods], [names[at] for at in datasets]
    )
    assert claims(compare(other)) == claims(compare(table_of(values, METHODS, names)))


@settings(max_examples=15)
@given(values=tables)
def test_other_names_for_data_sets_change_no_claim(table_of: MakeTable, values: np.ndarray) -> None:
    names = [f"d{place:02d}" for place in reversed(range(len(values)))]
    found = claims(compare(table_of(values, METHODS, names)))
    found["cells"] = {}
    expected = claims(compare(table_of(values, METHODS)))
    expected["cells"] = {}
    assert found == expected


def test_stars_on_single_data_sets_are_corrected_over_the_whole_table(table_of: MakeTable) -> None:
    # Two methods on three data sets: differences of 1 +- d over three seeds have t = sqrt(3) / d. The least p of six
    # is held against .05 / 6, whichever method it belongs to, and intervals are at 1 - .05 / 6.
    spread = np.array([-1.0, 0.0, 1.0])
    values = np.zeros((3, 3, 3))
    sizes = [(0.1, 0.5), (0.2, 0.9), (0.3, 0.8)]
    for dataset, (one, other) in enumerate(sizes):
        values[dataset, :, 1] = -1 + one * spread
        values[dataset, :, 2] = -1 + other * spread
    result = compare(table_of(70 + values, methods=["a", "b", "c"]), Options(control="a"))
    raw = [float(2 * stats.t.sf(3**0.5 / size, 2)) for place in (0, 1) for size in np.array(sizes)[:, place]]
    assert [row.p for row in result.per_dataset] == pytest.approx(raw)
    assert [row.p_holm for row in result.per_dataset] == pytest.approx(holm(raw).tolist())
    assert result.per_dataset[0].p_holm == pytest.approx(6 * raw[0])
    half = stats.t.isf(0.05 / 12, 2) * 0.1 / 3**0.5
    assert result.per_dataset[0].low == pytest.approx(-1 - half)


def test_whether_methods_differ_rests_on_chi_square(table_of: MakeTable) -> None:
    # F = 4.57 has p = .039 on 2 and 10 degrees of freedom, chi-square 5.73 has .057; F claims too often with six.
    rows = [[68, 77, 64], [68, 76, 68], [67, 69, 68], [80, 80, 79], [61, 62, 79], [66, 80, 77]]
    result = compare(table_of(np.array(rows, dtype=float)[:, None], methods=["a", "b", "c"]))
    assert result.summary[0] == (
        "The 3 methods are not shown to differ over 6 data sets (Friedman chi2(2) = 5.73, p = .057)."
    )
    assert result.omnibus is not None
    assert result.omnibus.f_p == pytest.approx(0.039, abs=0.0005)
