"""Layers of nets that read step by step, for one client or for all at once (federation room).

Steps have shape (batch, length, features). torch's own recurrent layers and its fused attention do not run under
`torch.vmap`, so both are written out here; dropout there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(nn.Module):
    """A learned vector for each token: texts, shape (batch, length), to steps of `width` features.

    Tokens come in the number format of all inputs of a run; they are whole numbers from 0 on.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocabulary, width))

    def forward(self, x: Tensor) -> Tensor:
        """The vectors, shape (batch, length, width)."""
        return F.embedding(x.long(), self.weight)


class ChannelsLast(nn.Module):
    """Sequences, shape (batch, channels, length), to steps whose features are the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, shape (batch, length, channels)."""
        return x.transpose(1, 2)


class StepsLast(nn.Module):
    """Steps to what convolutions read, shape (batch, features, length)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, shape (batch, features, length)."""
        return x.transpose(1, 2)


class MeanOverSteps(nn.Module):
    """The mean over the last axis, that of length."""

    def forward(self, x: Tensor) -> Tensor:
        """From shape (batch, features, length) to (batch, features)."""
        return x.mean(dim=-1)


class LastStep(nn.Module):
    """The features of the last step."""

    def forward(self, x: Tensor) -> Tensor:
        """From shape (batch, length, features) to (batch, features)."""
        return x[:, -1]


class Recurrence(nn.Module):
    """Gated recurrent units (arXiv:1406.1078, in the variant of torch and cuDNN). With x a step and h the state before,

        r = sigmoid(W_r x + U_r h)      z = sigmoid(W_z x + U_z h)      n = tanh(W_n x + r * (U_n h))
        h <- (1 - z) * n + z * h

    from h = 0; every product has a bias, and r, z, n stand in this order in the rows of `input` (W) and `state` (U).
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(features, 3 * width)
        self.state = nn.Linear(width, 3 * width)
        for parameter in self.parameters():  # as torch's GRU starts
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The last state, shape (batch, width)."""
        parts = [2 * self.width, self.width]
        gates, new = self.input(x).split(parts, dim=-1)  # for all steps in one product
        h: Tensor = new.new_zeros(x.shape[0], self.width)  # in the number format of products
        for gates_now, new_now in zip(gates.unbind(dim=1), new.unbind(dim=1), strict=True):
            gates_before, new_before = self.state(h).split(parts, dim=-1)
            r, z = (gates_now + gates_before).sigmoid().chunk(2, dim=-1)
            n = torch.addcmul(new_now, r, new_before).tanh()
            h = torch.lerp(n, h, z)
        return h


class Positions(nn.Module):
    """Adds a learned vector for each place in the text."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + self.weight


class Residual(nn.Module):
    """x + layer(norm(x)), the norm over each step's features."""

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        added: Tensor = x + self.layer(self.norm(x))
        return added


class Attention(nn.Module):
    """softmax(Q K' / sqrt(d)) V in several heads of d features, then a linear layer; every step sees all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        batch, length, width = x.shape
        parts = self.project(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = (query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(dim=-1) @ value
        joined: Tensor = self.join(seen.transpose(1, 2).reshape(batch, length, width))
        return joined
