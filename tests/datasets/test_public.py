"""The public pool's settings, which rows it takes, and its doses: nested, counted by hand, private rows untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from fl_bench.datasets.catalogue import Facts
from fl_bench.datasets.dataset import Dataset, build_dataset
from fl_bench.datasets.doses import NO_LABEL, dosed
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.public import PublicSettings
from fl_bench.datasets.split import Split, SplitSettings, check, split
from fl_bench.errors import ConfigError, DataError

MakeLabelled = Callable[..., Dataset]
IID = PARTITIONS["iid"]()


@pytest.fixture
def four(labelled: MakeLabelled) -> Dataset:
    """100 training rows and 10 test rows of each of four classes; a share of 0.2 holds out 20 of each class."""
    return labelled([0, 1, 2, 3] * 100, [0, 1, 2, 3] * 10, 4)


def pictures(name: str, rows: int, value: int, stored: type = np.uint8) -> Dataset:
    """Images of 2 x 3 pixels that all have one value."""
    inputs = np.full((rows, 1, 2, 3), value).astype(stored)
    return build_dataset(name, inputs, np.arange(rows) % 2, source="made by a test", train_size=rows - 10)


def dealt(dataset: Dataset, pool: float | PublicSettings, foreign: Dataset | None = None, **changes: Any) -> Any:
    """The data set and its split, with a public pool."""
    settings = SplitSettings(clients=2, public=pool, **changes)
    return dosed(dataset, split(dataset, IID, settings, 0), settings, 0, foreign)


def private(parts: Split) -> list[list[int]]:
    """All that clients hold, and the global test rows."""
    return [rows.tolist() for rows in (*parts.train, *parts.validation, *parts.test, parts.global_test)]


@pytest.mark.parametrize(
    "pool",
    [
        PublicSettings(size=30),
        PublicSettings(missing=(1, 3), removed=0.5),
        PublicSettings(noise=5, shift=2, scale=1),
        PublicSettings(from_="other", foreign=0.4),
        PublicSettings(from_="other", missing=1, size=40, noise=1),
    ],
)
def test_a_dose_changes_nothing_but_the_pool(four: Dataset, labelled: MakeLabelled, pool: PublicSettings) -> None:
    data, parts = dealt(four, pool, labelled([0] * 200, [0] * 5, 4) if pool.from_ else None)
    before, plain = dealt(four, 0.2)
    assert before is four
    assert plain.pool is None
    assert private(parts) == private(plain)
    assert torch.equal(data.inputs[: len(four.inputs)], four.inputs)
    assert torch.equal(data.labels[: len(four.labels)], four.labels)
    assert (data.train_size, data.about) == (four.train_size, four.about)
    assert parts.fingerprint != plain.fingerprint


def test_a_mapping_of_the_share_alone_is_the_share(four: Dataset) -> None:
    plain, mapped = dealt(four, 0.3)[1], dealt(four, PublicSettings(share=0.3))[1]
    assert mapped.fingerprint == plain.fingerprint
    assert mapped.public.tolist() == plain.public.tolist()


def test_a_smaller_pool_is_the_beginning_of_a_larger_one(four: Dataset) -> None:
    whole, small = dealt(four, 0.2)[1].public, dealt(four, PublicSettings(size=30))[1].public
    assert len(whole) == 80
    assert small.tolist() == whole[:30].tolist()


def test_missing_classes_by_hand(four: Dataset) -> None:
    # ceil(0.25 * 20) = 5 samples of classes 1 and 3 leave, those at the end of the frozen order.
    labels, whole = four.labels.numpy(), dealt(four, 0.2)[1].public
    _, parts = dealt(four, PublicSettings(missing=(3, 1), removed=0.25))
    assert np.bincount(labels[parts.public]).tolist() == [20, 15, 20, 15]
    last = {row for label in (1, 3) for row in whole[labels[whole] == label][-5:].tolist()}
    assert parts.public.tolist() == [row for row in whole.tolist() if row not in last]
    assert (parts.pool.missing_classes, parts.pool.removed, parts.pool.samples) == ((1, 3), 0.25, 70)
    _, without = dealt(four, PublicSettings(missing=(1, 3)))
    assert np.bincount(labels[without.public], minlength=4).tolist() == [20, 0, 20, 0]


def test_others_take_the_place_of_missing_classes_while_there_are_any(four: Dataset) -> None:
    labels = four.labels.numpy()
    for pool, keep in ((PublicSettings(size=36, missing=(0,)), 1.0), (PublicSettings(missing=(0,)), 0.45)):
        _, parts = dealt(four, pool, public_keep=keep)
        assert len(parts.public) == 36  # 0.45 of 80
        assert 0 not in labels[parts.public]
    with pytest.raises(ConfigError, match="asks for 61 samples, but missing classes leave 60 of the 80"):
        dealt(four, PublicSettings(size=61, missing=(0,)))


def test_more_missing_classes_are_the_same_ones_and_more(four: Dataset) -> None:
    for seed in range(5):
        drawn = [PublicSettings(missing=count).missing_classes(10, seed) for count in range(10)]
        assert [len(classes) for classes in drawn] == list(range(10))
        assert all(set(fewer) < set(more) for fewer, more in pairwise(drawn))
    assert len({tuple(PublicSettings(missing=1).missing_classes(10, seed)) for seed in range(20)}) > 1
    _, parts = dealt(four, PublicSettings(missing=2))
    assert len(set(four.labels[parts.public].tolist())) == 2


def test_foreign_samples_replace_a_share_of_the_pool_and_have_no_label() -> None:
    own, other = pictures("own", 110, 7), pictures("other", 60, 200)
    pools = {}
    for share, count in ((0.3, 6), (0.62, 13), (1.0, 20)):  # ceil of 6, 12.4 and 20 of 20 samples
        data, parts = dealt(own, PublicSettings(from_="other", foreign=share), other)
        assert len(parts.public) == 20
        found = data.inputs[parts.public]
        foreign = (found == 200).all(dim=(1, 2, 3))
        assert int(foreign.sum()) == count == parts.pool.foreign
        assert (data.labels[parts.public] == NO_LABEL).tolist() == foreign.tolist()
        assert bool((found[~foreign] == 7).all())
        pools[share] = set(foreign.nonzero().flatten().tolist())
    assert pools[0.3] < pools[0.62] < pools[1.0]  # a stronger dose replaces what a weaker one does, and more
    assert (parts.pool.source, parts.pool.source_fingerprint) == ("other", other.about.fingerprint)


def test_foreign_samples_are_training_rows_each_at_most_once(labelled: MakeLabelled, four: Dataset) -> None:
    other = labelled([0] * 80, [0] * 100, 4)  # its feature is the row number, standardised
    data, parts = dealt(four, PublicSettings(from_="other"), other)
    found = data.inputs[parts.public].flatten().tolist()
    assert sorted(found) == other.inputs[:80].flatten().tolist()
    assert found != sorted(found)
    with pytest.raises(DataError, match="asks for 80 samples of labelled, which has 79 training rows"):
        dealt(four, PublicSettings(from_="other"), labelled([0] * 79, [0] * 100, 4))


def test_foreign_images_are_stored_as_the_own_ones_are() -> None:
    own, other = pictures("own", 110, 51), pictures("other", 60, 1, np.float32)
    data, parts = dealt(own, PublicSettings(from_="other"), other)
    assert data.inputs.dtype == torch.uint8
    assert bool((data.inputs[parts.public] == 255).all())
    data, parts = dealt(other, PublicSettings(from_="own"), own)
    assert data.inputs.dtype == torch.float32
    assert data.inputs[parts.public].unique().tolist() == [pytest.approx(0.2)]  # 51 / 255


def test_a_data_set_of_another_shape_is_refused_early_and_late(four: Dataset) -> None:
    pool = PublicSettings(from_="pictures")
    told = r"samples of pictures \(image, shape \(1, 2, 3\)\), but labelled is tabular of shape \(1,\): name"
    with pytest.raises(DataError, match=told):
        dealt(four, pool, pictures("pictures", 60, 1))
    own = Facts("labelled", "", "tabular", (1,), 4, 400, 40, "bundled", "labelled")
    foreign = Facts("pictures", "", "image", (1, 2, 3), 2, 50, 10, "bundled", "pictures")
    with pytest.raises(ConfigError, match=told):
        pool.check_foreign(own, foreign)
    pool.check_foreign(own, replace(foreign, shape=None, modality=None))  # known when it is loaded


def test_texts_of_another_vocabulary_are_refused_early_and_late() -> None:
    def texts(name: str, vocabulary: int) -> Dataset:
        tokens, labels = np.arange(120).reshape(60, 2) % 5, np.arange(60) % 2
        return build_dataset(name, tokens, labels, source="made", train_size=40, vocabulary=vocabulary)

    pool, told = PublicSettings(from_="other"), "texts of other, which has 7 different tokens, and own has 6: name"
    with pytest.raises(DataError, match=told):
        dealt(texts("own", 6), pool, texts("other", 7))
    own, other = (
        Facts(name, "", "text", (2,), 2, 40, 20, "bundled", name, v) for name, v in (("own", 6), ("other", 7))
    )
    with pytest.raises(ConfigError, match=told):
        pool.check_foreign(own, other)
    pool.check_foreign(own, replace(other, vocabulary=None))  # known when it is loaded
    dealt(texts("own", 6), pool, texts("other", 6))


def test_public_inputs_are_changed_in_the_open_and_keep_their_labels() -> None:
    own = pictures("own", 110, 255)
    data, parts = dealt(own, PublicSettings(contrast=5, invert=5))
    # A constant image stays as it is without contrast, and its negative is 0.
    assert bool((data.inputs[parts.public] == 0).all())
    assert bool((data.inputs[: len(own.inputs)] == 255).all())
    plain = dealt(own, 0.2)[1].public
    assert data.labels[parts.public].tolist() == own.labels[plain].tolist()
    assert parts.pool.changes == {"contrast": 5, "invert": 5}


def test_pools_of_the_same_inputs_have_one_fingerprint(four: Dataset) -> None:
    first, again, other = (dealt(four, PublicSettings(noise=noise))[1] for noise in (1, 1, 2))
    assert first.pool == again.pool
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.pool.fingerprint != other.pool.fingerprint


def test_rows_of_natural_clients_stay_theirs(labelled: MakeLabelled) -> None:
    hospital = [0] * 40 + [1] * 60
    data = labelled([0, 1] * 50, [0, 1] * 20, 2, natural=[*hospital, *[0, 1] * 20])
    settings = SplitSettings(clients=2, public=PublicSettings(noise=2), val_fraction=0)
    plain = split(data, PARTITIONS["natural"](), replace(settings, public=0.2), 0)
    changed, parts = dosed(data, split(data, PARTITIONS["natural"](), settings, 0), settings, 0)
    assert private(parts) == private(plain)
    assert changed.natural is not None
    assert data.natural is not None
    assert changed.natural[parts.public].tolist() == data.natural[plain.public].tolist()


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        (PublicSettings(from_="x"), PublicSettings(from_="x", foreign=1.0)),
        (PublicSettings(from_="x", foreign=0), PublicSettings()),
        (PublicSettings(missing=(2, 1)), PublicSettings(missing=(1, 2), removed=1.0)),
        (PublicSettings(missing=(2, 1), removed=0), PublicSettings()),
        (PublicSettings(missing=0, removed=1.0, noise=2), PublicSettings(noise=2)),
    ],
)
def test_one_pool_has_one_spelling(given: PublicSettings, canonical: PublicSettings) -> None:
    assert given.canonical() == canonical


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, r"partition.public.share must be in \[0, 1\), got 1.0"),
        ({"size": 0}, "partition.public.size must be at least 1, got 0"),
        ({"foreign": 0.5}, "partition.public.foreign is 0.5, but partition.public.from names no data set for it"),
        ({"foreign": 1.5, "from_": "x"}, r"partition.public.foreign must be in \[0, 1\], got 1.5"),
        ({"removed": 0.5}, "partition.public.removed is 0.5, but partition.public.missing names no classes"),
        ({"removed": -1, "missing": 1}, r"partition.public.removed must be in \[0, 1\]"),
        ({"missing": -1}, r"must be a number of classes or a list of classes from 0 on, each once, got -1"),
        ({"missing": (1, 1)}, r"each once, got \[1, 1\]"),
        ({"noise": 6}, "partition.public.noise must be a severity from 0 to 5, got 6"),
        ({"scale": -1}, "partition.public.scale must be a severity"),
        ({"share": 0, "noise": 1}, "partition.public.share is 0, so there is no pool to change"),
    ],
)
def test_impossible_pools_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PublicSettings(**settings)


def test_one_pool_has_one_size() -> None:
    with pytest.raises(ConfigError, match=r"public.size=5 and partition.public_keep=0.5 are two sizes of one pool"):
        SplitSettings(public=PublicSettings(size=5), public_keep=0.5)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        # 0.2 of 1000 rows is 200, and each of 10 classes may round it up by one.
        (PublicSettings(size=211), "asks for 211 samples, but a share of 0.2 of 1000 rows holds out 210"),
        (PublicSettings(missing=(3, 10)), "names class 10, but there are 0 to 9"),
        (PublicSettings(missing=10), "takes 10 of 10 classes out of the pool and leaves nothing: ask for at most 9"),
        (PublicSettings(missing=11, removed=0.5), "takes 11 of 10 classes"),
    ],
)
def test_what_cannot_be_had_is_known_before_data_are_loaded(pool: PublicSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(IID, SplitSettings(clients=5, public=pool), 10, 1000)
    check(IID, SplitSettings(clients=5, public=PublicSettings(size=210, missing=10, removed=0.5)), 10, 1000)


@pytest.mark.parametrize(
    ("modality", "change", "known"),
    [
        ("image", "scale", "shift, blur, contrast, invert, noise"),
        ("tabular", "blur", "scale, shift, noise"),
        ("sequence", "invert", "scale, shift, noise"),
        ("text", "shift", "noise"),
    ],
)
def test_a_change_that_the_data_do_not_have_is_refused(modality: str, change: str, known: str) -> None:
    pool = PublicSettings(**{change: 2})
    with pytest.raises(ConfigError, match=f"public.{change} does not exist for {modality} data such as x; there are"):
        pool.check_changes("x", modality)
    pool.check_changes("x", None)


def test_sizes_are_counted_before_any_data_are_loaded() -> None:
    def rows(pool: PublicSettings, **changes: Any) -> int:
        return SplitSettings(public=pool, **changes).public_rows(1000, 10)

    assert rows(PublicSettings()) == rows(PublicSettings(noise=3)) == 200
    assert rows(PublicSettings(size=30)) == 30
    assert rows(PublicSettings(missing=(1, 2, 3), removed=0.5)) == 170  # 200 less half of three tenths
    assert rows(PublicSettings(missing=3, size=150)) == 140
    assert rows(PublicSettings(missing=3), public_keep=0.5) == 100
