"""The probability simplex: Euclidean projection, for methods that learn how much clients count for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def project_on_simplex(points: Tensor) -> Tensor:
    """The nearest point of {x >= 0, sum x = 1} for every row.

    With s the row in descending order, r = max {j : s_j + (1 - sum_{l<=j} s_l) / j > 0} and
    theta = (1 - sum_{l<=r} s_l) / r, it is max(y + theta, 0) (Duchi et al., ICML 2008, figure 1).

    Args:
        points: shape (rows, n).

    Returns:
        Same shape; rows sum to 1.
    """
    ordered = points.sort(dim=1, descending=True).values
    count = torch.arange(1, points.shape[1] + 1, dtype=points.dtype, device=points.device)
    shift = (1 - ordered.cumsum(dim=1)) / count
    last = ((ordered + shift) > 0).sum(dim=1, keepdim=True) - 1
    return (points + shift.gather(1, last)).clamp_min(0)
