"""The range coder: bytes by hand, what was written comes back, and how long messages are."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.methods.range_coder import Decoder, Encoder, Frequencies


def test_bytes_by_hand() -> None:
    # A half, the second of two: [1/2, 1). Its first quarter: [1/2, 5/8). The shortest number inside is 1/2 = 128/256.
    coder = Encoder()
    coder.put(1, 1, 2)
    coder.put(0, 1, 4)
    assert coder.finish() == bytes([128])
    # The second quarter of [1/2, 1/2 + 1/1024) starts at 1/2 + 1/4096: 128/256 and 16/65536.
    coder = Encoder()
    coder.put(512, 1, 1024)
    coder.put(1, 1, 4)
    assert coder.finish() == bytes([128, 16])
    # plain numbers, low pieces of 16 bits first
    coder = Encoder()
    coder.number(0x12ABCD, 24)
    assert coder.finish() == bytes([0xAB, 0xCD, 0x12])


def test_a_carry_goes_through_bytes_that_were_sent() -> None:
    # [0x7fffff, 0x800001) / 2^24 has the width 2^-23, so that 7f ff are sent. Its second half starts at
    # 0x800000 / 2^24: they must become 80 00, now where the message ends, now where another symbol follows.
    for further in (0, 1):
        coder = Encoder()
        coder.put(0x7FFFFF, 2, 1 << 24)
        coder.put(1, 1, 2)
        for _ in range(further):
            coder.put(0, 1, 256)
        assert coder.finish() == bytes([0x80, 0, 0]) + bytes(further)


def test_zeros_follow_the_end_of_a_message() -> None:
    # Plain zeros, then of 2^24 shares the 2^16 from 5 * 2^16 + 1 on. They end one share above 6 * 2^16, which is the
    # shortest number inside: after it, to the digits that a decoder has in work, nothing but zeros will do.
    coder = Encoder()
    for _ in range(3):
        coder.number(0, 16)
    coder.put((5 << 16) + 1, 1 << 16, 1 << 24)
    message = coder.finish()
    assert message == bytes([0, 0, 0, 0, 0, 0, 6])
    decoder = Decoder(message)
    assert [decoder.number(16) for _ in range(3)] == [0, 0, 0]
    assert decoder.share(1 << 24) == 6 << 16


def test_both_sides_move_on_at_the_same_width() -> None:
    # A plain number of 16 bits leaves 256^6 of 256^7 units, with which both sides go on. The second third of them,
    # rounded down, starts at 0x555555555555; of 256^7 it would start 85 units later, behind the zeros that follow.
    coder = Encoder()
    coder.number(0, 16)
    coder.put(1, 1, 3)
    for _ in range(3):
        coder.put(0, 1, 1 << 24)
    decoder = Decoder(coder.finish())
    assert decoder.number(16) == 0
    assert decoder.share(3) == 1
    decoder.take(1, 1)
    for _ in range(3):
        assert decoder.share(1 << 24) == 0
        decoder.take(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), length=st.integers(0, 400), total=st.sampled_from([2, 3, 255, 1000, 1 << 16, 1 << 24])
)
def test_what_was_written_is_read(seed: int, length: int, total: int) -> None:
    # Symbols of one share up to all but one, likely ones and unlikely ones.
    stream = np.random.default_rng(seed)
    starts = [int(total * stream.beta(0.1, 0.1)) for _ in range(length)]
    symbols = [(min(start, total - 1), int(stream.integers(1, total - min(start, total - 1) + 1))) for start in starts]
    encoder = Encoder()
    for start, size in symbols:
        encoder.put(start, size, total)
        encoder.number(start, 40)
    message = encoder.finish()
    bits = sum(math.log2(total / size) + 40 for _, size in symbols)
    assert bits / 8 <= len(message) + 1e-6
    assert len(message) <= bits / 8 + 2
    decoder = Decoder(message)
    for start, size in symbols:
        assert start <= decoder.share(total) < start + size
        decoder.take(start, size)
        assert decoder.number(40) == start


@settings(max_examples=40, deadline=None)
@given(symbols=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_frequencies_are_running_counts(symbols: int, seed: int) -> None:
    counts, by_hand = Frequencies(symbols), [0] * symbols
    for symbol in np.random.default_rng(seed).integers(0, symbols, size=50).tolist():
        counts.add(symbol)
        by_hand[symbol] += 1
    assert counts.total == 50
    assert [counts.before(symbol) for symbol in range(symbols + 1)] == [sum(by_hand[:i]) for i in range(symbols + 1)]
    assert [counts.at(share) for share in range(50)] == [i for i, count in enumerate(by_hand) for _ in range(count)]
