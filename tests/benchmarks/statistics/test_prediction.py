"""A next data set: by hand, by a second formula, and where the scale of a data set must not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.pairs import against_control
from fl_bench.benchmarks.statistics.prediction import beliefs, noise, predict_block, predictions
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.statistics.result import Prediction
    from fl_bench.benchmarks.statistics.table import Table

    MakeTable = Callable[..., Table]


def predicted(table: Table, rope: float = 1.0) -> dict[str, Prediction]:
    study = Study(table, Options(control="b", rope=rope), "b")
    return {found.model: found for found in predictions(study, against_control(study)[0], [])}


def test_the_next_of_normal_differences() -> None:
    # 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 3 = 14/3; the next has variance 14/3 * 5/4, Student's t of 2.
    found = predict_block(np.array([1.0, 2.0, 3.0, 6.0]), 1.0, 0.1)
    assert found is not None
    student = stats.t(2, loc=3, scale=(14 / 3 * 5 / 4) ** 0.5)
    assert found == pytest.approx(
        (student.cdf(-1), student.cdf(1) - student.cdf(-1), student.sf(1), student.ppf(0.05), student.ppf(0.95))
    )
    assert predict_block(np.array([2.0, 3.0]), 1.0, 0.1) is None
    assert predict_block(np.array([2.0, 2.0, 2.0]), 1.0, 0.1) is None


def test_noise_is_the_residual_of_methods_and_seeds(table_of: MakeTable) -> None:
    # Two methods: the standard deviation of their differences 1, 2, 6, which is sqrt(7), whatever the seeds' own level.
    levels = np.array([50.0, 70.0, 60.0])
    table = table_of(np.stack([np.stack([levels + np.array([1.0, 2.0, 6.0]), levels], axis=1)] * 2))
    assert noise(table, "d00") == pytest.approx(7**0.5)
    assert noise(table_of(np.full((1, 3, 2), 80.0)), "d00") == 0.01  # not 0: something is divided by it
    # Three methods whose residuals are 1 -1 0, -1 0 1, 0 1 -1: six squares, four degrees of freedom, times two.
    rest = np.array([[1.0, -1, 0], [-1, 0, 1], [0, 1, -1]])
    table = table_of((levels[:, None] + np.array([0.0, 3, 5]) + rest)[None])
    assert noise(table, "d00") == pytest.approx(3**0.5)


def test_a_data_set_in_other_units_says_the_same_without_scale(table_of: MakeTable) -> None:
    generator = np.random.default_rng(4)
    runs = np.stack([generator.normal(1.0, 1, (8, 5)), np.zeros((8, 5))], axis=2)
    stretched = runs.copy()
    stretched[:2] *= 20
    plain, other = (predicted(table_of(50 + values, methods=["a", "b"])) for values in (runs, stretched))
    assert (other["scale-free"].low, other["scale-free"].high) == pytest.approx(
        (plain["scale-free"].low, plain["scale-free"].high)
    )
    assert other["blocks"].high > 3 * plain["blocks"].high
    assert plain["scale-free"].equivalent == 0
    assert plain["scale-free"].better > 0.8


def test_models_agree_where_seeds_are_exact(table_of: MakeTable) -> None:
    # Many data sets whose differences are quantiles of Normal(2, 1): P(next > 1) is Phi(1) = .84, P(next < -1) = .001.
    centres = 2 + stats.norm.ppf((np.arange(40) + 0.5) / 40)
    noise_of_seeds = np.array([-0.02, 0.01, 0.0, 0.02, -0.01])
    runs = np.stack([centres[:, None] + noise_of_seeds, np.zeros((40, 5))], axis=2)
    found = predicted(table_of(50 + runs, methods=["a", "b"]))
    # Without scale: P(next > 0) = Phi(2) = .977, and units of the seeds' standard deviation, sqrt(.001 / 4) = .0158.
    blocks, free = found["blocks"], found["scale-free"]
    assert blocks.better == pytest.approx(0.84, abs=0.02)
    assert blocks.worse < 0.01
    assert (blocks.low, blocks.high) == pytest.approx((0.0, 4.0), abs=0.25)
    assert blocks.worse + blocks.equivalent + blocks.better == pytest.approx(1)
    assert free.better == pytest.approx(0.977, abs=0.02)
    assert (free.low, free.high) == pytest.approx((0.0, 4 / 0.0158), abs=0.3 / 0.0158)


def test_too_few_seeds_have_a_note(table_of: MakeTable) -> None:
    study = Study(
        table_of(np.random.default_rng(1).normal(60, 1, (6, 4, 2)), methods=["a", "b"]), Options(control="a"), "a"
    )
    notes: list[str] = []
    assert [found.model for found in predictions(study, against_control(study)[0], notes)] == ["blocks"]
    assert notes == ["no scale-free prediction: it needs 5 seeds on each of 3 data sets, the least are 4 on 6"]
    assert [belief.method for belief in beliefs(study, against_control(study))] == ["b"]
    assert beliefs(replace(study, options=Options(control="a", rope=0.0)), against_control(study)) == ()
