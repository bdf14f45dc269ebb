"""From a name to a net with initial weights (federation room); imports torch when a net is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

from .registry import check_model, find_model

if TYPE_CHECKING:
    from torch import nn

    from .net import Net


def build_net(name: str, shape: tuple[int, ...], classes: int, *, key: int | None = None) -> Net:
    """Build the net `name` for samples of `shape`, on the CPU unless a `torch.device` context says otherwise.

    Args:
        name: a name of `MODELS`, with its parameters: `cnn`, `mlp-200`.
        shape: of one sample, (channels, height, width) or (features,).
        classes: number of logits.
        key: seed of the initial weights; the same arguments give bit-identical weights. None where the weights
            do not matter (a template to load others into): they are then those of key 0.
    Raises:
        ConfigError: the name is unknown or malformed, or the net does not fit `shape`.
    """
    from .net import Net

    check_model(name, shape)
    plugin, parameters = find_model(name)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed every GPU's generator, and those are not forked.
        torch.default_generator.manual_seed(key or 0)
        return Net(*plugin.build(shape, classes, **parameters))


def count_parameters(net: nn.Module) -> int:
    """Number of scalars a client would upload, trainable or not; buffers (BatchNorm statistics) are not in it."""
    return sum(parameter.numel() for parameter in net.parameters())
