"""How different the clients really are (datasets room): numbers measured on a partition, next to every result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Heterogeneity:
    """Measured on each client's private training data D_i (validation part included)."""

    effective_classes_mean: float
    """Mean over clients of exp(entropy of the client's labels): 1 for one class, C for C equal classes."""
    effective_classes_min: float
    """The smallest of them."""
    total_variation_mean: float
    """Mean over clients of 1/2 sum_c |p_i(c) - p(c)|, p being the labels of all clients pooled; in [0, 1)."""
    size_cv: float
    """Population standard deviation of the clients' sizes over their mean."""
    in_group_share: float | None
    """Mean over clients of the share of samples whose class belongs to the client's own group; None without groups."""
    in_group_test: float | None
    """The same share of the clients' test samples: the ceiling of the mean client accuracy of a model that knows its
    own group's classes only; None without groups."""
    in_group_pooled: float | None
    """The same share over all clients' samples pooled, which small clients do not pull down; None without groups."""
    in_group_expected: float | None
    """The pooled share that the settings aim at, 1 - m (1 - 1/G) for groups of equal size; None without groups."""


def measure(
    counts: np.ndarray,
    groups: np.ndarray | None = None,
    class_groups: np.ndarray | None = None,
    in_group_expected: float | None = None,
    test_counts: np.ndarray | None = None,
) -> Heterogeneity:
    """Measure a partition from its label counts.

    Args:
        counts: training samples per client and class, shape (clients, classes); every client has at least one.
        groups: latent group of each client, shape (clients,), where there are groups.
        class_groups: group that owns each class, shape (classes,).
        in_group_expected: the in-group share that the settings aim at.
        test_counts: test samples per client and class, shape (clients, classes), for the ceiling.
    """
    sizes = counts.sum(axis=1)
    shares = counts / sizes[:, None]
    # p log p is 0 at p = 0.
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    effective = np.exp(entropy)
    distance = 0.5 * np.abs(shares - counts.sum(axis=0) / sizes.sum()).sum(axis=1)
    in_group = in_group_test = pooled = None
    if groups is not None and class_groups is not None:
        own = groups[:, None] == class_groups[None, :]
        in_group = float((shares * own).sum(axis=1).mean())
        pooled = float((counts * own).sum() / sizes.sum())
        if test_counts is not None:
            in_group_test = float(((test_counts * own).sum(axis=1) / test_counts.sum(axis=1)).mean())
    return Heterogeneity(
        effective_classes_mean=float(effective.mean()),
        effective_classes_min=float(effective.min()),
        total_variation_mean=float(distance.mean()),
        size_cv=float(sizes.std() / sizes.mean()),
        in_group_share=in_group,
        in_group_test=in_group_test,
        in_group_pooled=pooled,
        in_group_expected=in_group_expected,
    )
