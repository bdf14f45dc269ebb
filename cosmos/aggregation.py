"""From many prediction matrices to one (cosmos room): server targets, temperature and the mixed feedbacks of COSMOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import F, torch

if TYPE_CHECKING:
    from torch import Tensor

Rule: TypeAlias = Literal["mean", "median", "max_conf", "trimmed", "entropy_weighted"]
"""The rules of `aggregate`."""

SMALLEST_PROBABILITY = 1e-8
"""Probabilities are raised to this before a temperature is applied."""


def aggregate(
    predictions: Tensor, rule: Rule, *, weights: Tensor | None = None, trim: float = 0.0, midpoint: bool = False
) -> Tensor:
    """The server's target A_k for one cluster, from the predictions of its m members (methods.md 2.4).

        mean               weighted arithmetic mean over members
        median             of every entry over members; for an even m the lower of the two middle values, as in
                           `torch.median`, or their mean with `midpoint`
        max_conf           for every sample the row of the member with the largest entry; ties: the first member
        trimmed            mean of every entry over members without its floor(trim * m) smallest and as many largest
        entropy_weighted   mean over members, each counting by the inverse of its row's perplexity, exp(-H(P_i[u]))

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


def soft_mix(server: Tensor, distances: Tensor, width: float) -> Tensor:
    """Mix the cluster models for every client by how near they are (methods.md 2.6, an extension of the paper).

    Client i gets sum_k w_ik Q_k with w_ik proportional to exp(-d(P_i, centroid_k) / width): the nearest cluster's
    predictions as the width goes to 0, the plain mean over clusters as it grows.

    Args:
        server: Q_k, class probabilities, shape (K, samples, classes).
        distances: d(P_i, centroid_k), shape (n, K).
        width: sigma > 0, in units of the distance.
    Returns:
        Shape (n, samples, classes); each row sums to 1 as those of `server` do.
    Raises:
        ConfigError: `width` is not above 0.
    """
    if not width > 0:
        raise ConfigError(f"soft_mix width must be above 0, got {width}")
    shares = (-distances / width).softmax(dim=1).to(server)
    return torch.einsum("nk,kuc->nuc", shares, server)


def _median(predictions: Tensor, midpoint: bool) -> Tensor:
    lower = predictions.median(dim=0).values
    return (lower - (-predictions).median(dim=0).values) / 2 if midpoint else lower
