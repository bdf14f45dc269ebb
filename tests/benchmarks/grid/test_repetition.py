"""The name of a repetition, its order, and what it leaves out of a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.repetition import Repetition
from fl_bench.streams import FACTORS, Seeds

seeds = st.integers(0, 10**9)
repetitions = st.builds(
    lambda seed, varied: Repetition(seed, tuple(sorted(varied.items()))),
    seeds,
    st.dictionaries(st.sampled_from(FACTORS), seeds),
)


@given(repetitions)
def test_a_repetition_reads_back(repetition: Repetition) -> None:
    assert Repetition.parse(str(repetition)) == repetition
    assert Repetition.of(repetition.as_dict()) == repetition
    assert " " not in str(repetition)  # leaderboards list them between spaces


@given(repetitions, repetitions)
def test_two_repetitions_never_share_a_name(one: Repetition, other: Repetition) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize(("varied", "shown"), [((), 10), ((("init", 3),), "10/init=3")])
def test_what_is_shown(varied: tuple[tuple[str, int], ...], shown: int | str) -> None:
    repetition = Repetition(10, varied)
    assert repetition.shown == shown
    assert str(repetition) == str(shown)
    assert repetition.as_dict() == {"seed": 10, **({"varied": {"init": 3}} if varied else {})}


def test_order_and_seeds() -> None:
    plain, second, varied = Repetition(2), Repetition(10), Repetition(2, (("draws", 5),))
    assert sorted([second, varied, plain]) == [plain, varied, second]  # by number, the plain one first
    assert varied.seeds == Seeds(partition=2, init=2, draws=5, batches=2)
