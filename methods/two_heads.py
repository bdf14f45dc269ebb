"""A net with a second head on the same features, for methods that personalize a head beside the generic one."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..federation.models.net import Net


class TwoHeads(nn.Module):
    """generic.head(z) + personal(z) of the features z = generic.body(x).

    Args:
        generic: the net of the zoo.
        personal: features to logits; a linear layer that starts at 0 by default, so that the whole starts as `generic`.
    """

    def __init__(self, generic: Net, personal: nn.Module | None = None) -> None:
        super().__init__()
        self.generic = generic
        self.personal = zero_like(generic.head) if personal is None else personal

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the generic net, and of both heads together without a gradient into the generic net.

        Both have shape (batch, classes).
        """
        z = self.generic.body(x)
        g = self.generic.head(z)
        return g, g.detach() + self.personal(z.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both heads together, shape (batch, classes)."""
        return self.outputs(x)[1]


class GeneratedHead(nn.Module):
    """W z + b, where (W, b) = A relu(B a + c) + e is made from the client's share of each class, a.

    A and e start at 0, and so do W and b. `shares`, a, is a buffer of shape (classes,), 0 until a client fills it in.

    Args:
        like: a head of the shape that is generated.
        hidden: width of the hidden layer.
        stream: where B and c come from, uniform in +-1/sqrt(classes), as torch's linear layers start.
    """

    shares: Tensor

    def __init__(self, like: nn.Linear, hidden: int, stream: Generator) -> None:
        super().__init__()
        self.shape = like.weight.shape
        classes, width = self.shape
        self.hidden = nn.Linear(classes, hidden, device="meta").to_empty(device="cpu")  # draws no random numbers
        self.generator = nn.Linear(hidden, classes * width + classes, device="meta").to_empty(device="cpu")
        for parameter in self.hidden.parameters():
            nn.init.uniform_(parameter, -(classes**-0.5), classes**-0.5, generator=stream)
        for parameter in self.generator.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("shares", torch.zeros(classes))

    def forward(self, z: Tensor) -> Tensor:
        """Features, shape (batch, width), to logits, shape (batch, classes)."""
        numbers = self.generator(self.hidden(self.shares).relu())
        weight, bias = numbers[: self.shape.numel()].view(self.shape), numbers[self.shape.numel() :]
        return F.linear(z, weight, bias)


def zero_like(head: nn.Linear) -> nn.Linear:
    """A linear layer of the same shape whose weights are 0."""
    zero = deepcopy(head)  # not a new layer, which would draw random numbers
    nn.init.zeros_(zero.weight)
    nn.init.zeros_(zero.bias)
    return zero
