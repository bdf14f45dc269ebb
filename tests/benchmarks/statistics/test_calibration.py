"""Simulations of the null: tests over data sets keep their level, single data sets too, intervals cover."""

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
