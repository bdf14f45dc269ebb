"""Bayesian tests against baycomp, against known posteriors, and in their limits."""

from __future__ import annotations

import baycomp
import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.bayes import (
    CORRELATION,
    DEGREES,
    sample_hierarchical,
    sample_predictive,
    signed_rank_places,
)


def stream() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize(("centre", "rope"), [(0.3, 0.5), (1.0, 0.5), (-0.6, 0.2), (0.0, 1.0), (0.2, 0.0)])
def test_signed_rank_against_baycomp(centre: float, rope: float) -> None:
    differences = np.random.default_rng(3).normal(centre, 1, 9)
    found = signed_rank_places(differences, rope, stream())
    theirs = baycomp.SignedRankTest(np.zeros(9), differences, rope=rope, nsamples=10_000, random_state=1).probs(
        with_rope=True
    )
    # two Monte Carlo runs: four standard errors of sqrt(.25 / 10000 + .25 / 20000) are 0.025
    assert (found.worse, found.equivalent, found.better) == pytest.approx(tuple(map(float, theirs)), abs=0.025)


def test_signed_rank_of_one_difference_by_hand() -> None:
    # One difference of 3 with rope 1: the pairs (z0, z0) = 0 and (z0, z) = 3 > 2, (z, z) = 6. So better has the mass
    # 1 - w0^2 and wins where w0^2 < 1/2. w0 ~ Beta(1/2, 1).
    found = signed_rank_places(np.array([3.0]), 1.0, stream())
    assert found.better == pytest.approx(stats.beta.cdf(0.5**0.5, 0.5, 1), abs=0.012)
    assert found.worse == 0.0


def test_signed_rank_is_symmetric_and_sums_to_one() -> None:
    differences = np.random.default_rng(1).normal(0.5, 1, 8)
    one = signed_rank_places(differences, 0.4, stream())
    other = signed_rank_places(-differences, 0.4, stream())
    assert one.worse + one.equivalent + one.better == pytest.approx(1)
    assert (one.better, one.worse) == pytest.approx((other.worse, other.better), abs=0.015)


def test_equal_methods_are_equivalent() -> None:
    assert signed_rank_places(np.zeros(6), 1.0, stream()).equivalent == 1.0
    runs = [np.full(5, 0.0) + np.linspace(-0.2, 0.2, 5) for _ in range(8)]
    draws = sample_predictive(runs, stream())
    assert draws is not None
    assert (np.abs(draws) < 1).mean() > 0.97


def test_hierarchical_follows_the_data_sets_where_seeds_are_exact() -> None:
    # Seeds without noise on many data sets: mu_i is known, and mu_0 is the centre of a sample of them. For a normal
    # sample the posterior of mu_0 is about Student's t around the mean.
    centres = stats.norm.ppf((np.arange(40) + 0.5) / 40) * 2 + 3
    noise = np.linspace(-0.05, 0.05, 5)
    centre, tau, _ = sample_hierarchical([value + noise for value in centres], stream())
    assert centre.mean() == pytest.approx(3.0, abs=0.1)
    assert centre.std() == pytest.approx(2 / 40**0.5, rel=0.2)
    assert np.median(tau) == pytest.approx(2.0, rel=0.15)


def test_hierarchical_shrinks_noisy_data_sets() -> None:
    # Data sets that differ by no more than their seeds' noise lets expect have little spread of their own.
    generator = np.random.default_rng(2)
    runs = [generator.normal(2, 3, 20) for _ in range(10)]
    _, tau, _ = sample_hierarchical(runs, stream(), correlation=0.0)
    assert np.median(tau) < 0.75  # the standard error of a data set's mean is 3 / sqrt(20) = 0.67


def test_correlated_seeds_say_less() -> None:
    # Data sets with one mean and one spread: with flat priors only the scale of the noise of a mean is left, which is
    # S c / (1 - rho) with c = (1 + 4 rho) / 5. From rho = 0 to 1/2 it grows from 1/5 to (3/5) / (1/2): six times.
    runs = [2 + 10 * np.array([-2.0, -1, 0, 1, 2])] * 12
    free = sample_hierarchical(runs, stream(), correlation=0.0)[0]
    bound = sample_hierarchical(runs, stream(), correlation=0.5)[0]
    assert bound.std() / free.std() == pytest.approx(6**0.5, rel=0.12)


def test_hierarchical_sees_a_clear_difference() -> None:
    generator = np.random.default_rng(2)
    runs = [generator.normal(5 + shift, 1, 5) for shift in np.linspace(-1, 1, 8)]
    draws = sample_predictive(runs, stream())
    assert draws is not None
    assert (draws > 1).mean() > 0.97


def test_seeds_without_spread_divide_by_nothing() -> None:
    draws = sample_predictive([np.full(5, value) for value in (2.0, 2.1, 1.9, 2.0)], stream())
    assert draws is not None
    assert (draws > 1).mean() > 0.9


def test_hierarchical_against_integration() -> None:
    # The same posterior on grids. With s_i flat, x_i given mu_i has the density [S / (1 - rho) + (x - mu_i)^2 / c] to
    # the power -(n - 1) / 2. Times Student's of mu_i, summed over mu_i and multiplied over data sets, it is the
    # likelihood of (mu_0, tau, nu).
    generator = np.random.default_rng(3)
    seeds, rope = 4, 1.0
    runs = np.linspace(-1.5, 4.5, 8)[:, None] + generator.normal(0, 1.5, (8, seeds))
    mean, deviations = runs.mean(axis=1), seeds * runs.var(axis=1)
    scale = (1 + (seeds - 1) * CORRELATION) / seeds
    mu = np.linspace(-25, 28, 531)
    noise = (deviations / (1 - CORRELATION) + (mean - mu[:, None]) ** 2 / scale) ** (-(seeds - 1) / 2)
    centres, taus = np.linspace(-5, 8, 79), np.geomspace(0.15, 40, 50)
    prior = np.log(DEGREES) - 0.1 * DEGREES + np.log(np.gradient(DEGREES))
    logs = np.empty((len(DEGREES), len(taus), len(centres)))
    for layer, nu in enumerate(DEGREES):
        for row, tau in enumerate(taus):
            student = stats.t.pdf(mu, nu, centres[:, None], tau)
            # a geometric grid: d tau = tau d log tau
            logs[layer, row] = np.log(student @ noise).sum(axis=1) + prior[layer] + np.log(tau)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    worse = np.stack([stats.t.cdf(-rope, nu, centres, taus[:, None]) for nu in DEGREES])
    better = np.stack([stats.t.sf(rope, nu, centres, taus[:, None]) for nu in DEGREES])
    shares = float((weights * worse).sum()), float((weights * better).sum())
    middle, middle_tau = (weights * centres).sum(), (weights * np.log(taus)[:, None]).sum()
    spread = (weights * (centres - middle) ** 2).sum() ** 0.5
    spread_tau = (weights * (np.log(taus)[:, None] - middle_tau) ** 2).sum() ** 0.5

    # 8000 draws that hang together: four standard errors at a fifth as many independent ones are a tenth of a spread
    centre, tau, nus = sample_hierarchical(list(runs), stream())
    assert centre.mean() == pytest.approx(middle, abs=spread / 10)
    assert centre.std() == pytest.approx(spread, rel=0.1)
    assert np.log(tau).mean() == pytest.approx(middle_tau, abs=spread_tau / 10)
    assert np.log(nus).mean() == pytest.approx((weights.sum(axis=(1, 2)) * np.log(DEGREES)).sum(), abs=0.1)
    draws = sample_predictive(list(runs), stream())
    assert draws is not None
    assert ((draws < -rope).mean(), (draws > rope).mean()) == pytest.approx(shares, abs=0.02)
