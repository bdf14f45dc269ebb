"""The networks of prototype methods: the classifier they are, and FedTGP's generator of them (imports torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .distances import between

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.payloads import Prototypes


class NearestPrototype(nn.Module):
    """A body, and the class of the prototype that is nearest to its features."""

    prototypes: Tensor
    present: Tensor

    def __init__(self, body: nn.Module, prototypes: Prototypes) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("prototypes", prototypes.values[0])
        self.register_buffer("present", prototypes.present[0])

    def forward(self, x: Tensor) -> Tensor:
        """Negative distances, shape (batch, classes)."""
        away = between(self.body(x), self.prototypes)
        beyond = torch.where(self.present, away, 0.0).amax(dim=1, keepdim=True) + 1
        return -torch.where(self.present, away, beyond)


class TrainablePrototypes(nn.Module):
    """FedTGP's server: a vector per class, and a perceptron that makes prototypes of them.

    Args:
        classes: number of classes C.
        features: width d of prototypes, vectors and hidden layer.
        key: of the initial weights: standard normal vectors, layers as torch starts them.
    """

    def __init__(self, classes: int, features: int, key: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key)
            self.table = nn.Parameter(torch.randn(classes, features))
            self.perceptron = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features))

    def forward(self, q: Tensor) -> Tensor:
        """-||q - g_c||_2 of features q, shape (batch, features), to all prototypes: shape (batch, classes)."""
        return -between(q, self.perceptron(self.table))
