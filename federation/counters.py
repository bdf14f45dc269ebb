"""Random numbers from counters (federation room): number i of a stream is a function of the stream's key and of i.

There is no generator whose state could depend on who drew before: engines that train clients one after the other, side
by side in threads, or all at once in one tensor draw the same numbers. The function is SplitMix64 (G. Steele, D. Lea
and C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), entered at its i-th state, in torch's
64-bit integers, which wrap around. It runs on the device that the keys are on and waits for nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _signed(number: int) -> int:
    """The 64-bit pattern of a number as torch's signed integers have it."""
    return (number + 2**63) % 2**64 - 2**63


GOLDEN = _signed(0x9E3779B97F4A7C15)
FIRST = _signed(0xBF58476D1CE4E5B9)
SECOND = _signed(0x94D049BB133111EB)


def step_keys(key: int, steps: int) -> Tensor:
    """A key for each of the steps of a stream, shape (steps,), on the CPU."""
    return bits(torch.tensor(_signed(key)), steps)


def derived(key: Tensor, number: int) -> Tensor:
    """The key of the stream with a number below each of the streams `key`; the same shape."""
    return _mixed(key + _signed((number + 1) * GOLDEN))


def bits(key: Tensor, count: int) -> Tensor:
    """The first `count` numbers of each stream, 64 random bits each.

    Args:
        key: int64, any shape.
        count: how many.
    Returns:
        int64, shape (*key.shape, count).
    """
    place = torch.arange(1, count + 1, device=key.device)
    return _mixed(key.unsqueeze(-1) + place * GOLDEN)


def normal(key: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal numbers of each stream, shape (*key.shape, *shape).

    Box and Muller's method on the two halves of each draw; the cosines come first, then the sines.
    """
    count, working = math.prod(shape), torch.promote_types(dtype, torch.float32)
    halves = bits(key, (count + 1) // 2).view(torch.int32).to(working)  # of either sign, up to 2^31
    uniform = halves[..., 0::2].abs().mul_(2.0**-31).clamp_min_(2.0**-32)  # in (0, 1]
    radius, angle = uniform.log_().mul_(-2.0).sqrt_(), halves[..., 1::2] * (2.0**-31 * math.pi)
    pairs = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=-1)
    return pairs[..., :count].to(dtype).reshape(*key.shape, *shape)


def chosen(key: Tensor, shape: Sequence[int], probability: float) -> Tensor:
    """Which places each stream chooses, every one with the same probability: bool, shape (*key.shape, *shape)."""
    drawn = (bits(key, math.prod(shape)) >> 32) & 0xFFFFFFFF
    return (drawn < round(probability * 2**32)).view(*key.shape, *shape)


def _mixed(state: Tensor) -> Tensor:
    """SplitMix64's output at a state, in its place."""
    state.bitwise_xor_(_shifted(state, 30)).mul_(FIRST)
    state.bitwise_xor_(_shifted(state, 27)).mul_(SECOND)
    return state.bitwise_xor_(_shifted(state, 31))


def _shifted(state: Tensor, places: int) -> Tensor:
    """Shift to the right with zeros from the left."""
    return (state >> places).bitwise_and_((1 << (64 - places)) - 1)
