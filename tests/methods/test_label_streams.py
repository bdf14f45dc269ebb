"""Quantised labels as bytes: numbers of labels by hand, what was written comes back, lengths from adaptive counts."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.methods.label_streams import label_of, number_of, read_labels, write_labels
from fl_bench.methods.quantisers import label_bits, most_bytes, quantise


def draw(seed: int, clients: int, samples: int, classes: int, bits: int, sure: float) -> torch.Tensor:
    """Levels, of few kinds where `sure` is small."""
    rows = np.random.default_rng(seed).dirichlet([sure] * classes, size=(clients, samples))
    return quantise(torch.from_numpy(rows), bits)


def bits_by_hand(levels: torch.Tensor, known: torch.Tensor, bits: int) -> float:
    """Of one client: -log2 of each symbol's share of what was counted before it, and the numbers of new labels."""
    counts, cost = Counter({"new": 1, "unchanged": 1}), 0.0
    for row, old in zip(levels.tolist(), known.tolist(), strict=True):
        symbol = "unchanged" if row == old else tuple(row)
        if symbol not in counts:
            cost += math.log2(counts.total() / counts["new"]) + label_bits(len(row), bits)
            counts["new"] += 1
        else:
            cost += math.log2(counts.total() / counts[symbol])
        counts[symbol] += 1
    return cost


@pytest.mark.parametrize(("classes", "bits"), [(2, 1), (3, 1), (3, 2), (4, 2), (2, 4), (3, 3)])
def test_labels_are_numbered_in_order_without_gaps(classes: int, bits: int) -> None:
    whole = 2**bits - 1
    labels = [list(levels) for levels in product(range(whole + 1), repeat=classes) if sum(levels) == whole]
    assert [number_of(label) for label in labels] == list(range(len(labels)))
    assert [label_of(number, classes, whole) for number in range(len(labels))] == labels


def test_a_message_by_hand() -> None:
    # One bit, two classes; labels (0, 1) and (1, 0) have the numbers 0 and 1, in a bit. Sixteen samples, all (1, 0).
    # First "new", 1 of 2 shares, [0, 1/2); number 1 of 2: [1/4, 1/2). "New", "unchanged" and (1, 0) now have 2, 1 and 1
    # of 4 shares, so (1, 0) takes 1/4 of what is left, at its upper end, then 2/5, 3/6, .. 15/18: 3! 15!/18! = 1/816 of
    # 1/4. No multiple of 1/256 is in [1/2 - 1/3264, 1/2): two bytes, as long as all labels one by one. So those go.
    levels = torch.tensor([[[1, 0]] * 16], dtype=torch.int32)
    assert write_labels(levels, torch.zeros_like(levels), 1) == [bytes([255, 255])]
    # Known already: "unchanged" has 1 of 2, 2 of 3, .. 16 of 17 shares, at the upper end: [1 - 1/17, 1) has 241/256.
    assert write_labels(levels, levels, 1) == [bytes([241])]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(2, 1), (10, 1), (3, 2), (5, 4), (4, 16), (12, 16)]),
    samples=st.sampled_from([1, 2, 7, 300]),
    sure=st.sampled_from([0.02, 0.2, 2.0]),
    same=st.floats(0, 1),
)
def test_what_was_written_is_read_and_as_long_as_it_must_be(
    seed: int, shape: tuple[int, int], samples: int, sure: float, same: float
) -> None:
    # Two clients: one knows some of the labels, one knows nothing.
    classes, bits = shape
    levels, old = (draw(seed + more, 2, samples, classes, bits, sure) for more in (0, 1))
    stays = torch.from_numpy(np.random.default_rng(seed).random((2, samples, 1)) < same)
    known = torch.where(stays, levels, old)
    known[1] = 0
    messages = write_labels(levels, known, bits)
    assert torch.equal(read_labels(messages, known, bits), levels)
    most = most_bytes(samples, classes, bits)
    for message, *told in zip(messages, levels, known, strict=True):
        cost = bits_by_hand(*told, bits) / 8
        assert min(cost, most) - 1e-6 <= len(message) <= min(cost + 2, most)
