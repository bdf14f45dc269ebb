"""What every net of the zoo is: a body that makes features and a linear head that classifies them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Net(nn.Module):
    """head(body(x)); parameter names start with `body.` and `head.`.

    Args:
        body: samples, shape (batch, *sample shape), to features, shape (batch, features).
        head: features to logits, shape (batch, classes).
    """

    body: nn.Module
    head: nn.Linear

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    @classmethod
    def pooled(cls, body: nn.Module, width: int, classes: int) -> Net:
        """A net whose features are averaged to `width` in neighbouring groups, with a fresh head."""
        return cls(nn.Sequential(OrderedDict(net=body, pool=_Pool(width))), nn.Linear(width, classes))

    @property
    def features(self) -> int:
        """Width of the features between body and head."""
        return self.head.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        logits: Tensor = self.head(self.body(x))
        return logits


class _Pool(nn.Module):
    """Features, shape (batch, any), to shape (batch, width): means of neighbours; repeats where there are fewer.

    Features of that width pass as they are: each would be the mean of itself, at a fifth of a small net's time.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[-1] == self.width:
            return features
        return F.adaptive_avg_pool1d(features.unsqueeze(1), self.width).squeeze(1)
