"""Dropout whose masks come from a counter, so that every engine drops the same activations (federation room)."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from fl_bench.errors import ConfigError

from ..counters import chosen, derived

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass
class _Masks:
    """The stream that layers draw their masks from, in the order of their calls."""

    key: Tensor
    calls: int = 0


_MASKS: ContextVar[_Masks | None] = ContextVar("masks", default=None)


@contextmanager
def masks_from(key: Tensor | None) -> Iterator[None]:
    """Inside, `Dropout` layers draw from the stream `key`, int64 without axes; where it is None they may not draw."""
    token = _MASKS.set(None if key is None else _Masks(key))
    try:
        yield
    finally:
        _MASKS.reset(token)


class Dropout(nn.Module):
    """In training mode every activation is 0 with probability p, and 1 / (1 - p) times as large otherwise.

    Args:
        p: probability.
        channels: drop whole channels, shape (batch, channels, ...), as torch's Dropout1d, 2d and 3d do.
    """

    def __init__(self, p: float, *, channels: bool = False) -> None:
        super().__init__()
        self.p = p
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        if not self.training or self.p == 0:
            return x
        masks = _MASKS.get()
        if masks is None:
            raise RuntimeError("a net with dropout is in training mode outside `masks_from`")
        shape = (*x.shape[:2], *[1] * (x.dim() - 2)) if self.channels else x.shape
        kept = chosen(derived(masks.key, masks.calls), shape, 1 - self.p)
        masks.calls += 1
        return x * kept.to(x.dtype).div(1 - self.p) if self.p < 1 else x * 0.0


def with_counted_dropout(net: nn.Module) -> nn.Module:
    """Put `Dropout` in the place of torch's dropout layers, in place.

    Raises:
        ConfigError: the net has a kind of dropout that is not known here.
    """
    for name, part in list(net.named_modules()):
        if not isinstance(part, nn.modules.dropout._DropoutNd):
            continue
        if isinstance(part, nn.AlphaDropout | nn.FeatureAlphaDropout):
            raise ConfigError(f"{name} is {type(part).__name__}, whose masks cannot be seeded per client; Dropout can")
        owner, _, last = name.rpartition(".")
        setattr(net.get_submodule(owner), last, Dropout(part.p, channels=not isinstance(part, nn.Dropout)))
    return net


def has_dropout(net: nn.Module) -> bool:
    """Whether a net draws masks while it trains."""
    return any(isinstance(part, Dropout) for part in net.modules())
