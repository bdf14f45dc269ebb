"""The four sentences, and what must never be read in one: another sign, another statistic, an unsaid cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fl_bench.benchmarks.statistics import bayes, effects, study
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.result import Comparison, Options
from fl_bench.benchmarks.statistics.table import Table
from fl_bench.benchmarks.statistics.verdicts import sentence

MakeTable = Callable[..., Table]


@pytest.fixture(autouse=True, scope="module")
def few_draws() -> object:
    """Intervals and beliefs need many draws; what is looked at here does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "DRAWS", 100)
        patch.setattr(effects, "DRAWS", 100)
        patch.setattr(bayes, "DRAWS", 200)
        yield


def against(table_of: MakeTable, differences: list[float], options: Options | None = None) -> Comparison:
    """Ours against one other method, with these differences on as many data sets."""
    values = np.full((len(differences), 1, 2), 50.0)
    values[:, 0, 0] += differences
    return compare(table_of(values, methods=["ours", "theirs"]), options or Options("theirs"))


def said(table_of: MakeTable, differences: list[float], options: Options | None = None) -> str:
    (found,) = against(table_of, differences, options).verdicts
    return found


def test_better(table_of: MakeTable) -> None:
    # 1 to 6: p = 2 / 64; the median of all means of two is 3.5; at .05 six blocks allow the whole range, 1 to 6
    assert said(table_of, [1, 2, 3, 4, 5, 6]) == (
        "ours is better than theirs on 6 data sets: +3.50 (+1.00 to +6.00) points, p = .031, signed rank."
    )


def test_an_average_over_settings_is_called_one_and_does_not_hide_where_it_is_reversed(table_of: MakeTable) -> None:
    # One data set at three values of alpha, three seeds: far ahead twice, and surely behind once.
    values = np.full((3, 3, 2), 50.0)
    values[:, :, 0] += np.array([[9.0, 9.1, 9.2], [8.0, 8.1, 8.2], [-4.0, -4.1, -4.2]])
    table = table_of(values, ["ours", "theirs"], ["d"] * 3, ["alpha=0.1", "alpha=1", "alpha=10"])
    result = compare(table, Options("theirs"))
    (verdict,) = result.verdicts
    assert "ours is better than theirs on d, averaged over 3 settings, over 3 seeds: +4.3" in verdict
    (hidden,) = (line for line in result.summary if "reversals" in line)
    assert hidden == (
        "Averages hide reversals. The opposite is significant in single settings (t paired by seed, Holm): ours on d "
        "[alpha=10] -4.10 points."
    )
    ahead = table_of(np.abs(values - 50) + 50, ["ours", "theirs"], ["d"] * 3, ["a", "b", "c"])
    assert not any("reversals" in line for line in compare(ahead, Options("theirs")).summary)


def test_worse(table_of: MakeTable) -> None:
    assert said(table_of, [-1, -2, -3, -4, -5, -6]) == (
        "ours is worse than theirs on 6 data sets: -3.50 (-6.00 to -1.00) points, p = .031, signed rank."
    )


def test_equivalent(table_of: MakeTable) -> None:
    # all within 1: both one-sided tests have p = 1 / 64, and the interval is that of twice the level, .1, which leaves
    # out of the 21 means of two on either side those where P(W <= 2) = 3 / 64 <= .05: it begins with the third
    found = against(table_of, [0.3, -0.2, 0.1, -0.4, 0.5, -0.1])
    (decision,) = found.decisions
    assert decision.p == 1 / 64
    walsh = (
        np.sort([(a + b) / 2 for i, a in enumerate(x) for b in x[i:]])
        if (x := [0.3, -0.2, 0.1, -0.4, 0.5, -0.1])
        else 0
    )
    assert (decision.low, decision.high) == pytest.approx((walsh[2], walsh[-3]))
    assert found.verdicts[0] == (
        f"ours is equivalent to theirs within 1 point on 6 data sets: {np.median(walsh):+.2f} ({walsh[2]:+.2f} to "
        f"{walsh[-3]:+.2f}) points, p = .016, equivalence by signed rank."
    )


def test_undecided(table_of: MakeTable) -> None:
    found = said(table_of, [1, -2, 3, -4, 5, -6])
    assert re.fullmatch(
        r"ours against theirs on 6 data sets is undecided: -0.50 \(-6.00 to \+5.00\) points, p = .84, signed rank\.",
        found,
    )


def test_better_by_less_than_matters(table_of: MakeTable) -> None:
    found = said(table_of, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert found.startswith("ours is better than theirs on 6 data sets: +0.35 (+0.10 to +0.60) points")
    assert found.endswith("; by less than the ROPE of 1 point.")
    assert "ROPE" not in said(table_of, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], Options("theirs", rope=0.2))


def test_the_sentence_follows_the_test_and_not_the_mean(table_of: MakeTable) -> None:
    # eleven data sets won by a little, one lost by much: W- = 12, of 78; the mean is below 0
    differences = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, -40.0]
    found = against(table_of, differences)
    assert found.joint[0].mean < 0
    assert found.primary[0].w_plus > found.primary[0].w_minus
    assert found.primary[0].significant
    (verdict,) = found.verdicts
    assert verdict.startswith("ours is better than theirs on 12 data sets: +")


def test_where_nothing_can_be_significant_nothing_is_marked_or_hinted(table_of: MakeTable) -> None:
    found = against(table_of, [5, 6, 7])
    assert found.verdicts == ("ours against theirs on 3 data sets is undecided: +6.00 points, p = .25, signed rank.",)
    assert any(
        line.startswith("Power guard, against the control: with 3 data sets, no signed-rank") for line in found.summary
    )
    assert not any("depends on" in line for line in found.summary)


def test_the_uncorrected_interval_stands_in_where_the_step_of_holm_has_none(table_of: MakeTable) -> None:
    # seven data sets and seven tests: .05 / 7 is below 1/64, so Holm's step has no interval; .05 alone has one
    generator = np.random.default_rng(0)
    values = 50 + generator.normal(0, 0.2, (7, 1, 8))
    values[:, 0, 0] += 5
    found = compare(table_of(values), Options("m00"))
    assert {one.verdict for one in found.decisions} == {"undecided"}
    for one, verdict in zip(found.joint, found.verdicts, strict=True):
        assert one.low is None
        assert f"(uncorrected {one.shift_low:+.2f} to {one.shift_high:+.2f}) points" in verdict
        assert verdict.endswith("; that interval is without 0, but corrected the test cannot reject.")


def test_one_data_set_is_compared_by_its_seeds_before_all_else(table_of: MakeTable) -> None:
    # ours leads fedmd by 1 to 5 on five seeds, and its twin by nothing
    values = np.full((1, 5, 3), 50.0)
    values[0, :, 0] += [0.1, 0.2, -0.1, -0.2, 0.0]
    values[0, :, 1] -= [1, 2, 3, 4, 5]
    found = compare(table_of(values, methods=["a-ours", "fedmd", "twin"], datasets=["digits"]))
    assert found.control == "a-ours"  # the first, where nobody names one
    by_hand = {
        name: stats.ttest_1samp(values[0, :, place] - values[0, :, 0], 0) for place, name in ((1, "fedmd"), (2, "twin"))
    }
    (fedmd, twin) = found.decisions
    assert fedmd.p == pytest.approx(2 * by_hand["fedmd"].pvalue)
    interval = by_hand["fedmd"].confidence_interval(0.975)
    assert (fedmd.low, fedmd.high) == pytest.approx((interval.low, interval.high))
    assert found.summary[0] == (
        "Worse than a-ours: fedmd; equivalent to a-ours: twin (on digits over 5 seeds, t paired by seed, Holm over 2 "
        "tests)."
    )
    sides = [
        stats.ttest_1samp(50 - values[0, :, 0] + shift, 0, alternative=way)
        for shift, way in ((1, "greater"), (-1, "less"))
    ]
    assert twin.p == pytest.approx(2 * max(side.pvalue for side in sides))
    first = by_hand["twin"].confidence_interval(0.95)  # twice .05 / 2: the first of two that Holm looks at
    assert (twin.low, twin.high) == pytest.approx((first.low, first.high))


def test_seeds_that_cannot_be_compared_say_why(table_of: MakeTable) -> None:
    one = compare(table_of(np.array([[[51.0, 50.0]]]), methods=["ours", "theirs"]), Options("theirs"))
    assert one.verdicts[0].endswith("is undecided: +1.00 points, no p value, t paired by seed; one seed shows nothing.")
    same = compare(
        table_of(np.array([[[51.0, 50.0]] * 3]).reshape(1, 3, 2), methods=["ours", "theirs"]), Options("ours")
    )
    assert same.verdicts[0].endswith(
        "t paired by seed; the difference is the same with every seed, so there is no spread to judge it by."
    )
    table = table_of(np.array([[[51.0, 50.0], [52.0, 50.0], [53.0, 50.0]]]), methods=["ours", "theirs"])
    levels = replace(table.conditions[0], levels=(("0", "1"), ("1", "1"), ("2", "1")))
    shared = compare(replace(table, factors=("partition", "init"), conditions=(levels,)), Options("ours"))
    assert shared.verdicts[0].endswith("t paired by seed; repetitions share parts of their seeds.")


def test_remarks_come_last(table_of: MakeTable) -> None:
    (decision,) = against(table_of, [1, 2, 3, 4, 5, 6]).decisions
    found = sentence(
        decision,
        where="here",
        interval="",
        margin=1.0,
        basis="signed rank",
        remarks=["unequal tuning: 12 trials against 0"],
    )
    assert found == (
        "ours is better than theirs here: +3.50 points, p = .031, signed rank; unequal tuning: 12 trials against 0."
    )


def test_a_verdict_is_one_of_all_that_might_be_false(table_of: MakeTable) -> None:
    # nine data sets; `a` is far behind ours, p = 2 / 512, `b` behind by 1 to 9 but for one, 5: W- = 5, p = 20 / 512.
    # That `a` is equivalent is still open, so .039 is held against .05 / 2. With a ROPE of 0 nobody asks, and it is
    # held against .05. So it is where `a` is shown to be behind by less than the ROPE: nothing is open any more.
    def verdict(a: list[float], rope: float) -> tuple[str, float | None]:
        values = np.full((9, 1, 3), 50.0)
        values[:, 0, 1] -= a
        values[:, 0, 2] -= [1, 2, 3, 4, -5, 6, 7, 8, 9]
        result = compare(table_of(values, methods=["ours", "a", "b"]), Options("ours", rope=rope))
        found, pair = result.decisions[1], result.primary[1]
        assert (pair.p_holm, pair.significant) == (found.p, found.verdict == "worse")
        return found.verdict, found.p

    far, near = [10.0 + place for place in range(9)], [0.1 * place for place in range(1, 10)]
    assert verdict(far, 1.0) == ("undecided", 2 * 20 / 512)
    assert verdict(far, 0.0) == ("worse", 20 / 512)
    assert verdict(near, 1.0) == ("worse", 20 / 512)


differences = st.lists(st.integers(-30, 30), min_size=6, max_size=11)


@settings(max_examples=25, deadline=None)
@given(first=differences, data=st.data())
def test_no_sentence_contradicts_itself(table_of: MakeTable, first: list[int], data: st.DataObject) -> None:
    second = data.draw(st.lists(st.integers(-30, 30), min_size=len(first), max_size=len(first)))
    values = np.full((len(first), 1, 3), 50.0)
    values[:, 0, 1] -= np.array(first) / 10
    values[:, 0, 2] -= np.array(second) / 10
    for one in compare(table_of(values, methods=["ours", "a", "b"]), Options("ours")).decisions:
        if one.low is None or one.high is None:
            continue
        assert one.low <= one.estimate <= one.high
        if one.verdict == "better":
            assert one.low >= 0 < one.estimate
        elif one.verdict == "worse":
            assert one.high <= 0 > one.estimate
        elif one.verdict == "equivalent":
            assert one.low >= -1
            assert one.high <= 1
        else:
            assert one.low <= 0 <= one.high
