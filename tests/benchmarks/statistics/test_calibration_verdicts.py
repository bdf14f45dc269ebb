"""The table of docs/statistics.md on whole families of verdicts: what is claimed keeps its level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_bench.benchmarks.statistics import calibration_verdicts as verdicts
from fl_bench.benchmarks.statistics.calibration_shapes import COVERAGE, LEVEL
from fl_bench.benchmarks.statistics.shift import p_equivalent
from fl_bench.benchmarks.statistics.signed_rank import signed_rank

PAGE = Path(__file__).parents[3] / "docs" / "statistics.md"

REFUSED = ("the same, with Holm for each kind of claim by itself", "largest t over turned signs")
"""Lines that are there to show why nothing rests on them."""


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """The rows between the marks, by their names: the cells after it."""
    text = PAGE.read_text(encoding="utf-8").partition(verdicts.PLACE[0])[2].partition(verdicts.PLACE[1])[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in rows[1:]}


def test_what_is_claimed_keeps_its_level_and_coverage_under_every_shape(printed: dict[str, list[str]]) -> None:
    assert len(printed) == 13
    for name, (what, _, *cells) in printed.items():
        assert len(cells) == len(verdicts.FORMS)
        rates = [float(cell.removesuffix(" (!)")) for cell in cells]
        if any(word in name for word in REFUSED):
            assert max(rates) > 0.06, name
        else:
            assert max(rates) <= 0.06 if what == LEVEL else min(rates) >= 0.93, name
    assert {what for what, *_ in printed.values()} == {LEVEL, COVERAGE}


def test_tests_of_many_tables_are_those_of_one() -> None:
    apart = np.random.default_rng(0).normal(0.4, 1, (30, 9, 3))
    found = verdicts.tests(apart)
    for at in range(30):
        for place in range(3):
            one = signed_rank(apart[at, :, place])
            assert found.p[at, place] == pytest.approx(one.p)
            assert found.worse[at, place] == (one.w_plus < one.w_minus)
            assert found.p_equivalent[at, place] == pytest.approx(p_equivalent(apart[at, :, place], verdicts.ROPE))


def test_the_true_shift_of_a_skewed_control_is_not_its_mean() -> None:
    # the mean of two exponentials less 1 has the median 1.678 / 2 - 1 = -0.161, times 2; noise of seeds pulls it to 0
    alone = verdicts.FORMS[-2]
    assert -0.33 < verdicts.true_shift(alone) < -0.2
    assert verdicts.true_shift(verdicts.FORMS[0]) == 0.0


def test_both_kinds_of_claim_together_keep_the_level_where_each_by_itself_does_not(
    printed: dict[str, list[str]],
) -> None:
    methods, datasets = verdicts.SIZES[0]
    shape = verdicts.sized(verdicts.FORMS[0], methods, datasets)
    rows = {name: rate for name, _, rate in verdicts._verdicts(verdicts.differences(shape, 1000))}
    together, apart = rows["any false verdict, half of them a ROPE away"], rows[REFUSED[0]]
    assert together <= 0.065  # .05 and two standard errors
    assert apart > together + 0.015
    for name, rate in rows.items():
        cell = printed[f"{methods} methods on {datasets} data sets: {name}"][2]
        assert rate == pytest.approx(float(cell.removesuffix(" (!)")), abs=4 * (0.05 * 0.95 / 600) ** 0.5)
