"""Simulations of the null: every printed test keeps its level, intervals cover, power is what theory says."""

from __future__ import annotations

import pytest

from fl_bench.benchmarks.statistics import calibration

pytestmark = pytest.mark.slow

ERRORS = 3.5
"""Standard errors of a simulation that a right test may be off."""


def describe(row: calibration.Row) -> str:
    return f"{row.name}: {row.rate:.4f}, nominal {row.nominal:.4f}, standard error {row.error:.4f}"


def test_no_test_over_data_sets_claims_too_often() -> None:
    rows = calibration.levels(1500)
    assert len(rows) == 8
    for row in rows:
        assert row.rate <= row.nominal + ERRORS * row.error, describe(row)
    # nor is the primary test idle: ten blocks have sizes up to .0488
    assert rows[0].rate >= rows[0].nominal - ERRORS * rows[0].error, describe(rows[0])


def test_single_data_sets() -> None:
    level, simultaneous, short, long = calibration.on_one_dataset(400)
    assert level.rate <= level.nominal + ERRORS * level.error, describe(level)
    for row in (simultaneous, long):
        assert row.rate >= row.nominal - ERRORS * row.error, describe(row)
    assert short.rate < long.rate  # as the page says of BCa with five seeds


def test_intervals_over_data_sets_cover() -> None:
    for row in calibration.coverage(400):
        assert row.rate >= row.nominal - ERRORS * row.error, describe(row)


def test_posteriors() -> None:
    # A posterior of .975 promises no error rate; the page says what it comes to without a ROPE, 8 %.
    zero, point = calibration.bayesian(600)
    assert zero.rate <= 0.12, describe(zero)
    assert point.rate <= point.nominal, describe(point)


def test_power_is_what_theory_says() -> None:
    for row in calibration.powers(1500):
        assert abs(row.rate - row.nominal) <= ERRORS * row.error, describe(row)


def test_seeds_as_blocks_claim_far_too_often() -> None:
    rates = [row.rate for row in calibration.wrong(300)]
    assert min(rates) > 0.2
    assert max(rates) > 0.85
