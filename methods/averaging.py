"""Averaging of stacked weights, for every method that averages parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from ..federation.channel import Uploads
    from ..federation.payloads import Tree


def weighted_mean(tree: Tree, weights: Tensor) -> Tree:
    """sum_i weights_i * theta_i of every tensor.

    Args:
        tree: stacked weights and buffers, name to (clients, ...). Integer buffers (BatchNorm's batch counters) are
            not averaged: the first client's are taken.
        weights: shape (clients,), summing to 1.

    Returns:
        A tree with one row, name to (1, ...).
    """
    return {
        name: torch.tensordot(weights.to(tensor), tensor, dims=1)[None] if tensor.is_floating_point() else tensor[:1]
        for name, tensor in tree.items()
    }


def shares(uploads: Uploads, by: Literal["size", "uniform"], architecture: str | None = None) -> Tensor:
    """What each participant (of one architecture) counts for: its share of the private samples, or all the same.

    Returns:
        Shape (participants,), summing to 1.
    """
    sizes = uploads.sizes(architecture)
    return sizes / sizes.sum() if by == "size" else torch.full_like(sizes, 1 / len(sizes))
