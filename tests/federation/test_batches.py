"""Batches of one fixed size, cut from reshuffled passes joined end to end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.federation.batches import positions, steps_of
from fl_bench.streams import numpy_stream


@pytest.mark.parametrize(
    ("epochs", "samples", "batch_size", "steps"),
    [
        (1, 10, 5, 2),  # two batches of 5 are one pass
        (1, 11, 5, 3),  # the third batch has one sample of the first pass and four of the second
        (3, 11, 5, 7),  # 33 / 5 = 6.6; a pass is not rounded up by itself, which would make 9
        (2, 1, 32, 1),  # a batch may be larger than the set, and one batch then serves both passes
        (0, 11, 5, 0),
    ],
)
def test_steps(epochs: int, samples: int, batch_size: int, steps: int) -> None:
    assert steps_of(epochs, samples, batch_size) == steps


@given(
    samples=st.integers(1, 30),
    steps=st.integers(0, 20),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_every_pass_shows_every_sample_once(samples: int, steps: int, batch_size: int, seed: int) -> None:
    order = positions(samples, steps, batch_size, np.random.default_rng(seed))
    assert order.shape == (steps, batch_size)
    joined = order.ravel()
    for start in range(0, len(joined), samples):
        seen = joined[start : start + samples]
        assert len(set(seen)) == len(seen)  # a permutation of the set, or the beginning of one at the end
        assert set(seen) <= set(range(samples))


def test_a_pass_ends_within_a_batch() -> None:
    # Three samples in batches of two: samples 0 and 1 of the first pass, then its last and the first of the next.
    stream = numpy_stream(0, "order")
    first, second = stream.permutation(3), stream.permutation(3)
    order = positions(3, 3, 2, numpy_stream(0, "order"))
    assert order.tolist() == [first[:2].tolist(), [first[2], second[0]], second[1:].tolist()]


def test_passes_are_shuffled_anew_and_repeatably() -> None:
    order = positions(20, 3, 20, numpy_stream(4, "order"))
    assert len({tuple(row) for row in order}) == 3
    assert (order == positions(20, 3, 20, numpy_stream(4, "order"))).all()
    assert (order != positions(20, 3, 20, numpy_stream(5, "order"))).any()


def test_more_steps_leave_earlier_ones_as_they_are() -> None:
    assert (positions(7, 9, 3, numpy_stream(1, "order"))[:4] == positions(7, 4, 3, numpy_stream(1, "order"))).all()
