"""Nets that flatten their samples, so that they take rows and images alike (federation room)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.lazy import nn
from fl_bench.limits import NET_LAYERS, NET_WEIGHTS

from .registry import model

if TYPE_CHECKING:
    from torch.nn import Linear, Module

    from .registry import Shape


@model("linear", summary="multinomial logistic regression")
def linear(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """One linear layer on the flattened sample; the body has no parameters."""
    return nn.Flatten(), nn.Linear(prod(shape), classes)


@model(
    "mlp-<width>[x<depth>]",
    summary="fully connected, ReLU; depth hidden layers (1 unless given) of the same width",
    source="2NN of McMahan et al. 2017 (arXiv:1602.05629) is mlp-200x2",
    example="mlp-200",
)
def mlp(shape: Shape, classes: int, width: int, depth: int = 1) -> tuple[Module, Linear]:
    """`depth` hidden layers of `width` units with ReLU on the flattened sample.

    Raises:
        ConfigError: so many layers or weights that no memory would hold them.
    """
    weights = width * (prod(shape) + width * (depth - 1) + classes)
    if depth > NET_LAYERS or weights > NET_WEIGHTS:
        raise ConfigError(
            f"model mlp-{width}x{depth} would have {depth} layers and {weights} weights; there may be {NET_LAYERS} "
            f"layers and {NET_WEIGHTS} weights"
        )
    body = nn.Sequential(nn.Flatten())
    for inputs in [prod(shape)] + [width] * (depth - 1):
        body.append(nn.Linear(inputs, width)).append(nn.ReLU(inplace=True))
    return body, nn.Linear(width, classes)
