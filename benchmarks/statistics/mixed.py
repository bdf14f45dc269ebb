"""Two methods on one data set, clients and seeds both taken for a sample (benchmarks room).

d_sc is the difference of two methods for client c under seed s:

    d_sc = mu + a_s + b_c + e_sc       a_s ~ Normal(0, S), b_c ~ Normal(0, C), e_sc ~ Normal(0, E)

mu is the method's effect; seeds, clients and what is left are random. Means over clients, as compared otherwise, say
nothing about other clients: with the same thirty persons under every seed, five seeds agree on what these thirty happen
to prefer. Where clients are dealt anew under every seed there are no such clients: b_c and e_sc are one.

Variances by REML (H. Patterson and R. Thompson, Biometrika 58, 1971), degrees of freedom by Satterthwaite's
approximation from the expected information (A. Giesbrecht and J. Burns, Biometrics 41, 1985). A variance may come out
below zero where the data say so, as in the analysis of variance: holding it at zero would make few seeds too sure. For
balanced data without b_c the result is Student's interval of the means over clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, optimize, special

from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESOLUTION = 1e-6
"""Points: what differs by less does not vary."""

FAR = 16.0
"""Logarithm of how many times as large as the residual's a variance may be."""

LEAST = 3
"""Seeds, and clients where they are a sample of their own: fewer say nothing of a variance."""


@dataclass(frozen=True)
class Mixed:
    """The effect of a method with clients and seeds as random effects."""

    difference: float
    """mu, points: by generalised least squares."""
    low: float
    high: float
    p: float
    """Two-sided, of mu = 0."""
    degrees: float
    """Satterthwaite's degrees of freedom."""
    seed_std: float
    """sqrt(S), points; 0 where the estimate is below."""
    client_std: float | None
    """sqrt(C); None where clients are dealt anew under every seed."""
    rest_std: float
    """sqrt(E)."""


def mixed(differences: Array, alpha: float, *, same_clients: bool) -> Mixed | None:
    """The difference of two methods for other clients and seeds like these.

    Args:
        differences: method minus other, points, shape (seeds, clients); NaN where a client has no test samples.
        alpha: 0.05 for a 95 % interval.
        same_clients: whether a column is one client, the same under every seed, as with natural users.
    Returns:
        None with fewer than three seeds (or clients that stay), or where seeds (and clients that stay) leave
        nothing of the differences to vary.
    """
    seeds, clients = np.nonzero(np.isfinite(differences))
    y = settled(differences)[seeds, clients]
    if len(set(seeds)) < LEAST or (same_clients and len(set(clients)) < LEAST):
        return None
    groups = [seeds, clients] if same_clients else [seeds]
    if not _varies_within(y, groups):
        return None
    shared = [np.equal.outer(group, group).astype(float) for group in groups]
    parts = [*shared, np.eye(len(y))]
    ratios = _reml(y, shared)
    fit = _fit(y, shared, ratios)
    assert fit is not None  # the search stays where there is one
    rest = fit.squares / (len(y) - 1)
    variances = np.array([*(ratios * rest), rest])
    inverse = linalg.cho_solve((fit.factor, True), np.eye(len(y))) / rest
    ones = inverse.sum(axis=1)
    weight = float(ones.sum())
    projection = inverse - np.outer(ones, ones) / weight
    # d (1 / weight) / d variance = 1' V^-1 V_i V^-1 1 / weight^2; the information is tr(P V_i P V_j) / 2.
    slope = np.array([ones @ part @ ones for part in parts]) / weight**2
    through = [projection @ part for part in parts]
    information = np.array([[float((one * other.T).sum()) / 2 for other in through] for one in through])
    spread = float(slope @ np.linalg.pinv(information, hermitian=True) @ slope)
    degrees = min(max(2 / weight**2 / spread, 1.0), len(y) - 1.0)
    mean = float(ones @ y) / weight
    error = weight**-0.5
    half = float(special.stdtrit(degrees, 1 - alpha / 2)) * error
    stds = np.sqrt(np.maximum(variances, 0.0))
    return Mixed(
        difference=mean,
        low=mean - half,
        high=mean + half,
        p=float(2 * special.stdtr(degrees, -abs(mean) / error)),
        degrees=degrees,
        seed_std=float(stds[0]),
        client_std=float(stds[1]) if same_clients else None,
        rest_std=float(stds[-1]),
    )


def _varies_within(y: Array, groups: Sequence[NDArray[np.int64]]) -> bool:
    """Whether anything is left of y after the means of all groups."""
    design = np.hstack([np.equal.outer(group, np.unique(group)).astype(float) for group in groups])
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return bool(np.abs(rest).max() > RESOLUTION)


@dataclass(frozen=True)
class _Fit:
    """Generalised least squares of a mean, for variances in units of the residual's."""

    factor: Array
    """Cholesky's, lower."""
    squares: float
    """r' V^-1 r."""
    deviance: float
    """-2 log of the restricted likelihood, but for a constant."""


def _fit(y: Array, shared: Sequence[Array], ratios: Array) -> _Fit | None:
    """The fit for given ratios of variances; None where no such variance exists."""
    variance = np.eye(len(y))
    for ratio, part in zip(ratios, shared, strict=True):
        variance += ratio * part
    try:
        factor = linalg.cholesky(variance, lower=True)
    except linalg.LinAlgError:
        return None
    ones = linalg.solve_triangular(factor, np.ones(len(y)), lower=True)
    values = linalg.solve_triangular(factor, y, lower=True)
    weight = float(ones @ ones)
    rest = values - float(ones @ values) / weight * ones
    squares = float(rest @ rest)
    logs = 2 * float(np.log(np.diag(factor)).sum()) + float(np.log(weight))
    return _Fit(factor, squares, logs + (len(y) - 1) * float(np.log(squares)))


def _reml(y: Array, shared: Sequence[Array]) -> Array:
    """Ratios of the variances of seeds (and clients) to the residual's that maximise the restricted likelihood."""
    largest = np.array([part.sum(axis=0).max() for part in shared])

    def ratios(at: Array) -> Array:
        # 1 + n ratio > 0 for groups of n: the logarithm keeps the search where a group's mean has a variance.
        found: Array = np.expm1(np.clip(at, -FAR, FAR)) / largest
        return found

    def deviance(at: Array) -> float:
        fit = _fit(y, shared, ratios(at))
        return np.inf if fit is None else fit.deviance

    start = np.full(len(shared), np.log1p(1.0))
    found = optimize.minimize(
        deviance, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 400}
    )
    return ratios(found.x)
