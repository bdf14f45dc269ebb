"""Quantised labels against brute force, coded lengths against entropies by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.methods.quantisers import coded_bytes, decode, dequantise, encode, label_bits, most_bytes, quantise


def rows(seed: int, classes: int, samples: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([0.5] * classes, size=samples))


def grid(classes: int, bits: int) -> list[tuple[int, ...]]:
    """Every label of so many classes and bits."""
    whole = 2**bits - 1
    return [levels for levels in product(range(whole + 1), repeat=classes) if sum(levels) == whole]


# --- the quantiser


def test_quantised_by_hand() -> None:
    # Two bits, L = 3: (.5, .3, .2) * 3 = 1.5, .9, .6 rounds down to 1, 0, 0; two units are missing and go to .9 and .6.
    # (.45, .45, .1) * 3 = 1.35, 1.35, .3 rounds down to 1, 1, 0; the missing one goes to the first of the two .35.
    p = torch.tensor([[0.5, 0.3, 0.2], [0.45, 0.45, 0.1]], dtype=torch.float64)
    assert quantise(p, 2).tolist() == [[1, 1, 1], [2, 1, 0]]
    assert quantise(p, 1).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert dequantise(quantise(p, 2), 2, torch.float64)[1].tolist() == pytest.approx([2 / 3, 1 / 3, 0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(2, 1), (3, 1), (3, 2), (4, 2), (3, 3)]))
def test_no_label_is_nearer_in_l1(seed: int, shape: tuple[int, int]) -> None:
    classes, bits = shape
    p = rows(seed, classes)
    labels = torch.tensor(grid(classes, bits)).double() / (2**bits - 1)
    nearest = (p[:, None] - labels).abs().sum(dim=2).amin(dim=1)
    found = (p - dequantise(quantise(p, bits), bits, torch.float64)).abs().sum(dim=1)
    assert torch.allclose(found, nearest, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(1, 16),
    classes=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_rows_sum_to_one_within_a_grid_step_and_stay(seed: int, bits: int, classes: int, dtype: torch.dtype) -> None:
    p = rows(seed, classes).to(dtype)
    levels = quantise(p, bits)
    assert levels.dtype == torch.int32
    assert (levels >= 0).all()
    assert (levels.sum(dim=1) == 2**bits - 1).all()
    decoded = dequantise(levels, bits, dtype)
    assert decoded.dtype == dtype
    assert ((decoded - p).abs() <= 1 / (2**bits - 1) + 1e-6).all()
    assert torch.equal(quantise(decoded, bits), levels)


def test_one_bit_is_the_first_arg_max() -> None:
    p = rows(1, classes=7, samples=50)
    assert torch.equal(quantise(p, 1), torch.nn.functional.one_hot(p.argmax(dim=1), 7).int())
    assert quantise(torch.tensor([[0.25, 0.25, 0.25, 0.25]]), 1).tolist() == [[1, 0, 0, 0]]
    assert quantise(torch.tensor([[0.0, 0.0, 1.0]]), 1).tolist() == [[0, 0, 1]]


# --- messages


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.sampled_from([1, 2, 16]))
def test_decoding_inverts_encoding(seed: int, bits: int) -> None:
    stream = np.random.default_rng(seed)
    new = quantise(rows(seed, classes=3, samples=40), bits)
    known = torch.where(torch.from_numpy(stream.random(40) < 0.5)[:, None], new, quantise(rows(seed + 1, 3, 40), bits))
    assert torch.equal(decode(encode(new, known), known), new)
    nothing = torch.zeros_like(new)
    assert torch.equal(encode(new, nothing), new)
    assert torch.equal(decode(new, nothing), new)


def test_only_rows_that_differ_are_told() -> None:
    # Row 0 is known, row 1 differs in two classes only, row 2 was never told.
    new = torch.tensor([[1, 2, 0], [3, 0, 0], [0, 0, 3]])
    known = torch.tensor([[1, 2, 0], [2, 1, 0], [0, 0, 0]])
    assert encode(new, known).tolist() == [[0, 0, 0], [3, 0, 0], [0, 0, 3]]


# --- lengths


@pytest.mark.parametrize(("classes", "bits"), [(1, 3), (2, 1), (3, 1), (5, 1), (3, 2), (4, 2), (3, 3)])
def test_label_bits_tell_every_label_apart(classes: int, bits: int) -> None:
    count = len(grid(classes, bits))
    assert label_bits(classes, bits) == int(np.ceil(np.log2(count)))
    assert label_bits(classes, bits, unchanged=True) == int(np.ceil(np.log2(count + 1)))
    assert label_bits(classes, bits) <= classes * bits


def test_most_bytes_by_hand() -> None:
    assert most_bytes(100, 10, 1) == 50  # 10 labels, 4 bits each
    assert most_bytes(3, 10, 1) == 2  # 12 bits are 2 bytes
    assert most_bytes(8, 3, 2) == 4  # 10 labels: (3, 0, 0) 3 times, (2, 1, 0) 6 times, (1, 1, 1)


def one_hot(classes: list[list[int]], of: int) -> torch.Tensor:
    """One-bit messages, -1 for "unchanged"."""
    hot = torch.nn.functional.one_hot(torch.tensor(classes).clamp_min(0), of)
    return torch.where(torch.tensor(classes)[..., None] < 0, 0, hot).int()


def test_length_by_hand() -> None:
    # 64 rows, 4 classes, one bit; a table entry takes log2 64 = 6 bits for how often and ceil(log2 (4 + 1)) = 3 bits
    # for which.
    #   client 0: 32 times class 0, 16 times class 1, 16 unchanged: 64 * (1/2 * 1 + 2 * 1/4 * 2) = 96 bits and 3 entries
    #             of 9 are 123 bits, 16 bytes
    #   client 1: nothing changed: 0 bits and 1 entry, 2 bytes
    #   client 2: one class 3: 64 * (1/64 * 6 + 63/64 * log2(64/63)) = 7.43 bits and 2 entries are 25.43 bits, 4 bytes
    message = one_hot([[0] * 32 + [1] * 16 + [-1] * 16, [-1] * 64, [3] + [-1] * 63], 4)
    assert coded_bytes(message, 1).tolist() == [16, 2, 4]
    assert coded_bytes(message, 1).dtype == torch.int64
    # 16 rows of 200 classes, 4 rows of each of 4: 32 bits and 4 entries of 4 + 8 bits are 80 bits, 10 bytes exactly.
    assert coded_bytes(one_hot([[0, 1, 2, 3] * 4], 200), 1).tolist() == [10]
    # Of 3 classes nothing changed: how often takes ceil(log2 64) = 6 or ceil(log2 65) = 7 bits, which of 4 takes 2.
    assert [coded_bytes(one_hot([[-1] * rows], 3), 1).tolist() for rows in (64, 65)] == [[1], [2]]
    # 128 rows of 2 classes, half and half: 128 bits and 2 entries are longer than 128 labels of one bit each.
    assert coded_bytes(one_hot([[0, 1] * 64], 2), 1).tolist() == [16]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.sampled_from([1, 2, 7, 16]), classes=st.sampled_from([2, 9, 130]))
def test_length_is_the_entropy_of_whole_rows(seed: int, bits: int, classes: int) -> None:
    # Rows of 130 classes of 16 bits do not fit a machine word: equal rows, and they only, are one symbol all the same.
    stream = np.random.default_rng(seed)
    labels = quantise(rows(seed, classes, samples=5), bits)
    message = labels[torch.from_numpy(stream.integers(5, size=(3, 300)))]
    message[1, :200] = 0
    for found, client in zip(coded_bytes(message, bits).tolist(), message, strict=True):
        _, counts = np.unique(client.numpy(), axis=0, return_counts=True)
        entropy = -(counts * np.log2(counts / 300)).sum()
        whole = entropy + len(counts) * (9 + label_bits(classes, bits, unchanged=True))  # ceil(log2 300) = 9
        assert found == min(int(np.ceil(whole / 8 - 1e-9)), most_bytes(300, classes, bits))


@pytest.mark.parametrize("place", [0, 1, 2, 3, 63, 127])
def test_rows_that_differ_in_two_classes_are_two_symbols_wherever_these_are(place: int) -> None:
    # 130 classes of 16 bits; 2 entries and 64 bits for 64 rows, against 1 entry: 6 bits and those of a label.
    one = torch.zeros(130, dtype=torch.int32)
    one[129], one[place] = 60000, 5535
    other = one.clone()
    other[[place, place + 1]] = one[[place + 1, place]]
    entry = 6 + label_bits(130, 16, unchanged=True)
    message = torch.stack([torch.stack([one] * 64), torch.stack([one, other] * 32)])
    assert coded_bytes(message, 16).tolist() == [-(-entry // 8), -(-(2 * entry + 64) // 8)]


def test_a_single_sample_has_a_length() -> None:
    assert coded_bytes(one_hot([[2]], 3), 1).tolist() == [1]  # 2 bits, one by one; nothing by entropy, 2 by the table
    assert coded_bytes(one_hot([[0]], 1), 1).tolist() == [0]  # one class: nothing to tell
