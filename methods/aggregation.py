"""From many prediction matrices to one, for methods whose server merges predictions; and the temperature of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import F, torch

if TYPE_CHECKING:
    from torch import Tensor

Rule: TypeAlias = Literal["mean", "median", "max_conf", "trimmed", "entropy_weighted", "geomedian"]
"""The rules of `aggregate`."""

SMALLEST_PROBABILITY = 1e-8
"""Probabilities are raised to this before a temperature is applied."""

WEISZFELD_STEPS = 200
"""Where the iteration of `geomedian` is stopped if it has not converged."""

COINCIDES = 1e-10
"""Two rows of probabilities this close (2-norm) are the same to `geomedian`, and steps this short are none."""


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

    Every row is divided by its sum. Where nothing is left to divide (the entry-wise medians of members that are
    certain of three different classes are all 0) the row is the members' mean.

    Args:
        predictions: class probabilities of the members in client-id order, shape (m, samples, classes).
        rule: one of the above.
        weights: what each member counts in `mean`, shape (m,), not negative, any positive sum; None: all the same.
        trim: fraction cut off each end by `trimmed`, in [0, 0.5).
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
    if rule == "median":
        merged = _median(predictions, midpoint)
    elif rule == "max_conf":
        merged = max_conf_global(predictions)
    elif rule == "trimmed":
        cut = int(trim * len(predictions) + 1e-9)  # 0.29 * 100 is 28.999... in floating point
        merged = predictions.sort(dim=0).values[cut : len(predictions) - cut].mean(dim=0)
    elif rule == "entropy_weighted":
        trust = torch.special.entr(predictions).sum(dim=2, keepdim=True).neg().softmax(dim=0)
        merged = (trust * predictions).sum(dim=0)
    elif rule == "geomedian":
        merged = _geometric_median(predictions)
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
    """Weiszfeld's iteration for every sample at once, from the mean, in float64.

    With w_i = 1 / |p_i - y| the step is y <- sum_i w_i p_i / sum_i w_i. Where y is one of the rows, which would be
    infinitely heavy, the others pull with R = sum_i w_i (p_i - y), and y moves by the part of that step by which |R|
    exceeds the number of rows there (Y. Vardi and C.-H. Zhang, "The multivariate L1-median", PNAS 2000). Where a row is
    the median, or nearly, steps towards it shrink faster than they arrive: the best row is taken where it is better.

    Returns:
        Shape (samples, classes); every entry within the range of the members' entries.
    """
    rows = predictions.double()
    median = rows.mean(dim=0)
    for _ in range(WEISZFELD_STEPS):
        away = rows - median
        distance = away.norm(dim=2, keepdim=True)
        here = distance <= COINCIDES
        weight = torch.where(here, 0.0, 1 / distance)
        pull, resistance = weight * away, here.sum(dim=0)
        strength = pull.sum(dim=0).norm(dim=1, keepdim=True)
        moving = torch.where(resistance == 0, 1.0, (1 - resistance / strength).clamp_min(0.0))
        step = moving * pull.sum(dim=0) / weight.sum(dim=0).clamp_min(torch.finfo(rows.dtype).tiny)
        median = median + step
        if not (step.norm(dim=1) > COINCIDES).any():
            break
    spread = torch.stack([(rows - row).norm(dim=2).sum(dim=0) for row in rows])
    least, best = spread.min(dim=0)
    closer = least < (rows - median).norm(dim=2).sum(dim=0)
    row = rows[best, torch.arange(rows.shape[1], device=rows.device)]
    return torch.where(closer[:, None], row, median).to(predictions)
