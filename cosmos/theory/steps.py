"""One-step regressions of risks: how much of a client's excess is left a round later, and which way it went.

With e_i(t+1) = rho e_i(t) + epsilon_i the slope of e_i(t+1) on e_i(t) is rho, and intercept / (1 - rho) the floor.
Plain least squares must not be trusted with it: noise in e_i(t) (few test samples, a shaky round) pulls its slope
towards 0, so that clients who do nothing but fluctuate seem to contract (regression to the mean), and floors that
differ between clients pull it towards 1. So here

- each client's own level drops out by forward orthogonal deviations: from every value the mean of the later ones is
  subtracted (M. Arellano and O. Bover, 1995, Journal of Econometrics 68);
- the mean of e(t-1) over a seed's clients, whose noise is another, is the instrument of e_i(t). So the slope is that of
  the mean excess: what a client has more than its fellows may vanish faster or slower (`Chain.kept`);
- intervals invert a t-test over independent clusters (seeds), which for a slope is Fieller's interval of a ratio: it
  holds its level with few seeds, and where e_i(t) does not move enough to tell any slope it is unbounded (None).

Assumed: noise of different rounds is independent, and all clients share the slope. The test set's own error, the same
in every round, drops out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from fl_bench.errors import ConfigError

from .fits import checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

By = Literal["seed", "client"]
"""What is independent: seeds, or every client of every seed (the only choice with one seed)."""

ROUNDING = 1e-9
"""A risk that moves by less than this share of the largest does not move."""
LEVEL_ROUNDS = 4
"""The last 1/LEVEL_ROUNDS of the rounds give the level from which instruments are measured."""


@dataclass(frozen=True)
class Slope:
    """One coefficient with its interval."""

    estimate: float
    interval: tuple[float, float] | None
    """None: unbounded, the data do not tell the slope."""

    def below(self, value: float) -> bool:
        """Whether the whole interval lies below a value."""
        return self.interval is not None and self.interval[1] < value

    def above(self, value: float) -> bool:
        """Whether the whole interval lies above a value."""
        return self.interval is not None and self.interval[0] > value


@dataclass(frozen=True)
class Step:
    """e_i(t+1) on e_i(t)."""

    rho: Slope
    """The slope."""
    intercept: Slope
    """Mean of e_i(t+1) - rho e_i(t): floor times (1 - rho)."""
    floor: Slope
    """intercept / (1 - rho); its interval is None where that of rho is unbounded or reaches 1."""
    plain: float
    """The slope of pooled least squares without instrument, for comparison: noise pulls it to 0, levels to 1."""
    pairs: int
    """Pairs (t, t+1) that were used."""
    clusters: int
    """Independent clusters behind the intervals."""


@dataclass(frozen=True)
class Chain:
    """The two halves of a round: the server's models learn from clients, clients from the server's models."""

    a: Slope
    """Slope of the cluster model's risk in round t on the mean risk of its clients in round t."""
    b: Slope
    """Slope of a client's risk in round t+1 on that of its cluster model in round t, alone."""
    through_server: Slope
    """The same beside the client's own risk: what comes through the server and not from the client itself. 0 where
    clients improve by themselves and the server follows them."""
    kept: Slope
    """Slope on the client's own risk beside that of its cluster model."""
    gap: Slope
    """rho - a b, whose interval holds 0 where the two halves explain the whole."""


def one_step(risks: Array, *, start: int = 1, by: By = "seed", alpha: float = 0.05) -> Step:
    """Regress e_i(t+1) on e_i(t), pooled over clients, rounds and seeds.

    Args:
        risks: shape (seeds, clients, rounds), finite; the risk itself or its excess over a reference.
        start: the first round that is used.
        by: what is independent.
        alpha: 0.05 for 95 % intervals.
    Raises:
        ConfigError: fewer than five rounds from `start` on, values that are not finite, or one cluster only.
    """
    values = checked(risks, start + 5)[:, :, start:]
    effect, cause = _own_sums(values, by)
    rho = _ratio(effect, cause, alpha)
    now, later = values[:, :, :-1], values[:, :, 1:]
    intercept, floor = _levels(now.mean(axis=2), later.mean(axis=2), effect, cause, rho, by, alpha)
    centred = now - now.mean()
    return Step(
        rho=rho,
        intercept=intercept,
        floor=floor,
        plain=_divided(float((centred * later).sum()), float((centred**2).sum())),
        pairs=int(np.prod(now[:, :, 1:].shape)),
        clusters=len(effect),
    )


def chain(
    clients: Array, server: Array, clusters: Labels, *, start: int = 1, by: By = "seed", alpha: float = 0.05
) -> Chain:
    """Regress the server's risks on clients', and clients' next risks on the server's.

    Args:
        clients: e_i(t) of what clients hold when the server learns from them, shape (seeds, clients, rounds).
        server: risk of each client's cluster model after it learned in that round, on the same client's data; the
            client learns from it in the next round. Same shape.
        clusters: cluster of each client, shape (seeds, clients) or (seeds, clients, rounds), integers.
        start: the first round that is used.
        by: what is independent.
        alpha: 0.05 for 95 % intervals.
    Raises:
        ConfigError: shapes that do not agree, too few rounds, values that are not finite, or one cluster only.
    """
    own, taught = checked(clients, start + 5), checked(server, start + 5)
    if own.shape != taught.shape or np.shape(clusters)[:2] != own.shape[:2]:
        raise ConfigError(
            f"clients, server and clusters must agree, found {own.shape}, {taught.shape} and {np.shape(clusters)}"
        )
    means = cluster_means(own, np.asarray(clusters))[:, :, start:]
    own, taught = own[:, :, start:], taught[:, :, start:]
    kept, through = _two(own[:, :, 2:], (own, taught), by, alpha)
    return Chain(
        a=_ratio(*_server_sums(taught, means, by), alpha),
        b=_ratio(*_sums(own[:, :, 2:], taught[:, :, 1:-1], taught[:, :, :-2], by), alpha),
        through_server=through,
        kept=kept,
        gap=_gap(own, taught, means, by, alpha),
    )


def cluster_means(risks: Array, clusters: Labels) -> Array:
    """For every client the mean risk of its cluster's clients, shape (seeds, clients, rounds)."""
    assigned = np.broadcast_to(clusters[..., None] if clusters.ndim == 2 else clusters, risks.shape)
    means = np.empty_like(risks)
    for cluster in np.unique(assigned):
        members = assigned == cluster
        size = np.maximum(members.sum(axis=1, keepdims=True), 1)
        mean = np.where(members, risks, 0).sum(axis=1, keepdims=True) / size
        means = np.where(members, mean, means)
    return means


def difference(
    risks: Array,
    control: Array,
    *,
    of: Literal["rho", "intercept", "floor"] = "rho",
    start: int = 1,
    by: By = "seed",
    alpha: float = 0.05,
) -> Slope:
    """A number of an arm's one-step regression minus that of a control's, paired, by a jackknife over clusters.

    Args:
        risks: the arm's, shape (seeds, clients, rounds).
        control: the control's, with the same seeds and clients; same shape.
        of: which number.
        start: the first round that is used.
        by: what is independent.
        alpha: 0.05 for a 95 % interval.
    Raises:
        ConfigError: shapes that do not agree, or what `one_step` refuses.
    """
    arms = [checked(values, start + 5)[:, :, start:] for values in (risks, control)]
    if arms[0].shape != arms[1].shape:
        raise ConfigError(
            "an arm and its control need the same seeds, clients and rounds, found "
            f"{np.shape(risks)} and {np.shape(control)}"
        )
    sums = [
        (*_own_sums(values, by), *(_clustered(part.mean(axis=2), by) for part in (values[:, :, 1:], values[:, :, :-1])))
        for values in arms
    ]
    units = arms[0].shape[1] if by == "seed" else 1

    def number(arm: tuple[Array, ...], kept: Array) -> float:
        effect, cause, later, now = arm
        rho = _quotient(effect, cause, kept)
        intercept = float((later[kept] - rho * now[kept]).mean()) / units
        return {"rho": rho, "intercept": intercept, "floor": intercept / (1 - rho)}[of]

    return _jackknife(lambda kept: number(sums[0], kept) - number(sums[1], kept), len(sums[0][0]), alpha)


def t_interval(values: Array, alpha: float = 0.05) -> tuple[float, float]:
    """Student's interval of the mean of independent values, shape (clusters,).

    Raises:
        ConfigError: fewer than two values.
    """
    _enough(len(values))
    mean = float(values.mean())
    reach = _quantile(len(values), alpha) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - reach, mean + reach


# The panel ---------------------------------------------------------------------------------------------------------


def _level(values: Array) -> float:
    """The mean of the last rounds: a fixed number from which instruments are measured, so that they are large where
    the curve still moves."""
    return float(values[:, :, -max(values.shape[2] // LEVEL_ROUNDS, 1) :].mean())


def _sums(later: Array, now: Array, before: Array, by: By) -> tuple[Array, Array]:
    """Instrument times forward deviations of effect and of cause, summed in each independent cluster.

    The instrument is the mean of `before` over a seed's clients; all three have shape (seeds, clients, pairs).
    """
    instrument = (before - _level(before)).mean(axis=1, keepdims=True)[:, :, :-1]
    # Every seed weighs the same, however bad its clients were at first: causes that differ less tell the slope better.
    instrument = instrument / np.maximum((instrument**2).sum(axis=2, keepdims=True), np.finfo(float).tiny)
    effect, cause = ((instrument * _forward(part)).sum(axis=2) for part in (later, now))
    return _clustered(effect, by), _clustered(cause, by)


def _own_sums(values: Array, by: By) -> tuple[Array, Array]:
    return _sums(values[:, :, 2:], values[:, :, 1:-1], values[:, :, :-2], by)


def _server_sums(taught: Array, means: Array, by: By) -> tuple[Array, Array]:
    return _sums(taught[:, :, 1:], means[:, :, 1:], means[:, :, :-1], by)


def _forward(values: Array) -> Array:
    """Each value minus the mean of the later ones, scaled so that independent noise keeps its variance."""
    pairs = values.shape[2]
    left = np.arange(pairs - 1, 0, -1)
    later = (np.cumsum(values[:, :, ::-1], axis=2)[:, :, ::-1])[:, :, 1:] / left
    deviations = np.sqrt(left / (left + 1)) * (values[:, :, :-1] - later)
    return np.where(np.abs(deviations) > ROUNDING * np.abs(values).max(), deviations, 0.0)


def _clustered(per_client: Array, by: By) -> Array:
    """Sums of each independent cluster, shape (clusters,), of values of shape (seeds, clients)."""
    sums: Array = per_client.sum(axis=1) if by == "seed" else per_client.ravel()
    _enough(len(sums))
    return sums


def _enough(clusters: int) -> None:
    if clusters < 2:
        raise ConfigError("one seed has no interval: run more seeds, or take clients for independent (by='client')")


def _quantile(clusters: int, alpha: float) -> float:
    return -float(special.stdtrit(clusters - 1, alpha / 2))


# Intervals ---------------------------------------------------------------------------------------------------------


def _ratio(effect: Array, cause: Array, alpha: float) -> Slope:
    return Slope(_divided(float(effect.sum()), float(cause.sum())), _fieller(effect, cause, alpha))


def _fieller(effect: Array, cause: Array, alpha: float) -> tuple[float, float] | None:
    """All slopes s for which the clusters' effect - s cause has a mean that a t-test does not reject; None: unbounded.

    E. Fieller, 1954, Journal of the Royal Statistical Society B 16.
    """
    clusters = len(effect)
    factor = _quantile(clusters, alpha) ** 2 / clusters
    covariance = np.cov(effect, cause)
    a = cause.mean() ** 2 - factor * covariance[1, 1]
    b = effect.mean() * cause.mean() - factor * covariance[0, 1]
    c = effect.mean() ** 2 - factor * covariance[0, 0]
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return float((b - root) / a), float((b + root) / a)


def _levels(
    now: Array, later: Array, effect: Array, cause: Array, rho: Slope, by: By, alpha: float
) -> tuple[Slope, Slope]:
    """Intercept and floor, with intervals by the delta method over clusters."""
    if math.isnan(rho.estimate):
        return Slope(math.nan, None), Slope(math.nan, None)
    clusters, slope = len(effect), rho.estimate
    if not math.isfinite(slope):
        return Slope(math.nan, None), Slope(math.nan, None)
    mean_now = float(now.mean())
    intercept = float(later.mean()) - slope * mean_now
    rows = (later - slope * now) if by == "client" else (later - slope * now).mean(axis=1)
    # What each cluster adds to the estimates' error, up to the factor 1 / clusters.
    of_slope = (effect - slope * cause) / cause.mean()
    of_intercept = (rows.ravel() - intercept) - mean_now * of_slope
    reach = _quantile(clusters, alpha) / math.sqrt(clusters)
    spread = reach * float(of_intercept.std(ddof=1))
    floor = intercept / (1 - slope) if slope != 1 else math.nan
    interval = None
    if rho.below(1.0):
        wide = reach * float((of_intercept / (1 - slope) + intercept / (1 - slope) ** 2 * of_slope).std(ddof=1))
        interval = floor - wide, floor + wide
    bounded = None if rho.interval is None else (intercept - spread, intercept + spread)
    return Slope(intercept, bounded), Slope(floor, interval)


def _two(later: Array, causes: tuple[Array, Array], by: By, alpha: float) -> tuple[Slope, Slope]:
    """Two slopes at once, each client's own earlier values as instruments, with clustered errors.

    Two-stage least squares with as many instruments as causes; `causes` have shape (seeds, clients, pairs + 2).
    """
    moved = _forward(later)
    moving = [_forward(values[:, :, 1:-1]) for values in causes]
    instruments = [(values[:, :, :-2] - _level(values))[:, :, :-1] for values in causes]
    # Late rounds, where the curve stands still, would add nothing but noise.
    instruments = [z * np.abs(z.mean(axis=(0, 1))) for z in instruments]
    matrix = np.array([[float((z * x).sum()) for x in moving] for z in instruments])
    if abs(np.linalg.det(matrix)) <= 1e-14 * float(np.abs(matrix).max()) ** 2:
        return Slope(math.nan, None), Slope(math.nan, None)
    slopes = np.linalg.solve(matrix, [float((z * moved).sum()) for z in instruments])
    rest = moved - slopes[0] * moving[0] - slopes[1] * moving[1]
    scores = np.stack([_clustered((z * rest).sum(axis=2), by) for z in instruments])
    clusters = scores.shape[1]
    inverse = np.linalg.inv(matrix)
    variance = clusters / (clusters - 1) * inverse @ (scores @ scores.T) @ inverse.T
    reach = _quantile(clusters, alpha) * np.sqrt(np.diag(variance))
    first, second = (
        Slope(float(slope), (float(slope - wide), float(slope + wide)))
        for slope, wide in zip(slopes, reach, strict=True)
    )
    return first, second


def _quotient(effect: Array, cause: Array, kept: Array) -> float:
    return _divided(float(effect[kept].sum()), float(cause[kept].sum()))


def _gap(own: Array, taught: Array, means: Array, by: By, alpha: float) -> Slope:
    """rho - a b by a jackknife over clusters."""
    whole = _own_sums(own, by)
    halves = _server_sums(taught, means, by), _sums(own[:, :, 2:], taught[:, :, 1:-1], taught[:, :, :-2], by)
    return _jackknife(
        lambda kept: _quotient(*whole, kept) - _quotient(*halves[0], kept) * _quotient(*halves[1], kept),
        len(whole[0]),
        alpha,
    )


def _jackknife(statistic: Callable[[Array], float], clusters: int, alpha: float) -> Slope:
    """A statistic of the clusters that are kept (bool), with the jackknife's interval."""
    everybody = np.ones(clusters, dtype=bool)
    left_out = np.array([statistic(np.arange(clusters) != one) for one in range(clusters)])
    estimate = statistic(everybody)
    error = math.sqrt((clusters - 1) / clusters * float(((left_out - left_out.mean()) ** 2).sum()))
    reach = _quantile(clusters, alpha) * error
    return Slope(estimate, (estimate - reach, estimate + reach) if math.isfinite(reach) else None)


def _divided(effect: float, cause: float) -> float:
    """A ratio; NaN where nothing moved, such as a 0/1 risk that stays the same in every round."""
    return effect / cause if cause else math.nan
