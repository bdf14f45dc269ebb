"""Every partition scheme: what must hold for any labels, and each convention by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fl_bench.datasets.dataset import Dataset
from fl_bench.datasets.partition import PARTITIONS, Deal, Partition, Pool, partition
from fl_bench.datasets.scheme import dirichlet
from fl_bench.datasets.split import Split, SplitSettings, class_counts, split
from fl_bench.errors import ConfigError

MakeLabelled = Callable[..., Dataset]
any_labels = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(name: str, **options: object) -> Partition:
    return PARTITIONS[name](**options)


def deal(name: str, labels: list[int], clients: int, seed: int = 0, **options: object) -> Deal:
    """One side only: the same labels for training and test."""
    pool = Pool(np.array(labels))
    return make(name, **options).deal(pool, pool, max(labels) + 1, clients, seed)


def counts(deal: Deal, labels: list[int], clients: int) -> list[list[int]]:
    table = np.zeros((clients, max(labels) + 1), dtype=int)
    np.add.at(table, (deal.train, np.array(labels)), 1)
    return table.tolist()


def rows_of(split: Split) -> np.ndarray:
    return np.concatenate([*split.train, *split.validation, *split.test, split.public, split.global_test])


schemes = st.one_of(
    st.tuples(st.just("iid"), st.just({})),
    st.tuples(st.sampled_from(["dirichlet-class", "dirichlet-class-balanced", "dirichlet-client", "quantity"]),
              st.fixed_dictionaries({"alpha": st.sampled_from([1e-300, 1e-6, 0.01, 0.3, 1.0, 50.0, 1e9, 1e300])})),
    st.tuples(st.just("shards"), st.fixed_dictionaries({"shards_per_client": st.integers(1, 4)})),
    st.tuples(st.just("classes"), st.fixed_dictionaries({"per_client": st.integers(1, 5)})),
    st.tuples(st.just("natural"), st.just({})),
    st.tuples(
        st.just("latent-groups"),
        st.fixed_dictionaries({
            "groups": st.integers(1, 4),
            "alpha": st.sampled_from([1e-300, 0.01, 1.0, 1e300]),
            "mixing": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
            "class_order": st.sampled_from(["sorted", "shuffled"]),
        }),
    ),
)  # fmt: skip


@any_labels
@given(data=st.data(), scheme=schemes, seed=st.integers(0, 2**31))
def test_every_row_is_used_exactly_once_and_the_minimum_sizes_hold(
    labelled: MakeLabelled, data: st.DataObject, scheme: tuple[str, dict[str, object]], seed: int
) -> None:
    classes = data.draw(st.integers(2, 6))
    label = st.integers(0, classes - 1)
    train = data.draw(st.lists(label, min_size=10, max_size=120))
    test = data.draw(st.lists(label, min_size=10, max_size=60))
    natural = data.draw(st.lists(st.integers(0, 5), min_size=len(train + test), max_size=len(train + test)))
    shared = SplitSettings(
        clients=data.draw(st.integers(1, 9)),
        public=data.draw(st.sampled_from([0.0, 0.2, 0.6])),
        val_fraction=data.draw(st.sampled_from([0.0, 0.1, 0.9])),
        min_test=data.draw(st.integers(1, 12)),
    )
    dataset = labelled(train, test, classes, natural)
    refusal = ""
    try:
        parts = split(dataset, make(scheme[0], **scheme[1]), shared, seed)
    except ConfigError as error:
        refusal = str(error)
    if refusal:  # an impossible setting is refused in words, never by a loop without end
        assert "would do" in refusal or "fewer clients" in refusal
        return
    assert np.sort(rows_of(parts)).tolist() == list(range(len(train) + len(test)))
    assert all(rows.max(initial=0) < len(train) for rows in (*parts.train, *parts.validation, parts.public))
    assert all(rows.min(initial=len(train)) >= len(train) for rows in (*parts.test, parts.global_test))
    assert min(map(len, parts.train)) >= 1
    private_test = sum(map(len, parts.test))
    assert min(map(len, parts.test)) >= min(shared.min_test, private_test // shared.clients)
    for kept, held in zip(parts.train, parts.validation, strict=True):
        assert len(held) <= shared.val_fraction * (len(kept) + len(held))
    again = split(dataset, make(scheme[0], **scheme[1]), shared, seed)
    assert again.fingerprint == parts.fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(again.train, parts.train, strict=True))


@pytest.mark.parametrize("name", PARTITIONS.names())
def test_the_seed_moves_the_split_and_nothing_else_does(name: str, labelled: MakeLabelled) -> None:
    train, test = [0, 1, 2, 3] * 40, [0, 1, 2, 3] * 20
    made_for = 4 if name == "planted" else 8  # `planted` joins no clients
    dataset = labelled(train, test, 4, natural=list(range(made_for)) * (240 // made_for))
    options = {"groups": 2} if name == "latent-groups" else {}
    prints = [split(dataset, make(name, **options), SplitSettings(clients=4), seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


@pytest.mark.parametrize("name", PARTITIONS.names())
def test_settings_are_frozen_and_documented(name: str) -> None:
    scheme = PARTITIONS[name]
    assert scheme.name == name
    assert (scheme.__doc__ or "").strip()
    assert "Partition(" not in (scheme.__doc__ or "")  # not the one dataclasses make up
    setting = next(iter(dataclasses.fields(scheme)), None)
    if setting:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scheme(), setting.name, 1)


def test_a_plugin_scheme_is_dealt_like_ours_and_its_mistakes_are_named(labelled: MakeLabelled) -> None:
    @partition("test-modulo")
    @dataclasses.dataclass(frozen=True)
    class Modulo(Partition):
        """Row number modulo clients."""

        off_by: int = 0
        """Added to every owner, to make mistakes with."""

        def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
            owners = [np.arange(len(pool.labels)) % clients + self.off_by for pool in (train, test)]
            return Deal(owners[0], owners[1])

    dataset = labelled([0, 1] * 6, [0, 1] * 6, 2)
    shared = SplitSettings(clients=3, public=0, val_fraction=0)
    # Rows 0..11 dealt in turn: client 0 gets 0, 3, 6, 9.
    assert split(dataset, make("test-modulo"), shared, 0).train[0].tolist() == [0, 3, 6, 9]
    with pytest.raises(ConfigError, match=r"test-modulo.* client in \[0, 3\)"):
        split(dataset, make("test-modulo", off_by=1), shared, 0)


# latent-groups -----------------------------------------------------------------------------------------------------


def test_blocks_of_classes_are_contiguous_and_balanced() -> None:
    blocks = make("latent-groups", groups=5).class_blocks(47, 0)  # type: ignore[attr-defined]
    # methods.md 1.2: 47 classes in 5 groups are 10, 10, 9, 9, 9.
    assert blocks.tolist() == [0] * 10 + [1] * 10 + [2] * 9 + [3] * 9 + [4] * 9


def test_research_blocks_repeat_the_authors_slicing() -> None:
    # methods.md 2.9 Q12: slices of floor(9.4) = 9 classes, keyed by floor(start / 9.4). Starts 0 and 9 both fall to
    # group 0 and the later wins: classes 0-8 are lost, then 18, 27, 36 and 45 start groups 1 to 4.
    blocks = make("latent-groups", groups=5, blocks="research").class_blocks(47, 0)  # type: ignore[attr-defined]
    assert blocks.tolist() == [-1] * 9 + [0] * 9 + [1] * 9 + [2] * 9 + [3] * 9 + [4] * 2


def test_research_blocks_leave_out_samples_of_lost_classes_only(labelled: MakeLabelled) -> None:
    dataset = labelled(list(range(47)) * 10, list(range(47)) * 10, 47)
    parts = split(dataset, make("latent-groups", blocks="research"), SplitSettings(clients=10, public=0.2), 0)
    left = np.setdiff1d(np.arange(940), rows_of(parts))
    # 8 private training and 8 private test samples of each class 0..8; the public pool still shows them.
    assert np.bincount(dataset.labels.numpy()[left]).tolist() == [16] * 9


def test_shuffled_class_order_keeps_the_block_sizes() -> None:
    scheme = make("latent-groups", groups=5, class_order="shuffled")
    orders = [scheme.class_blocks(47, seed) for seed in (0, 0, 1)]  # type: ignore[attr-defined]
    assert np.bincount(orders[0]).tolist() == [10, 10, 9, 9, 9]
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()
    assert orders[0].tolist() != sorted(orders[0].tolist())


def test_without_mixing_a_client_holds_its_own_block_only(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1, 2, 3] * 50, [0, 1, 2, 3] * 50, 4)
    scheme = make("latent-groups", groups=2, alpha=100.0, mixing=0.0)
    parts = split(dataset, scheme, SplitSettings(clients=4, min_test=1), 3)
    held = class_counts(dataset, parts) > 0
    assert held.tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2
    assert parts.groups is not None
    assert parts.groups.open_for_evaluation().tolist() == [0, 0, 1, 1]
    assert parts.measured.in_group_share == parts.measured.in_group_expected == 1.0


def test_the_in_group_share_is_the_expected_one(labelled: MakeLabelled) -> None:
    # 1 - m (1 - 1/G) = 1 - 0.1 * 0.8 = 0.92. Equal shares (alpha -> infinity) of 10 equal classes over 25 clients
    # give 400 samples per client, 40 of which go to the pool and 40 come back, a fifth of them of the own group.
    dataset = labelled(list(range(10)) * 1000, list(range(10)) * 100, 10)
    parts = split(dataset, make("latent-groups", alpha=1e300), SplitSettings(public=0, val_fraction=0), 1)
    assert parts.measured.in_group_expected == pytest.approx(0.92)
    assert parts.measured.in_group_share == pytest.approx(0.92, abs=0.01)
    assert parts.measured.in_group_pooled == pytest.approx(0.92, abs=0.01)
    assert parts.measured.size_cv == 0


def test_mixing_gives_the_rounded_down_share_and_deals_the_pool_evenly() -> None:
    # One group: 2 clients, alpha -> infinity, 30 samples: 15 each. m = 0.5: each gives floor(7.5) = 7, the pool of 14
    # comes back 7 and 7. With m = 1 everything is dealt anew, 15 and 15.
    for mixing in (0.5, 1.0):
        owners = deal("latent-groups", [0] * 30, 2, groups=1, alpha=1e300, mixing=mixing).train
        assert np.bincount(owners).tolist() == [15, 15]
    before = deal("latent-groups", [0] * 30, 2, groups=1, alpha=1e300, mixing=0.0).train
    after = deal("latent-groups", [0] * 30, 2, groups=1, alpha=1e300, mixing=0.5).train
    assert 0 < (before != after).sum() <= 14


def test_test_data_are_mixed_by_the_same_rule(labelled: MakeLabelled) -> None:
    # m = 1 deals everything anew: 200 test samples of each of 4 classes over 4 clients are about 50 each, of the
    # other group's classes as well.
    dataset = labelled([0, 1, 2, 3] * 200, [0, 1, 2, 3] * 200, 4)
    scheme = make("latent-groups", groups=2, mixing=1.0)
    parts = split(dataset, scheme, SplitSettings(clients=4, public=0), 0)
    labels = dataset.labels.numpy()
    test = np.stack([np.bincount(labels[rows], minlength=4) for rows in parts.test])
    assert test.sum(axis=1).tolist() == [200] * 4
    assert np.abs(test - 50).max() < 25


def test_test_data_follow_the_same_shares(labelled: MakeLabelled) -> None:
    # Without mixing and minimum size, every class has the same shares w on both sides; equal pools are dealt alike.
    dataset = labelled([0, 1, 2, 3] * 500, [0, 1, 2, 3] * 500, 4)
    scheme = make("latent-groups", groups=2, alpha=0.7, mixing=0.0)
    parts = split(dataset, scheme, SplitSettings(clients=10, min_test=1, val_fraction=0), 5)
    labels = dataset.labels.numpy()
    test = np.stack([np.bincount(labels[rows], minlength=4) for rows in parts.test])
    # Clients below the minimum of one test row take one from another; everything else is equal.
    assert np.abs(test - class_counts(dataset, parts)).sum() <= 10


@pytest.mark.parametrize(
    ("options", "clients", "classes", "message"),
    [
        ({"groups": 5}, 12, 10, "5 groups do not divide 12 clients; 10 or 15 clients would do"),
        ({"groups": 5}, 3, 10, "5 groups do not divide 3 clients; 5 clients would do"),
        ({"groups": 5}, 10, 4, "at most 4 groups would do"),
    ],
)
def test_impossible_groups_are_refused(options: dict[str, int], clients: int, classes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make("latent-groups", **options).check(clients, classes, None)


# the other schemes -------------------------------------------------------------------------------------------------


def test_iid_sizes_differ_by_at_most_one() -> None:
    assert np.bincount(deal("iid", [0, 1] * 8 + [0], 5).train).tolist() == [4, 4, 3, 3, 3]


def test_dirichlet_class_with_huge_alpha_is_even_and_with_tiny_alpha_is_one_holder() -> None:
    labels = [0] * 40 + [1] * 40
    assert counts(deal("dirichlet-class", labels, 4, alpha=1e300), labels, 4) == [[10, 10]] * 4
    assert sorted(np.max(counts(deal("dirichlet-class", labels, 4, alpha=1e-300), labels, 4), axis=0)) == [40, 40]


@pytest.mark.parametrize("alpha", [1e-300, 0.05, 0.5])
def test_dirichlet_class_balanced_stops_at_the_average_size(alpha: float) -> None:
    # 160 samples on 8 clients: whoever holds 20 before a class is dealt gets nothing of it. Plain dirichlet-class
    # has no such rule.
    labels = [0] * 40 + [1] * 40 + [2] * 40 + [3] * 40
    for name, expected in (("dirichlet-class-balanced", False), ("dirichlet-class", True)):
        tables = [np.array(counts(deal(name, labels, 8, seed, alpha=alpha), labels, 8)) for seed in range(30)]
        before = [np.cumsum(table, axis=1) - table for table in tables]
        overfull = [((held >= 20) & (table > 0)).any() for held, table in zip(before, tables, strict=True)]
        assert any(overfull) == expected


def test_dirichlet_client_sizes_are_equal_and_mixes_follow_alpha() -> None:
    labels = [0, 1, 2, 3] * 50
    near = np.array(counts(deal("dirichlet-client", labels, 10, alpha=1e300), labels, 10))
    far = np.array(counts(deal("dirichlet-client", labels, 10, alpha=0.01), labels, 10))
    assert near.sum(axis=1).tolist() == far.sum(axis=1).tolist() == [20] * 10
    # A client draws about 5 of each of 4 classes, or nearly always the same class (until that is used up).
    assert near.min() > 0
    assert np.median(far.max(axis=1)) > 10 > np.median(near.max(axis=1))


def test_shards_give_each_client_runs_of_the_sorted_samples() -> None:
    # 4 classes of 30, 3 clients with 2 shards: 6 shards of 20. Sorted, shard s covers [20 s, 20 s + 20).
    labels = [0] * 30 + [1] * 30 + [2] * 30 + [3] * 30
    table = counts(deal("shards", labels, 3, shards_per_client=2), labels, 3)
    shards = [(20, 0, 0, 0), (10, 10, 0, 0), (0, 20, 0, 0), (0, 0, 20, 0), (0, 0, 10, 10), (0, 0, 0, 20)]
    pairs = {tuple(np.add(a, b)) for i, a in enumerate(shards) for b in shards[i + 1 :]}
    assert all(tuple(row) in pairs for row in table)
    assert np.sum(table) == 120


def test_classes_gives_k_classes_to_each_and_an_equal_share_to_each_holder() -> None:
    # 6 clients * 2 classes over 4 classes of 30: every class has 3 holders, each holder gets 10.
    labels = [0] * 30 + [1] * 30 + [2] * 30 + [3] * 30
    for seed in range(5):
        table = np.array(counts(deal("classes", labels, 6, seed, per_client=2), labels, 6))
        assert (table > 0).sum(axis=1).tolist() == [2] * 6
        assert set(table[table > 0].tolist()) == {10}


def test_quantity_skews_sizes_and_not_classes(labelled: MakeLabelled) -> None:
    dataset = labelled([0, 1] * 2000, [0, 1] * 1000, 2)
    shared = SplitSettings(clients=4, public=0, val_fraction=0, min_test=1)
    parts = split(dataset, make("quantity", alpha=1.0), shared, 3)
    assert parts.measured.size_cv > 0.2
    assert parts.measured.total_variation_mean < 0.05
    # Test sizes are the same shares of half as many rows.
    assert np.array([len(rows) for rows in parts.test]) == pytest.approx([len(rows) / 2 for rows in parts.train], abs=1)


def test_natural_keeps_clients_whole_and_joins_the_smallest(labelled: MakeLabelled) -> None:
    # Original clients 10, 20, 30 with 6, 3 and 2 training rows on 2 clients: 10 alone, then 20, then 30 to 20's.
    natural = [10] * 6 + [20] * 3 + [30] * 2
    dataset = labelled([0, 1] * 5 + [0], [0, 1] * 5 + [0], 2, natural=[*natural, *natural])
    parts = split(dataset, make("natural"), SplitSettings(clients=2, public=0, val_fraction=0, min_test=1), 0)
    assert parts.train[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert parts.train[1].tolist() == [6, 7, 8, 9, 10]
    assert (parts.test[0] - 11).tolist() == [0, 1, 2, 3, 4, 5]


def test_test_rows_follow_training_shares_without_favouring_the_first_clients() -> None:
    # 25 clients with one training sample of each of 10 classes; 5 test samples per class, due 0.2 each per class.
    # Rounding class by class alone would give all 50 to clients 0..4; carried along, everyone gets 2.
    train = Pool(np.repeat(np.arange(10), 25))
    test = Pool(np.repeat(np.arange(10), 5))
    owners = make("classes", per_client=10).deal(train, test, 10, 25, 0)
    assert np.bincount(owners.train, minlength=25).tolist() == [10] * 25
    assert np.bincount(owners.test, minlength=25).tolist() == [2] * 25


@pytest.mark.parametrize(
    ("name", "options"),
    [("shards", {}), ("classes", {}), ("dirichlet-client", {"alpha": 0.3})],
)
def test_following_test_data_brings_no_client_a_class_it_lacks(name: str, options: dict[str, float]) -> None:
    train, test = Pool(np.repeat(np.arange(7), 31)), Pool(np.repeat(np.arange(7), 11))
    for seed in range(20):
        owners = make(name, **options).deal(train, test, 7, 9, seed)
        held = {(int(c), int(y)) for c, y in zip(owners.train, train.labels, strict=True)}
        assert {(int(c), int(y)) for c, y in zip(owners.test, test.labels, strict=True)} <= held


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("latent-groups", {"groups": 0}, "groups must be at least 1"),
        ("latent-groups", {"mixing": 1.5}, r"mixing must be in \[0, 1\], got 1.5"),
        ("latent-groups", {"alpha": float("nan")}, "alpha must be a finite number above 0"),
        ("latent-groups", {"class_order": "random"}, "one of sorted, shuffled"),
        ("dirichlet-class", {"alpha": 0}, "dirichlet-class.alpha must be a finite number above 0, got 0"),
        ("dirichlet-class-balanced", {"alpha": -1}, "dirichlet-class-balanced.alpha"),
        ("dirichlet-client", {"alpha": float("inf")}, "dirichlet-client.alpha"),
        ("quantity", {"alpha": 0}, "quantity.alpha"),
        ("shards", {"shards_per_client": 0}, "shards.shards_per_client"),
        ("classes", {"per_client": 0}, "classes.per_client"),
    ],
)
def test_impossible_values_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(name, **options)


def test_counts_that_cannot_work_are_refused_early() -> None:
    with pytest.raises(ConfigError, match="at least 4 classes per client would do"):
        make("classes", per_client=2).check(3, 10, None)
    with pytest.raises(ConfigError, match="at most 10 would do"):
        make("classes", per_client=11).check(3, 10, None)
    with pytest.raises(ConfigError, match="at most 3 shards per client would do"):
        make("shards", shards_per_client=4).check(10, 10, 39)


def test_natural_without_or_with_too_few_clients_is_refused(labelled: MakeLabelled) -> None:
    bare = labelled([0, 1] * 8, [0, 1] * 8, 2)
    with pytest.raises(ConfigError, match="no client column"):
        split(bare, make("natural"), SplitSettings(clients=2), 0)
    named = labelled([0, 1] * 8, [0, 1] * 8, 2, natural=[0, 1, 2, 3] * 8)
    with pytest.raises(ConfigError, match="5 clients were asked for, the training rows name 4; at most 4"):
        split(named, make("natural"), SplitSettings(clients=5, public=0), 0)


@given(seed=st.integers(0, 1000), exponent=st.integers(-307, 308), parts=st.integers(1, 60))
@example(seed=0, exponent=308, parts=60)  # the sum of the concentrations is beyond the largest float
def test_dirichlet_always_sums_to_one(seed: int, exponent: int, parts: int) -> None:
    stream = np.random.Generator(np.random.Philox(key=seed))
    draw = dirichlet(stream, np.full(parts, 10.0**exponent))
    assert draw.shape == (parts,)
    assert (draw >= 0).all()
    assert draw.sum() == pytest.approx(1)


def test_a_large_federation_is_dealt_in_seconds(labelled: MakeLabelled) -> None:
    dataset = labelled(list(range(100)) * 500, list(range(100)) * 100, 100)
    for name in PARTITIONS.names():
        if name not in ("natural", "planted", "test-modulo"):
            parts = split(dataset, make(name), SplitSettings(clients=500, min_test=15), 0)
            assert min(map(len, parts.test)) >= 15
