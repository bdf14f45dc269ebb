"""Draws keep to the cap, are never the same twice, and end where there is nothing else, with steps made up by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.tuning.sampling import Tried, propose
from fl_bench.spaces import Choices, Integers, Linear, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPACES: Any = {"epochs": Integers(1, 10), "passes": Integers(1, 10), "lr": Log(1e-4, 1e-1)}
DEFAULT = {"epochs": 3, "passes": 4, "lr": 0.01}


def steps(settings: Mapping[str, Any]) -> float:
    return float(settings["epochs"] * 10 + settings["passes"])


def draw(number: int, planned: Callable[[Mapping[str, Any]], float | None] = steps) -> dict[str, Any] | None:
    return propose((7, "fedmd", number), SPACES, DEFAULT, planned, taken=[DEFAULT])


def test_no_draw_takes_more_steps_and_some_take_fewer() -> None:
    drawn = [found for number in range(60) if (found := draw(number))]
    assert len(drawn) == 60
    assert all(steps(found) <= steps(DEFAULT) for found in drawn)
    assert {found["epochs"] for found in drawn} == {1, 2, 3}
    assert max(found["passes"] for found in drawn) > 4  # paid for with epochs
    assert len({found["lr"] for found in drawn}) > 30


def test_a_cap_that_resets_do_not_reach_is_kept_all_the_same() -> None:
    # 9 * 9 = 81 would become 3 * 9 = 27 or 9 * 1 = 9, and the default takes 3: only both together.
    product = {"epochs": 3, "passes": 1, "lr": 0.01}
    for number in range(30):
        found = propose(
            (7, "x", number), SPACES, product, lambda one: float(one["epochs"] * one["passes"]), taken=[product]
        )
        assert found is not None
        assert found["epochs"] * found["passes"] <= 3


def test_what_resets_cannot_bring_under_the_cap_is_drawn_again() -> None:
    # One change costs more than two, so that no single step back from both is a help.
    def planned(settings: Mapping[str, Any]) -> float:
        changed = (settings["epochs"] != 3) + (settings["passes"] != 4)
        return (5.0, 12.0, 10.0)[changed]

    for number in range(30):
        found = draw(number, planned)
        assert found is not None
        assert planned(found) == 5.0


def test_the_same_stream_gives_the_same_and_others_do_not() -> None:
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert draw(3) != propose((8, "fedmd", 3), SPACES, DEFAULT, steps, taken=[])
    assert draw(3) != propose((7, "fedavg", 3), SPACES, DEFAULT, steps, taken=[])


def test_nothing_is_tried_twice_and_an_end_is_noticed() -> None:
    spaces: Any = {"rule": Choices(("a", "b", "c"))}
    found: list[dict[str, Any]] = [{"rule": "a"}]
    while (one := propose((7, "x", len(found)), spaces, found[0], lambda _: 1.0, taken=found)) is not None:
        assert one not in found
        found.append(one)
    assert sorted(one["rule"] for one in found) == ["a", "b", "c"]
    assert propose((7, "x", 1), {}, {}, lambda _: 1.0, taken=[{}]) is None


def test_what_cannot_run_is_not_proposed() -> None:
    def only_small(settings: Mapping[str, Any]) -> float | None:
        return steps(settings) if settings["lr"] <= 0.01 else None

    drawn = [draw(number, only_small) for number in range(20)]
    assert all(found is not None and found["lr"] <= 0.01 for found in drawn)


def test_tpe_draws_within_spaces_from_what_is_known() -> None:
    pytest.importorskip("optuna")
    spaces: Any = {
        "lr": Log(1e-4, 1e-1), "weight": Linear(0, 2), "rule": Choices(("a", "b")), "epochs": Integers(1, 9, log=True)
    }  # fmt: skip
    default = {"lr": 0.5, "weight": 1.0, "rule": "c", "epochs": 5}  # outside of two spaces
    good = {"lr": 0.01, "weight": 1.0, "rule": "b", "epochs": 3}
    bad = {"lr": 0.0001, "weight": 0.1, "rule": "a", "epochs": 9}
    tried = [
        Tried(default, 0.0),
        *(Tried({**good, "weight": 1 + n / 50}, 9.0 + n) for n in range(6)),
        Tried(bad, -20.0),
    ]
    drawn = [
        propose((7, "x", number), spaces, default, lambda _: 1.0, taken=[], tried=tried, sampler="tpe")
        for number in range(8)
    ]
    assert all(found is not None for found in drawn)
    for found in drawn:
        assert found is not None
        assert 1e-4 <= found["lr"] <= 1e-1
        assert found["lr"] == float(f"{found['lr']:.1e}")
        assert found["rule"] in ("a", "b")
        assert found["epochs"] in range(1, 10)
    assert sum(found["rule"] == "b" for found in drawn if found) >= 5  # it has learned which is better
