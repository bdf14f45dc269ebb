"""Normalisation of the nets that have it: GroupNorm by default, BatchNorm by name (federation room).

BatchNorm's running statistics mix clients with different data and make a prediction depend on its batch, so the
plain name of a net means GroupNorm, and `<name>-bn` the net as published. Both have the same parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import gcd
from typing import TYPE_CHECKING

from fl_bench.lazy import nn

from .registry import model

if TYPE_CHECKING:
    from torch.nn import Module

    from .registry import Builder

Norm = Callable[[int], "Module"]
"""From a number of channels to the layer that normalises them."""


def group_count(channels: int) -> int:
    """Number of groups for a layer of `channels`: gcd(32, channels // 8, channels), and 1 below 8 channels.

    It divides `channels` always and leaves 8 or more in a group, which keeps a group meaningful where the
    feature map has shrunk to one pixel: 16 channels make 2 groups, 64 make 8, and multiples of 256 the 32 groups
    of the GroupNorm paper (arXiv:1803.08494).
    """
    return gcd(32, max(channels // 8, 1), channels)


def group_norm(channels: int) -> Module:
    """GroupNorm with a scale and a shift per channel."""
    return nn.GroupNorm(group_count(channels), channels)


def batch_norm(channels: int) -> Module:
    """BatchNorm with a scale and a shift per channel."""
    return nn.BatchNorm2d(channels)


def normalised(
    name: str, *, summary: str, min_side: int, source: str, channels: tuple[int, ...] | None = None
) -> Callable[[Builder], Builder]:
    """Register a net twice: as `name` with GroupNorm and as `<name>-bn` with BatchNorm; see `registry.model`.

    The suffix stands before what a name says of its inputs: `resnet18-bn@224`.
    """
    net, at, inputs = name.partition("@")

    def add(build: Builder) -> Builder:
        for suffix, norm, label in (("", group_norm, "GroupNorm"), ("-bn", batch_norm, "BatchNorm")):
            full = f"{net}{suffix}{at}{inputs}"
            register = model(full, summary=f"{summary}, {label}", min_side=min_side, channels=channels, source=source)
            register(partial(build, norm=norm))
        return build

    return add
