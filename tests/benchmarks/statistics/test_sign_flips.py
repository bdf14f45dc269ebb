"""Turned signs of blocks: against SciPy's permutation test, by hand, and with blocks that lack a method."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.sign_flips import DRAWN, max_t, sign_flips


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def t(values: np.ndarray) -> float:
    return abs(float(stats.ttest_1samp(values, 0).statistic))


def test_all_ways_but_for_the_turn_of_everything(generator: np.random.Generator) -> None:
    flips = sign_flips(4, generator)
    assert sorted(map(tuple, flips.tolist())) == sorted(
        (1.0, *rest) for rest in itertools.product((-1.0, 1.0), repeat=3)
    )
    assert flips[0].tolist() == [1, 1, 1, 1]
    many = sign_flips(40, generator)
    assert many.shape == (DRAWN, 40)
    assert (many[0] == 1).all()
    assert abs(many[1:].mean()) < 0.01


def test_one_method_is_scipys_permutation_test(generator: np.random.Generator) -> None:
    differences = generator.normal(0.6, 1, 9)
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert max_t(differences[:, None], sign_flips(9, generator)) == pytest.approx([expected])


def test_several_methods_stepwise(generator: np.random.Generator) -> None:
    # A second implementation: every sign of every block, t by SciPy, the largest of the methods that are left.
    differences = generator.normal([0.9, 0.2, 0.6], 1, (7, 3))
    ways = [np.array(signs)[:, None] * differences for signs in itertools.product((-1, 1), repeat=7)]
    found = [[t(way[:, method]) for method in range(3)] for way in ways]
    seen = [t(differences[:, method]) for method in range(3)]
    left, expected, floor = list(range(3)), [0.0] * 3, 0.0
    for method in sorted(left, key=lambda method: -seen[method]):
        share = np.mean([max(way[other] for other in left) >= seen[method] - 1e-9 for way in found])
        floor = max(floor, float(share))
        expected[method] = floor
        left.remove(method)
    assert max_t(differences, sign_flips(7, generator)) == pytest.approx(expected)


def test_the_least_p_does_not_depend_on_the_number_of_methods(generator: np.random.Generator) -> None:
    # Six blocks, ten methods of which one loses everywhere by far: 1 of 2^5 ways is as extreme. Holm over signed ranks
    # would give 10 / 32.
    differences = generator.normal(0, 1, (6, 10))
    differences[:, 3] = [9.0, 9.1, 9.2, 8.9, 8.8, 9.05]
    assert max_t(differences, sign_flips(6, generator))[3] == 1 / 32


def test_a_method_that_lacks_blocks_is_judged_on_its_own(generator: np.random.Generator) -> None:
    differences = generator.normal(0.8, 1, (8, 1))
    gaps = np.vstack([differences, np.full((2, 1), np.nan)])
    assert max_t(gaps, sign_flips(10, generator)) == pytest.approx(max_t(differences, sign_flips(8, generator)))


def test_no_difference_and_only_one_block() -> None:
    generator = np.random.default_rng(0)
    flips = sign_flips(7, generator)
    assert max_t(np.zeros((7, 2)), flips).tolist() == [1.0, 1.0]
    assert max_t(np.ones((1, 1)), sign_flips(1, generator)).tolist() == [1.0]
