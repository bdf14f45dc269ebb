"""Quantised labels as bytes: what CFD sends, through an adaptive range coder, and what the receiver reads from it.

A message is one symbol for every public sample. Both sides begin with two symbols, "new" and "unchanged", each counted
once, and count every symbol as it comes; a symbol costs -log2 of its share of all counts so far. "New" is followed by
the label itself, as its number among all labels in `label_bits` bits, and makes it a symbol of its own. No table is
sent. Where this comes to no less than all labels one by one, by their numbers, those are sent; that such a message is
exactly `most_bytes` long, and others are shorter, tells them apart.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

from fl_bench.lazy import torch

from .quantisers import encode, label_bits, most_bytes
from .range_coder import Decoder, Encoder, Frequencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NEW, UNCHANGED = 0, 1
"""The symbols that there are before any label."""


def write_labels(levels: Tensor, known: Tensor, bits: int) -> list[bytes]:
    """The messages that tell levels to those who know others.

    Args:
        levels: shape (clients, samples, classes).
        known: what the receiver has, same shape; rows of zeros where it has nothing.
        bits: b.
    """
    return [
        _written(own, message, bits)
        for own, message in zip(levels.tolist(), encode(levels, known).tolist(), strict=True)
    ]


def read_labels(messages: Sequence[bytes], known: Tensor, bits: int) -> Tensor:
    """The levels that messages tell; the inverse of `write_labels` with the same `known`.

    Returns:
        Shape (clients, samples, classes), the dtype and device of `known`.
    """
    read = [_read(message, rows, bits) for message, rows in zip(messages, known.tolist(), strict=True)]
    return torch.tensor(read, dtype=known.dtype, device=known.device)


def number_of(label: Sequence[int]) -> int:
    """Where a label stands among all with its sum and classes, from 0, ordered by the first level, then the next.

    With m classes to come and r units left there are (r + m - 1 over m - 1) labels, and as many as for r - k units
    whose first level is at least k.
    """
    number, left = 0, sum(label)
    for place, level in enumerate(label):
        others = len(label) - place - 1
        number += comb(left + others, others) - comb(left - level + others, others)
        left -= level
    return number


def label_of(number: int, classes: int, whole: int) -> list[int]:
    """The inverse of `number_of` for labels that sum to `whole`."""
    label, left = [], whole
    for others in range(classes - 1, 0, -1):
        all_of_them = comb(left + others, others)
        least, most = 0, left  # the largest level with no more than `number` labels before it
        while least < most:
            level = (least + most + 1) // 2
            if all_of_them - comb(left - level + others, others) <= number:
                least = level
            else:
                most = level - 1
        number -= all_of_them - comb(left - least + others, others)
        label.append(least)
        left -= least
    return [*label, left]


def _written(levels: list[list[int]], message: list[list[int]], bits: int) -> bytes:
    samples, classes = len(levels), len(levels[0])
    size, most = label_bits(classes, bits), most_bytes(samples, classes, bits)
    coder, counts = Encoder(), _fresh_counts(samples)
    symbols = {(0,) * classes: UNCHANGED}
    for row in map(tuple, message):
        symbol = symbols.get(row, NEW)
        before = counts.before(symbol)
        coder.put(before, counts.before(symbol + 1) - before, counts.total)
        if symbol == NEW:
            coder.number(number_of(row), size)
            symbol = symbols[row] = len(symbols) + 1
            counts.add(NEW)
        counts.add(symbol)
    coded = coder.finish()
    if len(coded) < most:
        return coded
    return int("".join(f"{number_of(label):0{size}b}" for label in levels), 2).to_bytes(most, "big")


def _read(message: bytes, known: list[list[int]], bits: int) -> list[list[int]]:
    samples, classes, whole = len(known), len(known[0]), 2**bits - 1
    size = label_bits(classes, bits)
    if len(message) == most_bytes(samples, classes, bits):
        digits = f"{int.from_bytes(message, 'big'):0{samples * size}b}"
        return [label_of(int(digits[i * size : (i + 1) * size], 2), classes, whole) for i in range(samples)]
    coder, counts = Decoder(message), _fresh_counts(samples)
    labels: list[list[int]] = [[], []]  # of NEW and UNCHANGED, which have none
    read = []
    for old in known:
        symbol = counts.at(coder.share(counts.total))
        before = counts.before(symbol)
        coder.take(before, counts.before(symbol + 1) - before)
        if symbol == NEW:
            labels.append(label_of(coder.number(size), classes, whole))
            symbol = len(labels) - 1
            counts.add(NEW)
        counts.add(symbol)
        read.append(old if symbol == UNCHANGED else labels[symbol])
    return read


def _fresh_counts(samples: int) -> Frequencies:
    """Room for as many labels as samples, and the first two symbols, counted once each."""
    counts = Frequencies(samples + 2)
    counts.add(NEW)
    counts.add(UNCHANGED)
    return counts
