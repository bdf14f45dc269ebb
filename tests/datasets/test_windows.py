"""Windows of recordings: their class by hand, and a split in time without a shared sample."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.datasets.windows import LENGTH, STEP, Windows, cut, split_in_time


def recording(*runs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Runs of (class, samples); the first channel counts the samples, the second is its negative."""
    kinds = np.concatenate([np.full(samples, kind) for kind, samples in runs])
    return np.stack([np.arange(len(kinds)), -np.arange(len(kinds))], axis=1).astype(np.float64), kinds


def test_a_window_has_the_class_of_most_of_its_samples() -> None:
    # Windows begin at 0, 64, 128, 192 and 256. Class 1 has 128 + 65 samples: all of the first window, and of the
    # second 64 and 64 (65 would be more than half); then nothing has a class until 256, where class 0 has 65 of 128.
    one = recording((1, 128), (0, 64), (-1, 127), (0, 65))
    found = cut([one], 2)
    assert found.start.tolist() == [0, 256]
    assert found.labels.tolist() == [1, 0]
    assert found.values.shape == (2, 2, LENGTH)
    assert found.values[1].tolist() == [[*range(256, 384)], [-sample for sample in range(256, 384)]]
    assert found.values.dtype == np.float32
    more = cut([recording((1, 129), (0, 63), (-1, 127), (0, 64))], 2)
    assert (more.start.tolist(), more.labels.tolist()) == ([0, 64], [1, 1])  # 65 of the second; 64 of the last


def test_recordings_are_cut_one_by_one_and_short_ones_not_at_all() -> None:
    found = cut([recording((0, 200)), recording((1, 127)), recording((1, 128))], 2)
    assert found.recording.tolist() == [0, 0, 2]
    assert found.start.tolist() == [0, 64, 0]
    assert len(cut([recording((0, 5))], 2).labels) == 0


def test_the_last_fifth_of_a_block_is_for_testing_and_its_neighbours_are_left_out() -> None:
    # Ten windows of class 0, then ten of class 1, without a break: the last two of each are test windows. Of class 0
    # 8 and 9, whose neighbours are 7 and, of the other class, 10; of class 1 18 and 19, whose neighbour is 17.
    windows = cut([recording((0, 10 * STEP + STEP // 2), (1, 11 * STEP - STEP // 2))], 2)
    assert windows.labels.tolist() == [0] * 10 + [1] * 10
    train, test = split_in_time(windows, windows.labels)
    assert test.tolist() == [8, 9, 18, 19]
    assert train.tolist() == [*range(7), *range(11, 17)]


def test_another_recording_is_no_neighbour() -> None:
    windows = cut([recording((0, 5 * STEP)), recording((0, 5 * STEP)), recording((1, 5 * STEP))], 2)
    train, test = split_in_time(windows, windows.labels)  # of eight 2, of four 1 (0.8 rounded)
    assert test.tolist() == [6, 7, 11]
    assert train.tolist() == [0, 1, 2, 3, 4, 8, 9]


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(-1, 2), st.integers(1, 500)), min_size=1, max_size=4), max_size=5),
)
def test_no_training_window_shares_a_sample_with_a_test_window(runs: list[list[tuple[int, int]]]) -> None:
    windows = cut([recording(*own) for own in runs], 3)
    persons = windows.recording // 2
    block = 3 * persons + windows.labels
    train, test = split_in_time(windows, block)
    assert not set(train) & set(test)
    for one, other in product(train, test):
        apart = abs(int(windows.start[one]) - int(windows.start[other]))
        assert windows.recording[one] != windows.recording[other] or apart >= LENGTH
    for own in np.unique(block):
        members = np.flatnonzero(block == own)
        tested = np.intersect1d(test, members)
        assert len(tested) == (2 * len(members) + 5) // 10
        assert tested.tolist() == members[len(members) - len(tested) :].tolist()
    near = set(range(len(block))) - set(train) - set(test)
    for dropped in near:  # not one more is left out than must be
        assert any(
            windows.recording[dropped] == windows.recording[other]
            and abs(int(windows.start[dropped]) - int(windows.start[other])) < LENGTH
            for other in test
        )


def test_without_windows_there_is_nothing_to_split() -> None:
    empty = cut([], 2)
    assert isinstance(empty, Windows)
    assert [len(side) for side in split_in_time(empty, empty.labels)] == [0, 0]
