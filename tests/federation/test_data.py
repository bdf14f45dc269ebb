"""What clients may see of a dealt dataset: sealed labels, scaled inputs, public subsets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.federation.data import HIDDEN, FederatedData, Shards, prepare

CPU = torch.device("cpu")


@pytest.fixture
def dealt(deal):
    return deal((5, 8, 3), groups=[0, 0, 1])


@pytest.fixture
def data(dealt):
    return FederatedData(*dealt, CPU, torch.float64)


def test_labels_are_hidden_wherever_they_are_sealed(dealt, data) -> None:
    dataset, split = dealt
    sealed = np.concatenate([split.public, *split.test, split.global_test])
    open_rows = np.concatenate([*split.train, *split.validation])
    assert sorted([*sealed, *open_rows]) == list(range(len(dataset.labels)))  # the fixture leaves no row out
    assert data.labels[sealed].eq(HIDDEN).all()
    assert torch.equal(data.labels[open_rows], dataset.labels[open_rows])
    assert HIDDEN < 0  # every loss and every one-hot encoding refuses it
    # The evaluator has the truth, and nobody has opened anything.
    assert torch.equal(data.sealed_labels.open_for_evaluation(), dataset.labels)
    assert torch.equal(data.public.labels.open_for_evaluation(), dataset.labels[split.public])
    assert data.sealed_labels.badges() == data.public.labels.badges() == data.groups.badges() == []


def test_revealed_public_labels_are_recorded_and_nothing_else_is_revealed(dealt, data) -> None:
    dataset, split = dealt
    rows = data.reveal_public_labels("bound")
    assert torch.equal(rows, torch.from_numpy(split.public))
    assert torch.equal(data.labels[rows], dataset.labels[rows])
    assert data.labels[np.concatenate([*split.test, split.global_test])].eq(HIDDEN).all()
    assert data.public.labels.badges() == ["oracle: public labels (bound)"]


def test_a_run_seals_its_groups_anew(dealt, data) -> None:
    other = FederatedData(*dealt, CPU, torch.float64)
    assert data.groups.open("mymethod").tolist() == [0, 0, 1]
    assert data.groups.badges() == ["oracle: true groups (mymethod)"]
    assert other.groups.badges() == []


def test_a_partition_without_groups_has_none(make_data) -> None:
    assert make_data().groups is None


def test_clients_and_their_rows(dealt, data) -> None:
    dataset, split = dealt
    assert data.clients == 3
    assert data.train.sizes == (5, 8, 3)
    assert [rows.tolist() for rows in data.train.split()] == [rows.tolist() for rows in split.train]
    assert [rows.tolist() for rows in data.validation.split()] == [rows.tolist() for rows in split.validation]
    assert [rows.tolist() for rows in data.test.split()] == [rows.tolist() for rows in split.test]
    for client, rows in enumerate(split.train):
        counts = [int((dataset.labels[rows] == label).sum()) for label in range(3)]
        assert data.label_counts[client].tolist() == counts


def test_shards_may_be_empty() -> None:
    shards = Shards.of([np.array([4, 2]), np.array([], dtype=np.int64), np.array([9])], CPU)
    assert shards.sizes == (2, 0, 1)
    assert [rows.tolist() for rows in shards.split()] == [[4, 2], [], [9]]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        # Scaled to [0, 1], then (x - 0.5) / 0.5: black is -1, white is 1, and 51 = 255/5 is 2/5 - 1.
        (torch.tensor([0, 51, 255], dtype=torch.uint8), [-1.0, -0.6, 1.0]),
        (torch.tensor([0.0, 0.25, 1.0]), [-1.0, -0.5, 1.0]),
    ],
)
def test_images_are_scaled(deal, pixels, expected) -> None:
    dataset, _ = deal(shape=(1, 1, 1))
    for dtype in (torch.float32, torch.float64):
        prepared = prepare(pixels.reshape(3, 1, 1, 1), dataset.about.modality, dtype)
        assert prepared.dtype == dtype
        assert prepared.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_preparing_changes_no_stored_input(deal) -> None:
    dataset, split = deal(shape=(1, 2, 2))
    before = dataset.inputs.clone()
    FederatedData(dataset, split, CPU, torch.float32).inputs_of(torch.arange(4))
    assert torch.equal(dataset.inputs, before)


def test_tables_are_left_as_they_are(dealt, data) -> None:
    dataset, split = dealt
    rows = torch.from_numpy(split.train[1])
    assert torch.equal(data.inputs_of(rows), dataset.inputs[rows].double())


def test_the_public_pool_keeps_its_order(dealt) -> None:
    dataset, split = dealt
    split.public[:] = split.public[::-1].copy()
    pool = FederatedData(dataset, split, CPU, torch.float64).public
    assert len(pool) == 6
    assert torch.equal(pool.inputs(), dataset.inputs[split.public].double())
    positions = torch.tensor([4, 0])
    assert torch.equal(pool.inputs(positions), dataset.inputs[split.public[[4, 0]]].double())


@settings(deadline=None)
@given(count=st.integers(1, 12), seed=st.integers(0, 2**31), rnd=st.integers(0, 100))
def test_a_public_subset_has_no_sample_twice(make_data, count: int, seed: int, rnd: int) -> None:
    pool = make_data(public=9).public
    drawn = pool.subset(count, seed, rnd).tolist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(count, 9)
    assert set(drawn) <= set(range(9))
    assert drawn == pool.subset(count, seed, rnd).tolist()


def test_public_subsets_differ_by_round_and_seed(make_data) -> None:
    pool = make_data(public=60).public
    subsets = [tuple(pool.subset(20, seed, rnd).tolist()) for seed in (0, 1) for rnd in range(3)]
    assert len(set(subsets)) == 6
