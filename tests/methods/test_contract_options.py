"""Options that change what a method keeps, sends or draws keep the contract too, which looks at defaults alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.methods import contract
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.methods.base import Method

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("feddf", {"drop_below": 1.2}),
    ("ifca", {"starts": 2}),
    ("ifca", {"starts": 2, "share_body": True}),
    ("lgfedavg", {"warm_start": 1}),
    ("fedrod", {"head": "generated"}),
    ("cronus", {"aggregation": "spectral"}),
    ("fedct", {"mode": "batches"}),
    ("fedselect", {"select_by": "gradient", "every": 1}),
    ("cfd", {"coder": "range"}),
    ("fedmd", {"weights": "size"}),
    ("apfl", {"mix": "logits"}),
    ("pfedhn", {"server_step": "joint"}),
    ("cosmos", {"server": "heads"}),
    ("cosmos", {"server": "heads", "head_schedule": "sequential"}),
    ("cosmos", {"order": "distill_last"}),
    ("cosmos", {"order": "distill_last", "distill_only": True}),
    ("cosmos", {"feedback": "own_past", "diagnostics": True}),
    ("cosmos", {"collapse_guard": "train", "server_rounds": 2}),
]


MADE: dict[str, type[Method[Any]]] = {}
"""Methods with other defaults, each made once: what an undisturbed run comes to is remembered by its class."""


def registered(name: str, settings: dict[str, Any]) -> str:
    """The name of a method that is `name` with these defaults, registered until the test ends."""
    other = f"{name} {settings}"
    if other not in MADE:
        usual, config = METHODS[name], METHODS[name].config_type
        changed = [(key, Any, dataclasses.field(default=value)) for key, value in settings.items()]
        config = dataclasses.make_dataclass(config.__name__, changed, bases=(config,), frozen=True)
        MADE[other] = type(usual.__name__, (usual,), {})  # which finds the settings of its base
        MADE[other].name, MADE[other].config_type = other, config
    METHODS.register(other)(MADE[other])
    return other


@pytest.mark.parametrize("schedule", ["joint", pytest.param("sequential", marks=pytest.mark.slow)])
def test_a_server_with_several_heads_is_the_same_in_both_engines(schedule: str) -> None:
    contract.loop_equals_stacked(registered("cosmos", {"server": "heads", "head_schedule": schedule}))


def test_clients_of_pfedhn_that_train_with_the_run_s_optimizer_say_so() -> None:
    contract.local_optimizers_are_as_declared(registered("pfedhn", {"inner_optimizer": "run"}))


@pytest.mark.slow
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "settings"), OPTIONS, ids=str)
def test_option_keeps_the_contract(name: str, settings: dict[str, Any], check: Callable[[str], None]) -> None:
    other = registered(name, settings)
    assert vars(METHODS[other]().config).items() >= settings.items()
    check(other)
