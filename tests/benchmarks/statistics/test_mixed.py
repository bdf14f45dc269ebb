"""Clients and seeds as random effects: against the analysis of variance, Student's t, and the likelihood itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.mixed import mixed


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_balanced_and_crossed_is_the_analysis_of_variance(generator: np.random.Generator) -> None:
    # Mean squares of seeds, clients and the rest; the mean's variance is (MS + MC - ME) / (S C), with Satterthwaite's
    # degrees of freedom for a sum of mean squares.
    seeds, clients = 5, 12
    runs = 1 + generator.normal(0, 1, (seeds, 1)) + generator.normal(0, 2, clients) + generator.normal(0, 1.5, (5, 12))
    found = mixed(runs, 0.05, same_clients=True)
    assert found is not None
    of_seeds, of_clients = runs.mean(axis=1), runs.mean(axis=0)
    ms = clients * of_seeds.var(ddof=1)
    mc = seeds * of_clients.var(ddof=1)
    rest = runs - of_seeds[:, None] - of_clients + runs.mean()
    freedom = (seeds - 1) * (clients - 1)
    me = (rest**2).sum() / freedom
    error = ((ms + mc - me) / (seeds * clients)) ** 0.5
    degrees = (ms + mc - me) ** 2 / (ms**2 / (seeds - 1) + mc**2 / (clients - 1) + me**2 / freedom)
    half = stats.t.ppf(0.975, degrees) * error
    assert found.difference == pytest.approx(runs.mean())
    assert found.degrees == pytest.approx(degrees, rel=1e-4)
    assert (found.low, found.high) == pytest.approx((runs.mean() - half, runs.mean() + half), rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(runs.mean()) / error, degrees), rel=1e-4)
    assert found.seed_std == pytest.approx(((ms - me) / clients) ** 0.5, rel=1e-3)
    assert found.client_std == pytest.approx(((mc - me) / seeds) ** 0.5, rel=1e-3)
    assert found.rest_std == pytest.approx(me**0.5, rel=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_clients_dealt_anew_leave_students_interval_of_seeds(generator: np.random.Generator, spread: float) -> None:
    # Also where seeds hardly differ and their variance comes out below zero.
    runs = generator.normal(0.3, spread, (5, 1)) + generator.normal(0, 1, (5, 10))
    found = mixed(runs, 0.1, same_clients=False)
    assert found is not None
    expected = stats.ttest_1samp(runs.mean(axis=1), 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.9)), rel=1e-4)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
    assert found.client_std is None


def test_gaps_are_left_out_of_the_likelihood(generator: np.random.Generator) -> None:
    # REML written down anew with scipy's normal density: of n - 1 contrasts of the values that are there. The estimate
    # must be at its top: moving any variance by a tenth lowers it.
    runs = generator.normal(0, 1, (4, 1)) + generator.normal(0, 1, 6) + generator.normal(0, 1, (4, 6))
    runs[0, :3] = np.nan
    runs[2, 5] = np.nan
    found = mixed(runs, 0.05, same_clients=True)
    assert found is not None
    assert found.client_std is not None
    seed, client = np.nonzero(np.isfinite(runs))
    y = runs[seed, client]
    contrasts = stats.ortho_group.rvs(len(y), random_state=1)[:-1]
    contrasts = np.linalg.qr(np.column_stack([np.ones(len(y)), contrasts.T[:, : len(y) - 1]]))[0][:, 1:].T

    def likelihood(of_seeds: float, of_clients: float, rest: float) -> float:
        variance = of_seeds * np.equal.outer(seed, seed) + of_clients * np.equal.outer(client, client)
        variance = variance + rest * np.eye(len(y))
        return float(stats.multivariate_normal.logpdf(contrasts @ y, cov=contrasts @ variance @ contrasts.T))

    best = np.array([found.seed_std**2, found.client_std**2, found.rest_std**2])
    top = likelihood(*best)
    for place in range(3):
        for factor in (0.9, 1.1):
            moved = best.copy()
            moved[place] *= factor
            assert likelihood(*moved) < top


def test_other_clients_are_less_sure_than_these(generator: np.random.Generator) -> None:
    # Clients that differ by far, each the same under every seed: five seeds agree, and still it is these clients.
    runs = generator.normal(0, 5, 8) + generator.normal(0, 0.1, (5, 8)) + 1
    kept, anew = (mixed(runs, 0.05, same_clients=same) for same in (True, False))
    assert kept is not None
    assert anew is not None
    assert kept.high - kept.low > 10 * (anew.high - anew.low)
    assert kept.degrees == pytest.approx(7, abs=0.1)


def test_too_few_or_equal_say_nothing(generator: np.random.Generator) -> None:
    assert mixed(generator.normal(0, 1, (2, 9)), 0.05, same_clients=False) is None
    assert mixed(generator.normal(0, 1, (9, 2)), 0.05, same_clients=True) is None
    assert mixed(np.full((5, 5), 1.5), 0.05, same_clients=True) is None
    assert mixed(np.arange(5.0)[:, None] + np.arange(4.0), 0.05, same_clients=True) is None
    assert mixed(np.full((5, 5), np.nan), 0.05, same_clients=False) is None
