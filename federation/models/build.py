"""From a name to a net with initial weights (federation room); imports torch when a net is built."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from fl_bench.lazy import torch

from ..trees import batch_norm_names
from .registry import check_model, find_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from .net import Net


def build_net(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    *,
    key: int | None = None,
    width: int | None = None,
    vocabulary: int | None = None,
) -> Net:
    """Build the net `name` for samples of `shape`, on the CPU unless a `torch.device` context says otherwise.

    Args:
        name: a name of `MODELS`, with its parameters: `cnn`, `mlp-200`.
        shape: of one sample, see `registry.Shape`.
        classes: number of logits.
        key: seed of the initial weights; the same arguments give bit-identical weights. None where the weights
            do not matter (a template to load others into): they are then those of key 0.
        width: features between body and head, pooled to by adaptive averaging; the net's own when None.
        vocabulary: number of different tokens where samples are texts.

    Raises:
        ConfigError: the name is unknown or malformed, or the net does not fit `shape`.
    """
    from .net import Net

    check_model(name, shape, vocabulary)
    plugin, parameters = find_model(name)
    told = {"vocabulary": vocabulary} if "text" in plugin.takes else {}
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed every GPU's generator, and those are not forked.
        torch.default_generator.manual_seed(key or 0)
        body, head = plugin.build(shape, classes, **parameters, **told)
        return Net(body, head) if width is None else Net.pooled(body, width, classes)


def compile_nets(module: nn.Module) -> None:
    """Have `torch.compile` translate the nets in a module, in place, when they are first run."""
    from .net import Net

    for part in module.modules():
        if isinstance(part, Net):
            part.compile(dynamic=False)


def count_parameters(net: nn.Module) -> int:
    """Number of scalars a client would upload, trainable or not; buffers (BatchNorm statistics) are not in it."""
    return sum(parameter.numel() for parameter in net.parameters())


@dataclass(frozen=True)
class NetBytes:
    """What a net weighs on the wire."""

    weights: int
    """Parameters and buffers (BatchNorm statistics)."""
    trainable: int
    """Parameters alone."""
    head: int
    """The head."""
    features: int
    """Numbers between body and head (not bytes)."""
    norms: int = 0
    """BatchNorm layers, parameters and buffers."""
    factors: int = 0
    """The same weights with every matrix as the factors of its singular value decomposition, at full rank."""


@lru_cache(maxsize=64)
def net_bytes(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    width: int | None = None,
    number: int = 4,
    vocabulary: int | None = None,
) -> NetBytes:
    """Bytes of a net of the zoo, with `number` bytes per float; arguments as in `build_net`."""
    net = build_net(name, shape, classes, width=width, vocabulary=vocabulary)
    sizes = {
        key: tensor.numel() * (number if tensor.is_floating_point() else tensor.element_size())
        for key, tensor in net.state_dict().items()
    }
    return NetBytes(
        weights=sum(sizes.values()),
        trainable=sum(sizes[key] for key, _ in net.named_parameters()),
        head=sum(size for key, size in sizes.items() if key.startswith("head.")),
        features=net.features,
        norms=sum(sizes[key] for key in batch_norm_names(net)),
        factors=sum(_factored(tensor.shape, sizes[key]) for key, tensor in net.state_dict().items()),
    )


def _factored(shape: Sequence[int], size: int) -> int:
    """Bytes of a tensor of `size` bytes as U, singular values and V of the matrix `shape[0]` x the rest."""
    if len(shape) < 2:
        return size
    p, q = shape[0], prod(shape[1:])
    return min(p, q) * (p + q + 1) * size // (p * q)
