"""What a method starts from is drawn with the seed of initial weights, and with no other."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from fl_bench.methods.contract import deal, made_up_data, make_run
from fl_bench.methods.registry import METHODS
from fl_bench.streams import Seeds


def start(name: str, *, settings: dict[str, Any] | None = None, **varied: int) -> dict[str, Any]:
    """Weights of all clients and all that the method keeps, before the first round, as plain values by path."""
    dataset, config = made_up_data(), METHODS[name].config_type(**(settings or {}))
    run = make_run(name, dataset, deal(dataset), config=config, seed=Seeds.of(0, varied))
    return leaves({"clients": run.client_weights(), "method": run.method.state_dict()})


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in leaves(part, f"{path}/{name}").items()}
    return {path: value.flatten().tolist() if isinstance(value, Tensor) else repr(value)}


@pytest.mark.parametrize("name", METHODS.names())
def test_a_start_is_moved_by_its_own_seed_alone(name: str) -> None:
    assert start(name, draws=1, batches=1, partition=1) == start(name)
    assert start(name, init=1) != start(name)


@pytest.mark.parametrize(("name", "settings"), [("pfedhn", {}), ("fedrod", {"head": "generated"})])
def test_weights_that_a_method_draws_itself_move_too(name: str, settings: dict[str, Any]) -> None:
    first, second = start(name, settings=settings), start(name, settings=settings, init=1)
    # Neither what starts from zero nor the settings of an optimizer.
    drawn = [path for path, values in first.items() if len(set(values)) > 1 and "param_groups" not in path]
    assert len(drawn) > 2
    assert [path for path in drawn if first[path] == second[path]] == []
    assert start(name, settings=settings, draws=1, batches=1, partition=1) == first


def test_heads_that_are_drawn_anew_belong_to_the_initial_weights() -> None:
    # FedBABU trains no head, so after a round the clients' heads are those that were drawn in it.
    def heads(**varied: int) -> Any:
        dataset, config = made_up_data(), METHODS["fedbabu"].config_type(head="redrawn")
        run = make_run("fedbabu", dataset, deal(dataset), config=config, seed=Seeds.of(0, varied))
        next(run.rounds())
        return run.client_weights()["mlp-8"]["head.weight"].tolist()

    assert heads(draws=1, batches=1, partition=1) == heads()
    assert heads(init=1) != heads()
