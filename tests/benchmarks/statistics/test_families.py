"""Families of data sets: one observation each, whatever rests on it; and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.statistics import bayes, effects, study
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.families import regrouped
from fl_bench.benchmarks.statistics.population import population
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fl_bench.benchmarks.statistics.table import Table

    MakeTable = Callable[..., Table]


@pytest.fixture(autouse=True, scope="module")
def few_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "DRAWS", 200)
        patch.setattr(effects, "DRAWS", 200)
        patch.setattr(bayes, "DRAWS", 1000)
        yield


@pytest.fixture
def twins(table_of: MakeTable) -> Table:
    """Method a is ahead by 1 on seven data sets and by 2 on two twins of one family, t and u."""
    ahead = [1, 1, 1, 1, 1, 1, 1, 2, 2]
    values = np.array([[[70.0 + place + gain, 70.0 + place]] for place, gain in enumerate(ahead)])
    table = table_of(values, methods=["a", "b"], datasets=["l", "m", "n", "o", "p", "q", "r", "t", "u"])
    return table.with_families({"t": "twins", "u": "twins"})


def test_a_family_is_averaged_and_counts_once(twins: Table) -> None:
    result = compare(twins, Options(control="b"))
    assert result.blocks == ("l", "m", "n", "o", "p", "q", "r", "t+u")
    assert (result.counts.blocks, result.counts.families, result.counts.datasets) == (8, 8, 9)
    (pair,) = result.primary
    assert (pair.blocks, pair.p) == (8, 2**-7)
    (effect,) = result.effects
    assert effect.difference == (7 * 1 + 2) / 8  # not (7 + 2 * 2) / 9
    assert (effect.wins, effect.ties, effect.losses) == (1, 7, 0)
    assert [left.dataset for left in result.left_out][-1] == "t+u"
    assert "t and u are one family, twins: one observation, averaged first" in result.notes
    assert result.verdicts[0].startswith("a is better than b on 8 families (9 data sets): +")


def test_signs_of_a_family_turn_together(twins: Table) -> None:
    # |d| = 1 seven times (rank 4 each) and 2 twice (rank 8.5 each); all signs agree, so p = 2 / 2^8 over 8 families.
    (pair,) = compare(twins, Options(control="a", blocks="cluster")).primary
    assert (pair.blocks, pair.w_plus, pair.w_minus, pair.p) == (8, 0.0, 45.0, 2**-7)
    (other,) = compare(twins, Options(control="b", blocks="cluster")).primary
    assert (other.w_plus, other.w_minus, other.p) == (45.0, 0.0, 2**-7)


def test_data_sets_as_blocks_are_possible_and_warned_of(twins: Table) -> None:
    result = compare(twins, Options(control="a", blocks="dataset"))
    (pair,) = result.primary
    assert (pair.blocks, pair.p, result.counts.families) == (9, 2**-8, 9)
    assert any(note.startswith("data sets of one family count as independent") for note in result.notes)
    assert not any(note.startswith("data sets of one") for note in compare(twins, Options(control="a")).notes)


def test_power_counts_families(table_of: MakeTable) -> None:
    values = np.random.default_rng(0).normal(70, 1, (6, 1, 2))
    table = table_of(values, methods=["a", "b"]).with_families({"d00": "x", "d01": "x"})
    (family,) = compare(table, Options(control="a")).power
    assert family.sentence.startswith("against the control: with 5 families, no signed-rank test can reach .05")
    assert compare(table, Options(control="a", blocks="dataset")).power[0].attainable


def test_data_sets_of_a_family_weigh_alike_whatever_their_settings(table_of: MakeTable) -> None:
    values = np.array([[[1.0]], [[3.0]], [[10.0]]])
    table = table_of(values, datasets=["x", "x", "y"], settings=["1", "2", "1"]).with_families({"x": "f", "y": "f"})
    assert table.block_means("family").tolist() == [[6.0]]  # the mean of 2 and 10
    assert table.block_means("dataset").tolist() == [[2.0], [10.0]]
    draws = effects.bootstrap_means(table, 4000, np.random.default_rng(0))
    assert draws.mean() == pytest.approx(6.0, abs=0.2)
    assert set(np.unique(draws)) == {1.0, 1.5, 2.0, 2.5, 3.0, 5.5, 6.0, 6.5, 10.0}  # x or y, twice


def test_a_family_that_lacks_a_data_set_of_a_method_has_no_number_of_it(table_of: MakeTable) -> None:
    values = np.array([[[1.0, 2.0]], [[3.0, np.nan]], [[5.0, 6.0]]])
    means = table_of(values).with_families({"d00": "f", "d01": "f"}).block_means("family")
    assert means[0, 0] == 2.0
    assert np.isnan(means[0, 1])
    assert means[1].tolist() == [5.0, 6.0]


def test_seeds_pair_within_a_family_for_the_hierarchical_model(table_of: MakeTable) -> None:
    values = np.random.default_rng(0).normal(70, 1, (4, 5, 2))
    table = table_of(values, methods=["a", "b"])
    assert {found.model for found in compare(table, Options(control="a")).predictions} >= {"blocks", "scale-free"}
    notes = compare(table.with_families({"d00": "f", "d01": "f", "d02": "f"}), Options(control="a")).notes
    assert any("the least are 5 on 2" in note for note in notes)  # families, of which three are needed


def test_known_overlaps_are_named(table_of: MakeTable) -> None:
    values = np.random.default_rng(0).normal(70, 1, (2, 1, 2))
    table = table_of(values, methods=["a", "b"], datasets=["digits", "optdigits"])
    rows = "all 1797 rows of digits are rows of optdigits"
    apart = compare(table, Options(control="a")).notes
    assert f"{rows}: they count as two observations here and are not independent" in apart
    together = compare(table.with_families({"digits": "optdigits"}), Options(control="a")).notes
    assert f"digits and optdigits are one family, optdigits: one observation, averaged first; {rows}" in together


def test_families_can_be_named(table_of: MakeTable) -> None:
    table = table_of(np.ones((4, 1, 1)), datasets=["CIFAR10", "CIFAR100", "MNIST", "USPS"])
    found = regrouped(table, ["CIFAR", "MNIST=digits", "USPS=digits"])
    assert found.families == {"CIFAR": ("CIFAR10", "CIFAR100"), "digits": ("MNIST", "USPS")}
    assert found.family_labels() == ("CIFAR10+CIFAR100", "MNIST+USPS")
    for asked, message in (
        (["CIFAR10=a", "CIFAR=b", "SVHN=c"], "'CIFAR=b' names no data set"),
        (["CIFAR", "CIFAR10=b"], "puts CIFAR10 into two families"),
        (["MNIST="], "names no data set"),
    ):
        with pytest.raises(ConfigError, match=message):
            regrouped(table, asked)


def test_large_families_have_short_names(table_of: MakeTable) -> None:
    table = table_of(np.ones((5, 1, 1))).with_families({f"d{place:02d}": "big" for place in range(4)})
    assert table.family_labels() == ("big (4 data sets)", "d04")


def test_the_population_in_a_phrase(table_of: MakeTable) -> None:
    table = table_of(np.ones((3, 1, 1)))
    assert population(table) == "3 data sets"
    told = replace(table, conditions=tuple(replace(at, network="mlp-64", partition="iid") for at in table.conditions))
    assert population(told) == "3 data sets, mlp-64, iid"
    family = told.with_families({"d00": "f", "d01": "f"})
    assert population(family) == "2 families (3 data sets), mlp-64, iid"
    assert population(family, "family", 1) == "1 family, mlp-64, iid"  # of a pair that lacks a family
    assert population(family, "dataset") == "3 data sets, mlp-64, iid"
    assert population(family, "setting") == "3 blocks, mlp-64, iid"
    one, *rest = told.conditions
    two = replace(told, conditions=(replace(one, network="cnn", partition="dirichlet-class 0.1"), *rest))
    assert population(two) == "3 data sets, cnn and mlp-64, dirichlet-class 0.1 and iid"


def test_a_verdict_without_a_family_is_one_without_all_its_data_sets(table_of: MakeTable) -> None:
    # Eleven data sets of which a loses the three smallest are enough (p = 28 / 2048), and a family of two that it loses
    # by most undoes that: without the family, not without one of the two, the verdict is there.
    values = np.full((13, 1, 2), 50.0)
    values[:, 0, 0] += [-1, -2, -3, 4, 5, 6, 7, 8, 9, 10, 11, -12, -12]
    table = table_of(values, methods=["a", "b"]).with_families({"d11": "f", "d12": "f"})
    result = compare(table, Options(control="a"))
    assert [part.dataset for part in result.left_out][-1] == "d11+d12"
    assert {part.dataset: part.gained for part in result.left_out if part.gained} == {"d11+d12": ("b",)}
    assert "A verdict depends on one family: it changes without d11+d12." in result.summary


def test_intervals_need_families(table_of: MakeTable) -> None:
    values = np.random.default_rng(0).normal(70, 1, (6, 1, 2))
    table = table_of(values, methods=["a", "b"])
    assert compare(table, Options(control="a")).effects[0].low is not None
    together = compare(table.with_families({"d00": "f", "d01": "f"}), Options(control="a"))
    assert together.effects[0].low is None  # five families: all lie on one side of the truth with probability 1/16
    assert together.ranks[0].low is None
    assert "no intervals over families: from 5 none can hold 95 %, 6 are needed" in together.notes
