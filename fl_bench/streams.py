"""Counter-based randomness: every stream is a pure function of (seed, purpose, client, round, ...).

No generator lives longer than the draw it was made for. So a new client, method or phase moves nobody else's
numbers, a resumed run needs no generator state, and both engines draw the same batches.

Whoever draws says which part of a run's randomness the draw belongs to, by the seed that it takes: see `Seeds`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from fl_bench.lazy import np, torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, device


@dataclass(frozen=True)
class Seeds:
    """What a run's randomness consists of, and the seed of each part. Mostly one seed moves all four."""

    partition: int
    """Who holds what: the used rows, public pool, deal and validation sets of `split`; nets dealt at random."""
    init: int
    """Weights before the first step: of clients, the server's nets, hyper-networks; heads that are drawn anew."""
    draws: int
    """Who takes part in a round, and what a method draws in it: public subsets, clusterings, stragglers, answers."""
    batches: int
    """What a training step draws: the order of samples, augmentation, noise of batches, dropout."""

    @classmethod
    def of(cls, seed: int, varied: Mapping[str, int] | None = None) -> Seeds:
        """One seed for all but the parts that `varied` names."""
        return cls(**{**dict.fromkeys(FACTORS, seed), **(varied or {})})


FACTORS = tuple(field.name for field in fields(Seeds))
"""The parts of a run's randomness that grids vary separately."""


def stream_key(seed: int, *names: str | int) -> int:
    """A 63-bit key for the stream `names` of `seed`; distinct name tuples give independent keys."""
    text = "\x1f".join([str(int(seed)), *(f"{type(name).__name__[0]}{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator at the start of the stream `names` of `seed`."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))


def torch_stream(seed: int, *names: str | int, device: device | str = "cpu") -> Generator:
    """A torch generator on a device at the start of the stream `names` of `seed`; kinds of device draw differently."""
    return torch.Generator(device).manual_seed(stream_key(seed, *names))
