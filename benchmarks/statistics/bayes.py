"""Bayesian tests with a region of practical equivalence, ROPE (benchmarks room).

A. Benavoli, G. Corani, J. Demsar and M. Zaffalon, "Time for a change: a tutorial for comparing multiple classifiers
through Bayesian analysis", JMLR 18, 2017. They ask where differences lie: worse by more than the ROPE, within it, or
better, and count in which share of the posterior each place is the likeliest; so does the signed rank here. That is no
probability for a next data set, so of the hierarchical model the predictive probabilities are given instead.

signed rank    z_1..z_N are the differences, z_0 = 0 a pseudo-observation; with w ~ Dirichlet(1/2, 1, ..., 1):
                   theta_better = sum_ij w_i w_j [z_i + z_j > 2 rope],  theta_worse likewise, theta_equivalent the rest
hierarchical   x_ij, seed j on data set i (G. Corani et al., Machine Learning 106, 2017):
                   x_i ~ Normal(1 mu_i, s_i^2 C)       C: ones on the diagonal, the correlation of seeds elsewhere
                   mu_i ~ Student(nu, mu_0, tau)

baycomp has both. Its signed rank takes a loop per draw where two matrix products do, and brings matplotlib; the tests
compare the two. Its hierarchical model needs a C++ compiler and keeps pickles in the current folder, so the model is
sampled here, by Gibbs: given the scale mixture of Student's t every conditional is a known distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DRAWS = 20_000
"""Draws of the weights of the signed-rank test."""

PRIOR = 0.5
"""Weight of the pseudo-observation z_0, as Benavoli et al. have it."""

CORRELATION = 0.2
"""Correlation of two seeds' differences on one data set. They share its samples, so they are not independent; C. Nadeau
and Y. Bengio (2003) take the share of test samples in the data, here a fifth."""

CHAINS, WARM_UP, KEPT = 4, 500, 2000
"""Gibbs chains, steps thrown away and steps kept of each."""

RESOLUTION = 0.01
"""Points: seeds that agree better than this say nothing about the spread, and would divide by zero."""

DEGREES = np.array([1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 23, 30, 45, 70, 100], dtype=float)
"""Values of nu; prior of M. Juarez and M. Steel (2010), Gamma(2, 0.1)."""

MIXED = 1.05
"""Potential scale reduction above which the chains are not trusted."""


@dataclass(frozen=True)
class Places:
    """P(worse), P(equivalent), P(better); they sum to 1."""

    worse: float
    equivalent: float
    better: float


def signed_rank_places(differences: Array, rope: float, generator: np.random.Generator) -> Places:
    """The Bayesian signed-rank test.

    Args:
        differences: shape (blocks,), points.
        rope: half width of the region of practical equivalence, points.
        generator: where randomness comes from.
    """
    observed = np.sort(settled(np.append(0.0, differences))[1:])  # sorted: the order of blocks says nothing
    z = np.append(0.0, observed)
    sums = settled(z[:, None] + z[None, :])
    weights = generator.dirichlet(np.append(PRIOR, np.ones(len(observed))), size=DRAWS)
    better = ((weights @ _above(sums, 2 * rope)) * weights).sum(axis=1)
    worse = ((weights @ _above(-sums, 2 * rope)) * weights).sum(axis=1)
    return _likeliest(worse, better)


def sample_predictive(
    runs: Sequence[Array], generator: np.random.Generator, correlation: float = CORRELATION
) -> Array | None:
    """Draws of the difference on a next data set, by the hierarchical model; None where the chains do not agree.

    Args:
        runs: the differences on each data set, seed by seed; at least 3 data sets with 3 seeds each.
        generator: where randomness comes from.
        correlation: of two seeds' differences on one data set.
    Returns:
        Shape (draws,), in the unit of the differences.
    """
    centre, tau, nu = sample_hierarchical(runs, generator, correlation)
    if not _mixed(centre) or not _mixed(np.log(tau)):
        return None
    drawn: Array = (centre + tau * generator.standard_t(nu)).ravel()
    return drawn


def sample_hierarchical(
    runs: Sequence[Array], generator: np.random.Generator, correlation: float = CORRELATION
) -> tuple[Array, Array, Array]:
    """Posterior draws of mu_0, tau and nu, each of shape (steps, chains).

    With n seeds of mean x and squared deviations S on a data set, flat priors on mu_0, s_i and tau, and mu_i Normal
    with variance tau^2 / w_i given its mixing weight w_i, the conditionals are:

        mu_i    Normal, precisions 1 / (s_i^2 c) around x and w_i / tau^2 around mu_0,  c = (1 + (n - 1) rho) / n
        s_i^2   inverse Gamma((n - 1) / 2, [S / (1 - rho) + (x - mu_i)^2 / c] / 2)
        w_i     Gamma((nu + 1) / 2, rate [nu + (mu_i - mu_0)^2 / tau^2] / 2)
        mu_0    Normal(sum w mu / sum w, tau^2 / sum w)
        tau^2   inverse Gamma((D - 1) / 2, sum w (mu - mu_0)^2 / 2)
        nu      its prior times prod Gamma(w_i; nu / 2, rate nu / 2), on a grid
    """
    count = np.array([len(values) for values in runs], dtype=float)
    mean = np.array([np.mean(values) for values in runs])
    deviations = np.array(
        [max(float(np.sum((values - np.mean(values)) ** 2)), len(values) * RESOLUTION**2) for values in runs]
    )
    spread = max(float(np.std(mean)), RESOLUTION)
    # Chains start apart, so that their agreement means something.
    centre = mean.mean() + spread * np.linspace(-2, 2, CHAINS)
    tau2 = spread**2 * np.logspace(-1, 1, CHAINS)
    shape = (CHAINS, len(runs))
    return gibbs(
        np.broadcast_to(mean, shape), np.broadcast_to(deviations, shape), count, centre, tau2, generator, correlation
    )


def gibbs(
    mean: Array,
    deviations: Array,
    count: Array,
    centre: Array,
    tau2: Array,
    generator: np.random.Generator,
    correlation: float,
) -> tuple[Array, Array, Array]:
    """The chains of `sample_hierarchical`, which may be of tables of their own each.

    Args:
        mean: of the seeds, shape (chains, data sets).
        deviations: their squared deviations from it, summed; above 0.
        count: seeds on each data set, shape (data sets,).
        centre: where each chain starts with mu_0.
        tau2: and with tau^2.
        generator: where randomness comes from.
        correlation: rho.
    Returns:
        mu_0, tau and nu, each of shape (steps, chains).
    """
    scale = (1 + (count - 1) * correlation) / count
    chains, datasets = shape = mean.shape
    nu_prior = np.log(DEGREES) - 0.1 * DEGREES + np.log(np.gradient(DEGREES))
    nu = np.full(chains, 10.0)
    mu = mean.copy()
    weights = np.ones(shape)
    kept = np.empty((KEPT, 3, chains))
    for step in range(WARM_UP + KEPT):
        error2 = deviations / (1 - correlation) + (mean - mu) ** 2 / scale
        noise2 = error2 / 2 / generator.standard_gamma((count - 1) / 2, size=shape)
        precision = 1 / (noise2 * scale) + weights / tau2[:, None]
        target = (mean / (noise2 * scale) + weights * centre[:, None] / tau2[:, None]) / precision
        mu = target + generator.standard_normal(shape) / np.sqrt(precision)
        distance2 = (mu - centre[:, None]) ** 2 / tau2[:, None]
        weights = generator.standard_gamma((nu[:, None] + 1) / 2, size=shape) * 2 / (nu[:, None] + distance2)
        total = weights.sum(axis=1)
        centre = (weights * mu).sum(axis=1) / total + generator.standard_normal(chains) * np.sqrt(tau2 / total)
        around = (weights * (mu - centre[:, None]) ** 2).sum(axis=1)
        tau2 = np.maximum(around / 2 / generator.standard_gamma((datasets - 1) / 2, size=chains), RESOLUTION**2)
        nu = _draw_degrees(weights, nu_prior, generator)
        if step >= WARM_UP:
            kept[step - WARM_UP] = centre, np.sqrt(tau2), nu
    return kept[:, 0], kept[:, 1], kept[:, 2]


def _draw_degrees(weights: Array, prior: Array, generator: np.random.Generator) -> Array:
    """nu of each chain, given its mixing weights, shape (chains, data sets)."""
    half = DEGREES / 2
    size = weights.shape[1]
    logs = np.log(weights).sum(axis=1)[:, None] * (half - 1) - weights.sum(axis=1)[:, None] * half
    logs = prior + size * (half * np.log(half) - special.gammaln(half)) + logs
    heights = np.exp(logs - logs.max(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = generator.random(len(weights)) * heights[:, -1]
    places = (heights < drawn[:, None]).sum(axis=1)
    result: Array = DEGREES[places]
    return result


def _mixed(draws: Array) -> bool:
    """Whether chains agree: potential scale reduction (A. Gelman and D. Rubin, 1992) of shape (steps, chains)."""
    within = float(draws.var(axis=0, ddof=1).mean())
    between = float(draws.mean(axis=0).var(ddof=1))
    return between <= (MIXED**2 - 1 + 1 / len(draws)) * within


def _above(sums: Array, threshold: float) -> Array:
    return np.where(sums > threshold, 1.0, np.where(sums == threshold, 0.5, 0.0))


def _likeliest(worse: Array, better: Array) -> Places:
    """Share of the draws in which each place is the likeliest; a draw in which two are level counts half for each."""
    thetas = settled(np.stack([worse, 1 - worse - better, better]))
    top = thetas == thetas.max(axis=0)
    shares = (top / top.sum(axis=0)).mean(axis=1)
    return Places(*(float(share) for share in shares))
