"""Bayesian tests against the numbers that Benavoli et al. publish.

A. Benavoli, G. Corani, J. Demsar and M. Zaffalon, JMLR 18(77), 2017; data in benavoli.txt. The printed numbers are the
outputs in the notebooks of the authors' repository, BayesianTestsML/tutorial. They count accuracy in [0, 1], here it is
percent: their region of practical equivalence of 0.01 is one point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.bayes import (
    DRAWS,
    sample_hierarchical,
    signed_rank_places,
)

STREAMS = 4
THEIR_DRAWS = 150_000
FOLDS = 100
FOLD_CORRELATION = 0.1  # rho of ten-fold cross-validation


@pytest.fixture(scope="module")
def benavoli() -> dict[str, np.ndarray]:
    """Columns by name: mean accuracies, and standard deviations of differences to nbc, of shape (54,)."""
    path = Path(__file__).parent / "benavoli.txt"
    names = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")][-1]
    return dict(zip(names.lstrip("#").split(), np.loadtxt(path).T, strict=True))


def runs_to_nbc(table: dict[str, np.ndarray], method: str) -> list[np.ndarray]:
    """Differences to nbc, fold by fold, of shape (100,) for each data set.

    The model sees a data set's mean and squared deviations only, so any hundred values that have them will do.
    """
    signs = np.resize([-1.0, 1.0], FOLDS) * np.sqrt((FOLDS - 1) / FOLDS)
    means = table[method] - table["nbc"]
    return [mean + spread * signs for mean, spread in zip(means, table[f"{method}-nbc"], strict=True)]


@pytest.mark.parametrize(
    ("one", "other", "printed"),
    [
        ("nbc", "aode", (0.000, 0.123, 0.877)),
        ("nbc", "hnb", (0.000, 0.001, 0.999)),
        ("nbc", "j48", (0.228, 0.006, 0.766)),
        ("aode", "hnb", (0.001, 0.965, 0.034)),
        ("aode", "j48", (0.904, 0.034, 0.062)),
        ("hnb", "j48", (0.962, 0.020, 0.019)),
    ],
)
def test_signed_rank_as_printed(
    benavoli: dict[str, np.ndarray], one: str, other: str, printed: tuple[float, float, float]
) -> None:
    # Notebook 6: P(one better), P(equivalent), P(other better), three decimals of 150 000 draws. Asked for are four
    # standard errors of the difference of two shares and half a unit of the third decimal: 0.001 for .001, 0.006 for
    # .123, 0.008 for .228.
    differences = benavoli[other] - benavoli[one]
    found = [signed_rank_places(differences, 1.0, np.random.default_rng(seed)) for seed in range(STREAMS)]
    shares = np.mean([(places.worse, places.equivalent, places.better) for places in found], axis=0)
    expected = np.array(printed)
    likely = np.clip(expected, 0.0005, 0.9995)
    error = np.sqrt(likely * (1 - likely) * (1 / (STREAMS * DRAWS) + 1 / THEIR_DRAWS))
    assert np.all(np.abs(shares - expected) <= 4 * error + 0.0005)


def test_hierarchical_as_printed(benavoli: dict[str, np.ndarray]) -> None:
    # Hierarchical test, hnb against nbc: 0.998, 0.002, 0.0, and 0.9965 in another run. A share of 0.002 in 2000 draws
    # has a standard error of 0.001; four of them.
    centre, tau, nu = sample_hierarchical(runs_to_nbc(benavoli, "hnb"), np.random.default_rng(5), FOLD_CORRELATION)
    worse, better = stats.t.cdf(-1, nu, centre, tau), stats.t.sf(1, nu, centre, tau)
    likeliest = np.argmax([worse, 1 - worse - better, better], axis=0)
    assert (likeliest == 2).mean() == pytest.approx(0.998, abs=0.004)
    assert (likeliest == 0).mean() <= 0.002


def test_hierarchical_posterior_as_printed(benavoli: dict[str, np.ndarray]) -> None:
    # hierarchical/results/rope-001/inferenceDelta0/log-hierarchical.txt. It does not name the pair; the extremes, the
    # quartiles and the mean of the 54 differences, which it prints in units of a spread, have the ratios of nbc - aode.
    # Quartiles of mu_0 are -0.012, -0.009 and -0.0075, its mean is -0.01, the median of nu is 1.99. Their prior of nu
    # is another one (nu - 1 has a Gamma distribution): no more is asked for than one unit of the third decimal.
    centre, _, nu = sample_hierarchical(runs_to_nbc(benavoli, "aode"), np.random.default_rng(5), FOLD_CORRELATION)
    assert np.percentile(centre, [25, 50, 75]) == pytest.approx([0.75, 0.9, 1.2], abs=0.1)
    assert centre.mean() == pytest.approx(1.0, abs=0.1)
    assert np.median(nu) == 2.0
