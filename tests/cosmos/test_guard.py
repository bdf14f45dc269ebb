"""The collapse guard of COSMOS: planted collapses of clients and of server models, and what is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.cosmos import guard
from fl_bench.cosmos.objectives import ConsistentDistillation
from fl_bench.cosmos.servers import ServerPhase
from fl_bench.cosmos.settings import CosmosConfig
from fl_bench.methods.contract import TRAINING, deal, finish, made_up_data, make_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PLAIN = {"consistency": 0.0, "clip": None, "distill_epochs": 2, "distill_lr": 0.2, "server_epochs": 2, "server_lr": 0.4}
HOPELESS = 50.0
"""A bias that no two steps of local training, with slopes below 1, take back."""


@pytest.fixture(params=["loop", "stacked"])
def engine(request: pytest.FixtureRequest, world) -> str:
    world.options["engine"] = request.param
    return str(request.param)


@pytest.mark.usefixtures("engine")
class TestClients:
    def test_a_client_that_says_one_class_starts_again(self, world, assert_equal, weights_of) -> None:
        # Client 1 has the labels 2, 2, 0 and says 1, whatever comes; the others go their way. The first of the further
        # initial weights is what it starts from again.
        world.rounds, world.start[1].b[1] = 1, HOPELESS
        run = world.run("cosmos", collapse_guard="train", **PLAIN)
        fresh = run.federation.fresh_weights("linear", 2)
        world.start[1] = type(world.start[0])(*(fresh[name][1].numpy() for name in ("head.weight", "head.bias")))
        for model, (x, y) in zip(world.start, world.private, strict=True):
            model.train(x, y, world.lr, steps=world.epochs)
        assert len(set(world.start[1].probabilities(world.private[1][0]).argmax(axis=1))) > 1
        assert_equal(weights_of(run), world.start)
        (row,) = run.rounds()
        assert (row.values["client_restarts"], row.values["steps_local"]) == (1, (3 + 1) * 2)

    def test_it_gives_up_after_three_restarts(self, world, monkeypatch) -> None:
        monkeypatch.setattr(guard, "collapsed", lambda clients: [p for p, i in enumerate(clients.ids) if i == 2])
        rows = list(world.run("cosmos", collapse_guard="train", **PLAIN).rounds())
        assert [row.values["client_restarts"] for row in rows] == [3, 3, 3]
        assert [row.values["steps_local"] for row in rows] == [(3 + 3) * 2] * 3

    def test_a_client_of_one_class_rightly_says_that_class(self, world) -> None:
        world.private[1] = (world.private[1][0], np.array([1, 1, 1]))
        world.start[1].b[1] = HOPELESS
        run = world.run("cosmos", collapse_guard="train", **PLAIN)
        assert [row.values["client_restarts"] for row in run.rounds()] == [0, 0, 0]

    @pytest.mark.parametrize(("others", "found"), [(1, [0]), (2, [])])
    def test_ninety_nine_of_a_hundred_are_one_class(self, world, others: int, found: list[int]) -> None:
        # f(x) = x: 100 - others samples point to class 0 and the rest to class 1, and the labels are halves.
        x = np.tile([1.0, 0.0], (100, 1))
        x[:others] = [0.0, 1.0]
        world.private[0] = (x, np.arange(100) % 2)
        world.start[0].w, world.start[0].b = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.zeros(3)
        run = world.build("cosmos", **PLAIN)
        clients = run.client_cohort("linear", [0], rnd_of(run))
        assert guard.collapsed(clients) == found


def rnd_of(run: Any) -> Any:
    from fl_bench.federation.rounds import Round

    return Round(0, 0, run.federation)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("server", ["models", "heads"])
class TestServers:
    def test_models_that_learn_nothing_get_other_weights_three_times(self, world, server: str) -> None:
        # Without epochs no divergence decreases, and fresh models are worse than the best constant.
        world.rounds = 1
        settings = PLAIN | {"clustering": "singleton", "server": server, "server_epochs": 0}
        run = world.run("cosmos", collapse_guard="train", **settings)
        (row,) = run.rounds()
        assert row.values["server_restarts"] == 3 * 3
        found = run.method.servers.cohort.weights
        if server == "models":
            expected = {k: v[9:] for k, v in run.federation.server_models(12).weights.items()}
        else:
            drawn = run.federation.server_models(4, wrap=run.method.servers._wrap).weights
            expected = {k: v[3:] for k, v in drawn.items() if k.startswith("heads.")}
        assert expected
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

    def test_models_that_learn_are_left_alone(self, world, server: str) -> None:
        settings = PLAIN | {"clustering": "singleton", "server": server, "server_lr": 0.05}
        guarded, free = (world.run("cosmos", collapse_guard=how, **settings) for how in ("train", "off"))
        assert [row.values["server_restarts"] for row in guarded.rounds()] == [0, 0, 0]
        for one, other in zip(states(guarded), states(free), strict=True):
            assert all(torch.equal(one[name], tensor) for name, tensor in other.items())
        assert not any("restarts" in key for row in free.rounds() for key in row.values)


def states(run: Any) -> list[dict[str, torch.Tensor]]:
    return [run.client_weights()["linear"], run.method.servers.cohort.weights]


class Scripted:
    """Cluster models that say, before and after each training, what they are told to, of one of two classes."""

    def __init__(self, *said: tuple[float, float]) -> None:
        self.said = iter(said)
        self.log: list[tuple[str, list[int]]] = []

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """The same for the two public samples."""
        first = torch.tensor(next(self.said))[:, None, None].expand(2, 2, 1)
        return torch.cat([first, 1 - first], dim=2)

    def train(self, inputs: Any, targets: Any, active: Sequence[int], phase: ServerPhase, rnd: Any) -> None:
        self.log.append(("train afresh" if phase.fresh else "train", list(active)))

    def renew(self, clusters: Sequence[int], attempt: int) -> None:
        self.log.append((f"renew {attempt}", list(clusters)))


@pytest.mark.parametrize(
    ("said", "log"),
    [
        # Both targets are .9 and .7, and .8 is the best constant.
        ([(0.5, 0.5), (0.6, 0.6)], []),  # closer than before
        ([(0.5, 0.5), (0.5, 0.6), (0.5, 0.6), (0.6, 0.6)], [("renew 1", [0]), ("train afresh", [0])]),
        (
            [(0.5, 0.5), (0.5, 0.5), (0.4, 0.4), (0.3, 0.6), (0.4, 0.6), (0.5, 0.6)],
            [("renew 1", [0, 1]), ("train afresh", [0, 1]), ("renew 2", [0]), ("train afresh", [0])],
        ),
    ],
    ids=["learns", "one is stuck", "again"],
)
def test_who_starts_again(said: list[tuple[float, float]], log: list[tuple[str, list[int]]]) -> None:
    targets = torch.tensor([[[0.9, 0.1], [0.7, 0.3]]] * 2)
    servers = Scripted(*said)
    phase = ServerPhase(ConsistentDistillation(0.0, "both", "pixel", image=False), 1, 0.1, None)
    restarts = guard.train_servers(servers, torch.zeros(2, 1), targets, [0, 1], phase, None)  # type: ignore[arg-type]
    assert servers.log == [("train", [0, 1]), *log]
    assert restarts == sum(len(clusters) for what, clusters in log if what.startswith("renew"))


def test_a_model_that_has_converged_has_not_collapsed() -> None:
    # Before and after training it says .88 and .72, nearer to .9 and .7 than any constant.
    class Converged(Scripted):
        def predict(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[0.88, 0.12], [0.72, 0.28]]])

    servers = Converged()
    phase = ServerPhase(ConsistentDistillation(0.0, "both", "pixel", image=False), 1, 0.1, None)
    targets = torch.tensor([[[0.9, 0.1], [0.7, 0.3]]])
    assert guard.train_servers(servers, torch.zeros(2, 1), targets, [0], phase, None) == 0  # type: ignore[arg-type]
    assert servers.log == [("train", [0])]


def test_restarts_survive_a_stop(monkeypatch, tmp_path: Path) -> None:
    # Every second client and every server model start again in every round.
    monkeypatch.setattr(guard, "collapsed", lambda clients: [p for p, i in enumerate(clients.ids) if i % 2])
    dataset, training = made_up_data(), replace(TRAINING, optimizer_state="persist", participation=0.67)
    config = CosmosConfig(collapse_guard="train", clusters=2, distill_epochs=1, server_epochs=0)
    whole = finish(make_run("cosmos", dataset, deal(dataset), training, config=config))
    for rounds in range(1, 4):
        run = make_run("cosmos", dataset, deal(dataset), training, config=config, checkpoint=tmp_path / "run.pt")
        resumed = finish(run, rounds)
        assert resumed.rows == whole.rows[:rounds]
    assert all(torch.equal(value, resumed.weights[key]) for key, value in whole.weights.items())
    assert all(row["client_restarts"] > 0 and row["server_restarts"] > 0 for row in whole.rows)
