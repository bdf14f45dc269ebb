"""From many prediction matrices to one, for methods whose server merges predictions; and the temperature of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import F, torch

if TYPE_CHECKING:
    from torch import Tensor

Rule: TypeAlias = Literal["mean", "median", "max_conf", "trimmed", "entropy_weighted", "geomedian", "spectral"]
"""The rules of `aggregate`."""

SMALLEST_PROBABILITY = 1e-8
"""Probabilities are raised to this before a temperature is applied."""

WEISZFELD_STEPS = 1000
"""Where the iteration of `geomedian` is stopped if it has not converged; it takes seven on average."""

TINY = 1e-300
"""What a divisor is at least."""

COINCIDES = 1e-10
"""Two rows of probabilities this close (2-norm) are the same to `geomedian`, and steps this short are none; rows whose
distances from the mean differ by less are equally far to `spectral`."""


def aggregate(
    predictions: Tensor, rule: Rule, *, weights: Tensor | None = None, trim: float = 0.0, midpoint: bool = False
) -> Tensor:
    """One prediction matrix from those of m members: all clients, or one cluster of COSMOS (methods.md 2.4).

        mean               weighted arithmetic mean over members
        median             of every entry over members; for an even m the lower of the two middle values, as in
                           `torch.median`, or their mean with `midpoint`
        max_conf           for every sample the row of the member with the largest entry; ties: the first member
        trimmed            mean of every entry over members without its floor(trim * m) smallest and as many largest
        entropy_weighted   mean over members, each counting by the inverse of its row's perplexity, exp(-H(P_i[u]))
        geomedian          for every sample the row with the smallest sum of Euclidean distances to the members' rows
        spectral           for every sample the mean row of the members that a spectral filter leaves: floor(trim * m)
                           times it drops the row that is farthest from the mean along the direction of most variance

    Every row is divided by its sum. Where nothing is left to divide (the entry-wise medians of members that are
    certain of three different classes are all 0) the row is the members' mean.

    Args:
        predictions: class probabilities of the members in client-id order, shape (m, samples, classes).
        rule: one of the above.
        weights: what each member counts in `mean`, shape (m,), not negative, any positive sum; None: all the same.
        trim: fraction cut off each end by `trimmed`, or dropped by `spectral`, in [0, 0.5).
        midpoint: use the true median for an even number of members.
    Returns:
        Shape (samples, classes), the dtype of `predictions`; each row sums to 1.
    Raises:
        ConfigError: no rule has this name, `trim` is out of range, or the rule has no use for `weights`.
    """
    if rule not in get_args(Rule):
        raise unknown_name("aggregation rule", rule, get_args(Rule))
    if weights is not None and rule != "mean":
        raise ConfigError(f"aggregation {rule!r} counts every member the same; weights are for 'mean'")
    if not 0 <= trim < 0.5:
        raise ConfigError(f"aggregation trim must be in [0, 0.5), got {trim}")
    cut = int(trim * len(predictions) + 1e-9)  # 0.29 * 100 is 28.999... in floating point
    if rule == "median":
        merged = _median(predictions, midpoint)
    elif rule == "max_conf":
        merged = max_conf_global(predictions)
    elif rule == "trimmed":
        merged = predictions.sort(dim=0).values[cut : len(predictions) - cut].mean(dim=0)
    elif rule == "entropy_weighted":
        trust = torch.special.entr(predictions).sum(dim=2, keepdim=True).neg().softmax(dim=0)
        merged = (trust * predictions).sum(dim=0)
    elif rule == "geomedian":
        merged = _geometric_median(predictions)
    elif rule == "spectral":
        merged = _filtered_mean(predictions, cut)
    elif weights is not None:
        merged = torch.einsum("m,muc->uc", weights.to(predictions), predictions)  # divided by their sum below
    else:
        merged = predictions.mean(dim=0)
    empty = merged.sum(dim=1, keepdim=True) <= torch.finfo(merged.dtype).tiny
    merged = torch.where(empty, predictions.mean(dim=0), merged)
    return merged / merged.sum(dim=1, keepdim=True)


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Apply a temperature to probabilities: rows proportional to max(p, 1e-8)^(1/tau) (methods.md 1.1).

    For p = softmax(z) with entries above 1e-8 this is softmax(z / tau). At tau = 1 a row that has no smaller entry
    comes back bit by bit; at tau = 0 every row is the one-hot arg max, the first class on ties.

    Args:
        probabilities: shape (..., classes), rows that sum to 1.
        temperature: tau >= 0, without unit; below 1 sharper, above 1 softer.
    Returns:
        The same shape and dtype; each row sums to 1.
    Raises:
        ConfigError: `temperature` is negative or not a number.
    """
    if not temperature >= 0:
        raise ConfigError(f"temperature must be at least 0, got {temperature}")
    if temperature == 0:
        return F.one_hot(probabilities.argmax(dim=-1), probabilities.shape[-1]).to(probabilities)
    clamped = probabilities.clamp_min(SMALLEST_PROBABILITY)
    if temperature == 1:
        untouched = (probabilities >= SMALLEST_PROBABILITY).all(dim=-1, keepdim=True)
        return torch.where(untouched, probabilities, clamped / clamped.sum(dim=-1, keepdim=True))
    return (clamped.log() / temperature).softmax(dim=-1)


def max_conf_global(server: Tensor) -> Tensor:
    """For every sample the row of the most confident of several models (methods.md 2.6); ties: the first model.

    Args:
        server: class probabilities of the K models, shape (K, samples, classes).
    Returns:
        Shape (samples, classes); with one model its predictions unchanged.
    """
    best = server.amax(dim=2).argmax(dim=0)
    return server[best, torch.arange(server.shape[1], device=server.device)]


def _median(predictions: Tensor, midpoint: bool) -> Tensor:
    lower = predictions.median(dim=0).values
    return (lower - (-predictions).median(dim=0).values) / 2 if midpoint else lower


def _geometric_median(predictions: Tensor) -> Tensor:
    """The geometric median of every sample at once, in float64: Weiszfeld's iteration, extrapolated.

    It starts at the mean and takes two steps r and r + v at a time. Near a row steps shrink slowly, as a geometric
    series does; SQUAREM goes on along it, to y + 2 a r + a^2 v with a = |r| / |v|, and keeps that where the sum of
    distances is smaller there (R. Varadhan and C. Roland, Scandinavian Journal of Statistics 2008, scheme S3). In the
    end the best of the rows is taken where it is better still.

    Returns:
        Shape (samples, classes); every entry within the range of the members' entries.
    """
    rows = predictions.double()
    median = rows.mean(dim=0)
    moving = every = torch.arange(rows.shape[1], device=rows.device)
    for _ in range(WEISZFELD_STEPS):
        near, start = rows[:, moving], median[moving]
        first = _weiszfeld(near, start)
        once = start + first
        second = _weiszfeld(near, once)
        plain, bend = once + second, second - first
        length = (first.norm(dim=1, keepdim=True) / bend.norm(dim=1, keepdim=True).clamp_min(TINY)).clamp_min(1.0)
        far = start + 2 * length * first + length**2 * bend
        far = far + _weiszfeld(near, far)
        better = _distances(near, far) < _distances(near, plain)
        median[moving] = torch.where(better[:, None], far, plain)
        moving = moving[(median[moving] - start).norm(dim=1) > COINCIDES]
        if not len(moving):
            break
    least, best = torch.stack([_distances(rows, row) for row in rows]).min(dim=0)
    closer = least < _distances(rows, median) - COINCIDES  # a tie, as between two rows and all between them, is none
    return torch.where(closer[:, None], rows[best, every], median).to(predictions)


def _weiszfeld(rows: Tensor, median: Tensor) -> Tensor:
    """A step of Weiszfeld's iteration, shape (samples, classes).

    With w_i = 1 / |p_i - y| it is sum_i w_i (p_i - y) / sum_i w_i. Where y is one of the rows, which would be
    infinitely heavy, the others pull with R = sum_i w_i (p_i - y), and y moves by the part of that step by which |R|
    exceeds the number of rows there (Y. Vardi and C.-H. Zhang, "The multivariate L1-median", PNAS 2000).
    """
    away = rows - median
    distance = away.norm(dim=2, keepdim=True)
    here = distance <= COINCIDES
    weight = torch.where(here, 0.0, 1 / distance)
    pull, resistance = (weight * away).sum(dim=0), here.sum(dim=0)
    part = torch.where(resistance == 0, 1.0, (1 - resistance / pull.norm(dim=1, keepdim=True)).clamp_min(0.0))
    return part * pull / weight.sum(dim=0).clamp_min(TINY)


def _distances(rows: Tensor, point: Tensor) -> Tensor:
    """Sum over the members' rows of their distances to a point, shape (samples,)."""
    total: Tensor = (rows - point).norm(dim=2).sum(dim=0)
    return total


def _filtered_mean(predictions: Tensor, drop: int) -> Tensor:
    """The spectral filter of every sample at once, in float64.

    With X the rows that are left, their mean taken off, the direction of most variance is the top eigenvector v of the
    covariance X^T X. The distances |X v| along it are sqrt(l) |u|, with l and u the top eigenvalue and eigenvector of
    X X^T, which is as small as there are members (rows that were dropped are 0 in it). Ties: the first member goes.
    Where several directions have the same variance, which of them is taken is the decomposition's choice.

    Args:
        predictions: as in `aggregate`.
        drop: rows to drop of each sample, fewer than half.
    Returns:
        Shape (samples, classes).
    """
    rows = predictions.double().transpose(0, 1)
    left = torch.ones_like(rows[..., :1])
    for _ in range(drop):
        mean = (left * rows).sum(dim=1, keepdim=True) / left.sum(dim=1, keepdim=True)
        away = left * (rows - mean)
        variance, direction = torch.linalg.eigh(away @ away.mT)  # ascending
        distance = variance[:, -1:].clamp_min(0.0).sqrt() * direction[..., -1].abs()  # 0 for rows that were dropped
        farthest = distance >= distance.amax(dim=1, keepdim=True) - COINCIDES
        left.scatter_(1, farthest.int().argmax(dim=1)[:, None, None], 0.0)  # the first of them
    return ((left * rows).sum(dim=1) / left.sum(dim=1)).to(predictions)
