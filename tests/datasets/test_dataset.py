"""Building a data set from arrays: test set, standardisation, checks, fingerprint."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.datasets.dataset import build_dataset, fingerprint, standardise, stratified_rows
from fl_bench.errors import DataError

LABELS = np.array([0, 1] * 10)
TABLE = np.arange(40.0).reshape(20, 2)


def test_standardise_uses_training_rows_only() -> None:
    # Training column (1, 3): mean 2, deviation 1; the test value 7 becomes 5. A missing value becomes the mean, 0.
    # Training column (4, missing): mean 4, constant: the unit is kept, 6 becomes 2.
    table = np.array([[1.0, 4.0], [3.0, np.nan], [7.0, 6.0], [np.nan, 4.0]])
    assert standardise(table, 2).tolist() == [[-1, 0], [1, 0], [5, 2], [0, 0]]


def test_a_constant_column_stays_zero_in_floating_point() -> None:
    # The mean of 901 times 0.1 is not 0.1; without care the rounding error would be blown up to deviation 1.
    assert np.abs(standardise(np.full((1000, 1), 0.1), 901)).max() < 1e-6


def test_a_column_without_any_training_value_becomes_zero_where_missing() -> None:
    assert standardise(np.array([[np.nan], [np.nan], [np.nan]]), 2).tolist() == [[0], [0], [0]]


def test_the_test_set_is_stratified_and_the_same_for_every_call() -> None:
    # A third of 12 + 6 + 3 rows is 7: 4, 2 and 1.
    labels = np.array([0] * 12 + [1] * 6 + [2] * 3)
    rows = stratified_rows(labels, Fraction(1, 3), "a")
    assert np.bincount(labels[rows]).tolist() == [4, 2, 1]
    assert rows.tolist() == stratified_rows(labels, Fraction(1, 3), "a").tolist()
    assert rows.tolist() != stratified_rows(labels, Fraction(1, 3), "b").tolist()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80))
def test_every_class_keeps_a_training_row(labels: list[int]) -> None:
    array = np.array(labels)
    rows = stratified_rows(array, Fraction(1, 5), "any")
    assert set(np.delete(array, rows)) == set(labels)


def test_without_official_test_set_training_rows_come_first() -> None:
    data = build_dataset("t", TABLE, LABELS, source="made", natural=np.arange(20))
    assert data.train_size == 16
    assert data.natural is not None
    assert sorted(data.natural.tolist()) == list(range(20))
    assert torch.bincount(data.labels[16:]).tolist() == [2, 2]
    assert data.labels.tolist() == LABELS[data.natural].tolist()
    assert data.inputs[:16].mean(dim=0).abs().max() < 1e-6
    assert data.inputs.dtype == torch.float32
    assert (data.about.modality, data.about.shape, data.about.classes) == ("tabular", (2,), 2)


def test_images_are_kept_as_they_are() -> None:
    images = np.arange(20 * 4, dtype=np.uint8).reshape(20, 1, 2, 2)
    data = build_dataset("i", images, LABELS, source="made", train_size=12)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.tolist() == images.tolist()
    assert data.about.modality == "image"


def test_sequences_are_standardised_by_channel() -> None:
    # Training moments of the only channel: 1, 3 and 5, 7 have mean 4 and variance (9 + 1 + 1 + 9) / 4 = 5.
    sequences = np.array([[[1.0, 3.0]], [[5.0, 7.0]], [[4.0, np.nan]]])
    data = build_dataset("s", sequences, np.array([0, 1, 0]), source="made", train_size=2)
    assert (data.about.modality, data.about.shape, data.about.vocabulary) == ("sequence", (1, 2), None)
    expected = torch.tensor([[[-3.0, -1.0]], [[1.0, 3.0]], [[0.0, 0.0]]]) / 5**0.5
    torch.testing.assert_close(data.inputs, expected)
    two = build_dataset(
        "s", np.concatenate([sequences, 10 * sequences], axis=1), np.array([0, 1, 0]), source="made", train_size=2
    )
    torch.testing.assert_close(two.inputs, expected.expand(3, 2, 2))  # each channel in its own unit


@pytest.mark.parametrize(("vocabulary", "stored"), [(40, torch.uint8), (256, torch.uint8), (257, torch.int32)])
def test_texts_keep_their_tokens(vocabulary: int, stored: torch.dtype) -> None:
    tokens = TABLE.astype(np.int64) + vocabulary - 40
    data = build_dataset("t", tokens, LABELS, source="made", train_size=12, vocabulary=vocabulary)
    assert (data.about.modality, data.about.shape, data.about.vocabulary) == ("text", (2,), vocabulary)
    assert data.inputs.dtype == stored
    assert data.inputs.tolist() == tokens.tolist()


def test_the_fingerprint_tells_apart_what_a_run_can_tell_apart() -> None:
    prints = [
        fingerprint(TABLE, LABELS, 16),
        fingerprint(TABLE.astype(np.float32), LABELS, 16),
        fingerprint(TABLE.reshape(40, 1), LABELS, 16),
        fingerprint(TABLE + 1, LABELS, 16),
        fingerprint(TABLE, LABELS[::-1], 16),
        fingerprint(TABLE, LABELS, 15),
        fingerprint(TABLE, LABELS, 16, LABELS),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == fingerprint(np.asfortranarray(TABLE), LABELS.copy(), 16)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (TABLE[:, 0], LABELS, {}, r"shape \(rows, features\), \(rows, channels, length\)"),
        (TABLE[:, :, None, None, None], LABELS, {}, r"shape \(rows, features\)"),
        (np.where(TABLE == 3, np.inf, TABLE)[:, :, None], LABELS, {}, "finite"),
        (TABLE, LABELS, {"vocabulary": 40}, "texts of 'bad' must be whole numbers of shape .*float64"),
        (TABLE.astype(int)[:, :, None], LABELS, {"vocabulary": 40}, r"shape \(rows, length\)"),
        (TABLE.astype(int), LABELS, {"vocabulary": 39}, r"in \[0, 39\), found values from 0 to 39"),
        (TABLE.astype(int) - 1, LABELS, {"vocabulary": 40}, "found values from -1"),
        (TABLE.astype(int), LABELS, {"vocabulary": 2**20 + 1}, "1 to 1048576 tokens"),
        (TABLE, LABELS[:5], {}, "one label"),
        (TABLE[:0], LABELS[:0], {}, "empty"),
        (TABLE, LABELS / 2, {}, "must be integers"),
        (TABLE, LABELS - 1, {}, r"must be in \[0, 1\)|from -1 to 0"),
        (TABLE, LABELS, {"classes": 1}, r"in \[0, 1\), found values from 0 to 1"),
        (TABLE, LABELS, {"train_size": 20}, "needs training and test rows"),
        (np.where(TABLE == 3, np.inf, TABLE), LABELS, {}, "finite"),
        (np.full((20, 1, 2, 2), 2.0), LABELS, {}, "floating point in"),
        (np.full((20, 1, 2, 2), np.nan), LABELS, {}, "floating point in"),
        (TABLE, LABELS, {"natural": np.zeros(3, int)}, "one label"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    inputs: np.ndarray, labels: np.ndarray, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        build_dataset("bad", inputs, labels, source="made", **options)  # type: ignore[arg-type]


def test_a_drawn_test_set_consists_of_whole_groups() -> None:
    groups = np.random.Generator(np.random.Philox(4)).permutation(np.repeat(np.arange(50), 4))
    data = build_dataset("t", groups[:, None] * 1.0, groups % 2, source="made", natural=groups, groups=groups)
    assert data.natural is not None
    train, test = set(data.natural[: data.train_size].tolist()), set(data.natural[data.train_size :].tolist())
    assert train | test == set(range(50))
    assert not train & test
    assert np.bincount([group % 2 for group in test]).tolist() == [5, 5]  # a fifth of 50 groups, of each class alike
    assert (data.labels.numpy() == data.natural % 2).all()
