"""Soft labels in few bits: the constrained quantiser of CFD, delta coding, and the length of the coded message.

A label of b bits is a row of integer *levels* k_c >= 0 that sum to L = 2^b - 1; it stands for the probabilities k / L.
With one bit it is a one-hot row. Messages are levels as well, in which a row of zeros, which is no label, says
"unchanged".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

FINEST = 16
"""Most bits of a quantised label: beyond, levels are finer than what float32 keeps of a probability."""


def quantise(probabilities: Tensor, bits: int) -> Tensor:
    """The levels nearest to each row in L1: round down, then one more for the largest remainders (methods.md 6).

    k_c = floor(p_c L); the L - sum_c k_c missing units go to the largest fractional parts, ties to the first class.

    Args:
        probabilities: p, shape (..., classes), rows that sum to 1.
        bits: b, from 1 to 16.
    Returns:
        Levels k, same shape, int32; each row sums to L = 2^b - 1.
    """
    scaled = probabilities.double() * (2**bits - 1)
    down = scaled.floor()
    missing = 2**bits - 1 - down.sum(dim=-1, keepdim=True)
    order = (scaled - down).argsort(dim=-1, descending=True, stable=True)
    more = torch.arange(scaled.shape[-1], device=scaled.device) < missing
    levels: Tensor = down.scatter_add(-1, order, more.double()).int()
    return levels


def dequantise(levels: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """The probabilities k / L that levels stand for."""
    probabilities: Tensor = levels.to(dtype) / (2**bits - 1)
    return probabilities


def encode(levels: Tensor, known: Tensor) -> Tensor:
    """The message that tells these levels to someone who knows other ones: only rows that differ.

    Args:
        levels: shape (..., samples, classes).
        known: what the receiver has, same shape; rows of zeros where it has nothing.
    Returns:
        The levels, with a row of zeros wherever nothing has changed.
    """
    return torch.where((levels == known).all(dim=-1, keepdim=True), 0, levels)


def decode(message: Tensor, known: Tensor) -> Tensor:
    """The levels that a message tells; the inverse of `encode` with the same `known`."""
    return torch.where((message == 0).all(dim=-1, keepdim=True), known, message)


def coded_bytes(message: Tensor, bits: int) -> Tensor:
    """Length of each client's message after entropy coding: N * entropy + table (methods.md 6).

    The symbols of a message are its N rows. An ideal entropy coder takes -sum_s f_s log2 f_s bits a row, f_s being
    how often row s occurs; a table tells the receiver, for every row that occurs, how often (ceil(log2 N) bits) and
    which of all possible labels it is (`label_bits`; one more for "unchanged"). Where that is longer than all labels
    one by one, as it is for few samples or many bits, they are sent one by one.

    Args:
        message: shape (clients, samples, classes).
        bits: b of its labels.
    Returns:
        Whole bytes of each client, shape (clients,), int64; at most `most_bytes`.
    """
    clients, samples, classes = message.shape
    rows = _row_ids(message, bits)
    kinds = int(rows.max()) + 1
    owner = torch.arange(clients, device=rows.device)[:, None]
    pairs, count = torch.unique(owner * kinds + rows, return_counts=True)
    owner, count = pairs // kinds, count.double()
    entropy = rows.new_zeros(clients, dtype=torch.float64).index_add_(0, owner, -count * (count / samples).log2())
    entry = (samples - 1).bit_length() + label_bits(classes, bits, unchanged=True)
    table = torch.bincount(owner, minlength=clients) * entry
    whole = ((entropy + table) / 8 - 1e-9).ceil().long()  # rounding of the sum must not cost a byte
    return whole.clamp_max(most_bytes(samples, classes, bits))


def most_bytes(samples: int, classes: int, bits: int) -> int:
    """Bytes of `samples` labels one by one, none left out: what a message takes at most."""
    return math.ceil(samples * label_bits(classes, bits) / 8)


def label_bits(classes: int, bits: int, *, unchanged: bool = False) -> int:
    """Bits that tell which label a row is: ceil(log2 of how many there are), C for b = 1 and C * b at the very most.

    Args:
        classes: C.
        bits: b; there are (L + C - 1 over C - 1) ways to write L = 2^b - 1 as a sum of C levels.
        unchanged: count the reserved symbol, too.
    """
    labels = math.comb(2**bits + classes - 2, classes - 1) + unchanged
    return (labels - 1).bit_length()


def _row_ids(message: Tensor, bits: int) -> Tensor:
    """A number for every row, equal for equal rows only, shape (clients, samples), int64.

    Levels are the digits, base 2^b; whenever the numbers would grow beyond 62 bits they are replaced by their ranks.
    """
    ids, width = torch.zeros_like(message[..., 0], dtype=torch.int64), 0
    for levels in message.unbind(dim=-1):
        if width + bits > 62:
            values, ids = torch.unique(ids, return_inverse=True)
            width = len(values).bit_length()
        ids, width = (ids << bits) + levels, width + bits
    ranks: Tensor = torch.unique(ids, return_inverse=True)[1]
    return ranks
