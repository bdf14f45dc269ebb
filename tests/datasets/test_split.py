"""What all schemes share: public pool, global test set, minimum sizes, validation, seals, measurements."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from fl_bench.datasets.dataset import Dataset
from fl_bench.datasets.heterogeneity import measure
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings, check, class_counts, raise_to_minimum, split
from fl_bench.errors import ConfigError

MakeLabelled = Callable[..., Dataset]
IID = PARTITIONS["iid"]()


def test_public_pool_and_global_test_are_stratified_and_rounded_up(labelled: MakeLabelled) -> None:
    # ceil(0.2 * n_c) of 11, 10 and 4 training rows is 3, 2, 1; of 6, 5 and 1 test rows 2, 1, 1.
    dataset = labelled([0] * 11 + [1] * 10 + [2] * 4, [0] * 6 + [1] * 5 + [2], 3)
    parts = split(dataset, IID, SplitSettings(clients=2, public=0.2), 0)
    labels = dataset.labels.numpy()
    assert np.bincount(labels[parts.public]).tolist() == [3, 2, 1]
    assert np.bincount(labels[parts.global_test]).tolist() == [2, 1, 1]
    assert parts.public.max() < dataset.train_size <= parts.global_test.min()


def test_the_public_order_is_shuffled_and_frozen(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 100, [0, 1, 2, 3] * 10, 4)
    parts = [split(dataset, IID, SplitSettings(clients=2), seed) for seed in (0, 0, 1)]
    assert parts[0].public.tolist() == parts[1].public.tolist()
    assert parts[0].public.tolist() != sorted(parts[0].public.tolist())
    assert sorted(parts[0].public.tolist()) != sorted(parts[2].public.tolist())


def test_the_public_pool_does_not_depend_on_scheme_or_clients(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 100, [0, 1, 2, 3] * 30, 4)
    pools = [
        split(dataset, PARTITIONS[name](), SplitSettings(clients=clients), 7).public.tolist()
        for name, clients in (("iid", 3), ("dirichlet-class", 3), ("iid", 8))
    ]
    assert pools[0] == pools[1] == pools[2]


def test_a_part_of_the_pool_leaves_every_client_its_samples(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 100, [0, 1, 2, 3] * 10, 4)
    whole, part = (split(dataset, IID, SplitSettings(clients=2, public_keep=keep), 0) for keep in (1.0, 0.3))
    assert part.public.tolist() == whole.public[:24].tolist()  # 0.3 of 80, in the same order
    assert all((a == b).all() for a, b in zip(whole.train, part.train, strict=True))
    assert part.fingerprint != whole.fingerprint


def test_a_limit_takes_training_rows_in_the_proportions_of_classes(labelled: MakeLabelled) -> None:
    # 50 of 120 rows: 25, 16 2/3 and 8 1/3 of 60, 40 and 20, so 25, 17, 8; ceil(0.2 * n_c) of them are 5, 4, 2.
    dataset = labelled([0] * 60 + [1] * 40 + [2] * 20, [0, 1, 2] * 20, 3)
    parts = [split(dataset, IID, SplitSettings(clients=4, max_train=50), seed) for seed in (0, 0, 1)]
    labels, whole = dataset.labels.numpy(), split(dataset, IID, SplitSettings(clients=4), 0)
    private = np.concatenate([*parts[0].train, *parts[0].validation])
    assert np.bincount(labels[parts[0].public]).tolist() == [5, 4, 2]
    assert np.bincount(labels[private]).tolist() == [20, 13, 6]
    assert len(np.unique(np.concatenate([private, parts[0].public]))) == 50
    assert sum(map(len, parts[0].test)) == sum(map(len, whole.test))
    assert parts[0].fingerprint == parts[1].fingerprint != parts[2].fingerprint
    assert split(dataset, IID, SplitSettings(clients=4, max_train=120), 0).fingerprint == whole.fingerprint


def test_a_limit_is_counted_before_any_data_are_loaded() -> None:
    settings = SplitSettings(clients=9, public=0.2, max_train=10)
    assert (settings.train_rows(1000), settings.public_rows(1000), settings.private_rows(1000)) == (10, 2, 8)
    with pytest.raises(ConfigError, match=r"10 rows with public=0\.2 leave 8: ask for fewer clients"):
        check(IID, settings, 2, 1000)


def test_public_zero_gives_empty_pools(labelled: MakeLabelled) -> None:
    parts = split(labelled([0, 1] * 10, [0, 1] * 10, 2), IID, SplitSettings(clients=2, public=0), 0)
    assert len(parts.public) == len(parts.global_test) == 0
    assert sum(map(len, parts.train)) + sum(map(len, parts.validation)) == 20


def test_validation_is_the_rounded_down_share_of_each_client(labelled: MakeLabelled) -> None:
    # 38 rows on 2 clients are 19 each: floor(0.1 * 19) = 1 is held out; of 0.95 of one row nothing is.
    dataset = labelled([0, 1] * 19, [0, 1] * 5, 2)
    parts = split(dataset, IID, SplitSettings(clients=2, public=0, val_fraction=0.1), 0)
    assert [len(rows) for rows in parts.validation] == [1, 1]
    alone = split(dataset, IID, SplitSettings(clients=10, public=0, val_fraction=0.95), 0)
    assert min(map(len, alone.train)) == 1


def test_an_empty_client_takes_from_the_largest_its_own_classes_first() -> None:
    # Client 0 has nothing and wants classes 1 and 2 three to one; target 4: three of class 1, one of class 2.
    # Client 1 holds five of class 0 and four of class 1, client 2 holds three of class 2 and three of class 1.
    owner = np.array([1] * 9 + [2] * 6)
    labels = np.array([0] * 5 + [1] * 4 + [2] * 3 + [1] * 3)
    wanted = np.array([[0.0, 3.0, 1.0], [0, 0, 0], [0, 0, 0]])
    new = raise_to_minimum(owner, labels, wanted, 4)
    assert np.bincount(labels[new == 0], minlength=3).tolist() == [0, 3, 1]
    # Class 1 comes from client 1 (9, 8, 7 held, the largest each time), class 2 from its only holder.
    assert np.bincount(new).tolist() == [4, 6, 5]


def test_nobody_falls_below_the_minimum_for_another() -> None:
    # 6 samples, minimum 2: clients 0 and 1 hold none, client 2 all.
    assert np.bincount(raise_to_minimum(np.full(6, 2), np.zeros(6, int), np.ones((3, 1)), 2)).tolist() == [2, 2, 2]


def test_small_test_sets_are_filled_with_the_clients_own_classes(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 200, [0, 1, 2, 3] * 100, 4)
    scheme = PARTITIONS["latent-groups"](groups=2, alpha=0.2, mixing=0.0)  # type: ignore[call-arg]
    small = split(dataset, scheme, SplitSettings(clients=8, min_test=1, public=0), 2)
    filled = split(dataset, scheme, SplitSettings(clients=8, min_test=30, public=0), 2)
    assert min(map(len, small.test)) < 30 <= min(map(len, filled.test))
    labels = dataset.labels.numpy()
    for client, rows in enumerate(filled.test):  # groups of clients 0-3 and 4-7 own classes {0, 1} and {2, 3}
        assert set(labels[rows] // 2) == {client // 4}
    assert small.fingerprint != filled.fingerprint  # though training and public rows are the same
    assert [rows.tolist() for rows in small.train] == [rows.tolist() for rows in filled.train]


def test_groups_are_sealed_and_absent_where_there_are_none(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1] * 50, [0, 1] * 50, 2)
    parts = split(dataset, PARTITIONS["latent-groups"](groups=2), SplitSettings(clients=4), 0)  # type: ignore[call-arg]
    assert parts.groups is not None
    assert "1" not in repr(parts.groups)
    assert parts.groups.what == "true groups"
    assert split(dataset, IID, SplitSettings(clients=4), 0).groups is None


def test_class_counts_count_training_rows(labelled: MakeLabelled) -> None:
    dataset = labelled([0] * 6 + [1] * 2, [0, 1], 3)
    parts = split(dataset, IID, SplitSettings(clients=1, public=0, val_fraction=0), 0)
    assert class_counts(dataset, parts).tolist() == [[6, 2, 0]]


def test_heterogeneity_by_hand() -> None:
    # Client 0: 4 + 4 of classes 0, 1 -> exp(entropy) = 2; client 1: 2 of class 2 -> 1. Pooled: .4, .4, .2.
    # Total variation: (|.5-.4| + |.5-.4| + .2)/2 = .2 and (.4 + .4 + .8)/2 = .8, mean .5. Sizes 8 and 2: mean 5, sd 3.
    # Groups 0 (classes 0, 1) and 1 (class 2), but class 1 said to be group 1's: shares 4/8 and 2/2; pooled 6/10.
    table = np.array([[4, 4, 0], [0, 0, 2]])
    found = measure(table, np.array([0, 1]), np.array([0, 1, 1]), 0.9)
    assert found.effective_classes_mean == pytest.approx(1.5)
    assert found.effective_classes_min == pytest.approx(1)
    assert found.total_variation_mean == pytest.approx(0.5)
    assert found.size_cv == pytest.approx(0.6)
    assert found.in_group_share == pytest.approx(0.75)
    assert found.in_group_pooled == pytest.approx(0.6)
    assert found.in_group_expected == 0.9
    # Of the test rows client 0 has 1 of 2 and client 1 has 3 of 4 in classes of its own group.
    tested = measure(table, np.array([0, 1]), np.array([0, 1, 1]), 0.9, np.array([[1, 0, 1], [1, 1, 2]]))
    assert tested.in_group_test == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert found.in_group_test is None
    bare = measure(table)
    assert bare.in_group_share is bare.in_group_pooled is bare.in_group_expected is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clients": 0}, "partition.clients must be at least 1, got 0"),
        ({"min_test": 0}, "partition.min_test must be at least 1"),
        ({"public": 1.0}, r"partition.public must be in \[0, 1\), got 1.0"),
        ({"public": -0.1}, "partition.public"),
        ({"public_keep": 0.0}, "partition.public_keep"),
        ({"max_train": 0}, "partition.max_train must be at least 1, got 0"),
        ({"val_fraction": 1.0}, "partition.val_fraction"),
        ({"val_fraction": float("nan")}, "partition.val_fraction"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SplitSettings(**settings)  # type: ignore[arg-type]


def test_fewer_rows_than_clients_are_refused_early_and_late(labelled: MakeLabelled) -> None:
    with pytest.raises(ConfigError, match="leave 8: ask for fewer clients"):
        check(IID, SplitSettings(clients=9, public=0.2), 2, 10)
    check(IID, SplitSettings(clients=8, public=0.2), 2, 10)
    # 20 training rows are enough for 8 clients; 6 test rows of which 2 are global are not.
    with pytest.raises(ConfigError, match=r"one private test row each; labelled with public=0\.2 has 4"):
        split(labelled([0, 1] * 10, [0, 1] * 3, 2), IID, SplitSettings(clients=8, public=0.2), 0)


def test_checks_need_no_torch() -> None:
    code = (
        "import sys; from fl_bench.datasets import catalogue, partition, split;"
        "split.check(partition.PARTITIONS['iid'](), split.SplitSettings(), 10, 1000); catalogue.listing();"
        "catalogue.check_dataset_name('digits'); catalogue.available('fashion-mnist');"
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'pandas', 'PIL'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_clients_that_are_kept_out_hold_what_they_held(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 100, [0, 1, 2, 3] * 50, 4)
    scheme = PARTITIONS["latent-groups"](groups=2)
    whole = split(dataset, scheme, SplitSettings(clients=10, min_test=5), 3)
    parts = split(dataset, scheme, SplitSettings(clients=10, min_test=5, unseen=0.25), 3)
    assert (whole.unseen, parts.clients) == (None, 8)  # round(2.5) is 2
    unseen = parts.unseen
    assert unseen is not None
    assert sorted(unseen.ids + unseen.others) == list(range(10))
    assert len(unseen.ids) == 2
    for name in ("train", "validation", "test"):
        for ids, lists in ((unseen.others, getattr(parts, name)), (unseen.ids, getattr(unseen, name))):
            assert [rows.tolist() for rows in lists] == [getattr(whole, name)[client].tolist() for client in ids]
    assert whole.groups is not None
    assert parts.groups is not None
    assert (
        parts.groups.open_for_evaluation().tolist() == whole.groups.open_for_evaluation()[list(unseen.others)].tolist()
    )
    assert parts.public.tolist() == whole.public.tolist()
    others = parts.of_unseen()
    assert (others.train, others.test, others.unseen) == (unseen.train, unseen.test, None)
    assert others.public is parts.public
    with pytest.raises(ValueError, match="keeps no client out"):
        whole.of_unseen()
    again = split(dataset, IID, SplitSettings(clients=10, min_test=5, unseen=0.25), 3).unseen
    assert again is not None
    assert again.ids == unseen.ids  # whatever the scheme
    other = split(dataset, IID, SplitSettings(clients=10, min_test=5, unseen=0.25), 4).unseen
    assert other is not None
    assert other.ids != unseen.ids


@pytest.mark.parametrize(("unseen", "clients", "seen"), [(0.0, 5, 5), (0.01, 5, 4), (0.2, 10, 8), (0.9, 10, 1)])
def test_how_many_clients_are_kept_out(unseen: float, clients: int, seen: int) -> None:
    assert SplitSettings(clients=clients, unseen=unseen).seen == seen


@pytest.mark.parametrize(
    ("unseen", "clients", "words"), [(0.5, 1, "keeps all 1 clients out"), (1.0, 5, r"in \[0, 1\)")]
)
def test_somebody_has_to_take_part(unseen: float, clients: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SplitSettings(clients=clients, unseen=unseen)
