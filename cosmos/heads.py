"""The networks of the multi-head server: a backbone and one small multi-layer head per cluster (imports torch)."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..federation.models.net import Net


class OneHead(nn.Module):
    """A backbone with one multi-layer head, logits (batch, classes): how one cluster's model is evaluated."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        logits: Tensor = self.head(self.body(x))
        return logits


class ManyHeads(nn.Module):
    """A backbone with K heads, logits (batch, K, classes)."""

    def __init__(self, body: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every head, shape (batch, heads, classes)."""
        features = self.body(x)
        return torch.stack([head(features) for head in self.heads], dim=1)

    def one_headed(self) -> OneHead:
        """A module of the shape of one cluster's model, with weights of its own."""
        return OneHead(deepcopy(self.body), deepcopy(self.heads[0]))


def with_heads(net: Net, count: int, classes: int, widths: Sequence[int], key: int) -> ManyHeads:
    """Replace the net's linear head by `count` heads, features - widths... - classes, initialised from `key`."""
    sizes = [net.features, *widths, classes]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)
        heads = []
        for _ in range(count):
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
            heads.append(nn.Sequential(*layers[:-1]))
    return ManyHeads(net.body, heads)
