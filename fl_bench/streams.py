"""Counter-based randomness: every stream is a pure function of (seed, purpose, client, round, ...).

No generator lives longer than the draw it was made for. So a new client, method or phase moves nobody else's
numbers, a resumed run needs no generator state, and both engines draw the same batches.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fl_bench.lazy import np, torch

if TYPE_CHECKING:
    from torch import Generator, device


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
