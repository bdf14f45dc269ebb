"""The median rule, the best of trials, ties and edges, worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fl_bench.benchmarks.tuning.judging import best_so_far, choose, edges, hopeless
from fl_bench.spaces import Choices, Integers, Linear, Log


@dataclass
class Tried:
    number: int
    means: list[float] = field(default_factory=list)
    status: str = "done"
    steps: int = 10
    bytes: int = 100


def test_a_trial_below_the_median_of_those_before_is_hopeless() -> None:
    # After two data sets the earlier means are 50, 50, 60 and 80: the median is 55.
    earlier = [[60.0, 40.0, 10.0], [50.0, 50.0], [90.0, 30.0], [90.0, 70.0]]
    assert hopeless([50.0, 59.0], earlier) == 55.0
    assert hopeless([50.0, 60.0], earlier) is None  # equal is not below


def test_trials_that_got_less_far_are_not_asked() -> None:
    low = [[20.0, 20.0]] * 4
    assert hopeless([30.0, 30.0], [[99.0]] * 9 + low) is None
    assert hopeless([10.0, 10.0], [[99.0]] * 9 + low) == 20.0
    assert hopeless([], [[99.0]] * 9) is None


def test_nothing_stops_before_four_trials_got_as_far() -> None:
    assert hopeless([1.0], [[99.0]] * 3) is None
    assert hopeless([1.0], [[99.0]] * 4) == 99.0
    assert hopeless([1.0, 1.0], [[99.0]] * 9 + [[99.0, 99.0]] * 3) is None


def test_the_best_mean_is_chosen_among_trials_that_are_done() -> None:
    trials = [Tried(0, [50.0, 60.0]), Tried(1, [99.0], "stopped"), Tried(2, [58.0, 56.0])]
    assert choose(trials).number == 2
    assert best_so_far(trials) == (55.0, 55.0, 57.0)


@pytest.mark.parametrize(
    ("others", "number"),
    [
        ([Tried(1, [55.0], steps=9, bytes=900)], 1),
        ([Tried(1, [55.0], bytes=99)], 1),
        ([Tried(1, [55.0])], 0),
        ([Tried(1, [55.0 - 1e-8], steps=1)], 0),
        ([Tried(1, [55.0 + 1e-10], steps=11)], 0),
    ],
    ids=["fewer steps", "fewer bytes", "the earlier", "worse by more than a tie", "better by less than a tie"],
)
def test_ties_go_to_the_cheaper(others: list[Tried], number: int) -> None:
    assert choose([Tried(0, [55.0]), *others]).number == number


def test_without_any_trial_done_the_grid_s_entry_stays() -> None:
    trials = [Tried(0, [], "failed"), Tried(1, [70.0], "stopped")]
    assert choose(trials).number == 0
    assert best_so_far(trials) == (None, None)


def test_edges_are_where_a_space_could_go_on() -> None:
    spaces: Any = {
        "lr": Log(1e-4, 1e-1),
        "high": Log(0.1, 1.0, most=1.0),
        "epochs": Integers(1, 10),
        "weight": Linear(0.0, 2.0, least=0),
        "rule": Choices(("a", "b")),
        "unset": Log(1e-4, 1e-1),
    }
    settings = {"lr": 9e-2, "high": 1.0, "epochs": 1, "weight": 2.0, "rule": "a", "unset": None}
    assert edges(settings, spaces) == {"lr": "high", "weight": "high"}
