"""Simulations of the null with twins and families: the tests that are offered keep their level, intervals cover."""

from __future__ import annotations

import pytest

from fl_bench.benchmarks.statistics import calibration_families as calibration

pytestmark = pytest.mark.slow


def test_families_averaged_or_turned_together_keep_the_level_and_data_sets_as_blocks_do_not() -> None:
    rows = calibration.calibrate_families(1500)
    assert len(rows) == 3 * len(calibration.DESIGNS)
    for row in rows:
        if row.kind == "level":
            assert row.rate <= row.nominal + 3.5 * row.error, row
        else:
            assert row.kind == "wrong"
    worst = [row.rate for row in rows if row.kind == "wrong"]
    assert worst[-1] > 0.25  # six families of five data sets
    assert worst[3] > 0.08  # one family of three among eight


def test_intervals_over_families_cover_and_over_data_sets_do_not() -> None:
    apart, together = calibration.coverage(400)
    assert together.rate >= together.nominal - 3.5 * together.error, together
    assert apart.rate < together.rate
