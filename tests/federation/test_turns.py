"""Several exchanges inside a round: who takes part, what is counted, which batches are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.errors import Unsupported
from fl_bench.federation.payloads import Scalars
from fl_bench.federation.rounds import Turn
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import Method, NoSettings, Requires
from fl_bench.methods.losses import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fl_bench.federation.batches import Batch
    from fl_bench.federation.channel import Downloads, Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.rounds import Round

TRAINING = Training(rounds=2, batch_size=4, lr=0.01)


class Talk(Method[NoSettings]):
    """Clients send their ids, the server answers with how often it has spoken; turns as `plan` says."""

    name = "talk"
    exchanges = frozenset({Scalars})

    def __init__(self, plan: Callable[[tuple[int, ...]], Sequence[Turn]]) -> None:
        super().__init__()
        self.plan_of = plan
        self.spoken = 0
        self.log: list[tuple[int, int, tuple[int, ...], list[float] | None]] = []
        self.batches: list[list[float]] = []

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]:
        return self.plan_of(participants)

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        heard = None if received is None else received.values["spoken"].tolist()
        self.log.append((rnd.index, rnd.turn, clients.ids, heard))

        def look(model: Any, batch: Batch) -> torch.Tensor:
            self.batches.append(batch.x.flatten().tolist())
            return cross_entropy(model, batch)

        clients.fit(look, batches=1)
        return Scalars({"id": torch.tensor(clients.ids, dtype=torch.float32)})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        self.spoken += 1
        return uploads.to_participants(Scalars({"spoken": torch.full((len(uploads.ids),), float(self.spoken))}))

    def state_dict(self) -> dict[str, Any]:
        return {"spoken": self.spoken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.spoken = state["spoken"]


@pytest.fixture
def talk(deal) -> Callable[..., Run]:
    def make(plan: Callable[[tuple[int, ...]], Sequence[Turn]], training: Training = TRAINING, **options: Any) -> Run:
        dataset, split = deal(train=(5, 8, 3))
        return Run(Talk(plan), dataset, split, ModelMix(("mlp-4",)), training, seed=0, **options)

    return make


def test_the_server_answers_inside_the_round(talk) -> None:
    run = talk(lambda everyone: (Turn(everyone, "train"), Turn(everyone[:2], "distill")))
    rows = list(run.rounds())
    assert run.method.log == [
        (0, 0, (0, 1, 2), None),
        (0, 1, (0, 1), [1.0, 1.0]),
        (1, 0, (0, 1), [2.0, 2.0]),
        (1, 0, (2,), [1.0]),
        (1, 1, (0, 1), [3.0, 3.0]),
    ]
    # A float32 number up for each of 3 and 2 clients; down in the second turn of a round, and from the second round
    # on also in the first.
    assert [(row.values["bytes_up"], row.values["bytes_down"]) for row in rows] == [(20, 8), (20, 20)]
    assert [(row.values["bytes_up_train"], row.values["bytes_up_distill"]) for row in rows] == [(12, 8), (12, 8)]
    assert [(row.values["bytes_down_train"], row.values["bytes_down_distill"]) for row in rows] == [(0, 8), (12, 8)]
    for row in rows:
        for part in ("training", "server"):
            whole, parts = row.values[f"seconds_{part}"], [f"seconds_{part}_{name}" for name in ("train", "distill")]
            assert sum(row.values[name] for name in parts) == pytest.approx(whole)
    assert run.facts()["bytes_undelivered"] == 12  # what the second turn said to two, and the first to the third


def test_turns_of_one_name_are_not_told_apart(talk) -> None:
    run = talk(lambda everyone: [Turn((client,)) for client in everyone])
    (row, _) = run.rounds()
    assert [ids for _, _, ids, _ in run.method.log[:3]] == [(0,), (1,), (2,)]
    assert row.values["bytes_up"] == 12
    assert not [name for name in row.values if name.startswith(("bytes_up_t", "seconds_training_"))]


def test_a_client_draws_other_batches_in_another_turn(talk) -> None:
    alone, twice = (
        talk(lambda everyone, count=count: [Turn(everyone)] * count, replace(TRAINING, rounds=1, engine="loop"))
        for count in (1, 2)
    )
    list(alone.rounds())
    list(twice.rounds())
    assert twice.method.batches[:3] == alone.method.batches  # the first turn is the only one of other methods
    assert all(
        first != second for first, second in zip(twice.method.batches[:3], twice.method.batches[3:], strict=True)
    )


def test_a_run_with_turns_is_resumed_between_rounds(talk, tmp_path: Path) -> None:
    def plan(everyone: tuple[int, ...]) -> Sequence[Turn]:
        return [Turn(everyone, "train"), Turn(everyone, "distill")]

    whole = talk(plan)
    rows = list(whole.rounds())
    next(iter(talk(plan, checkpoint=tmp_path / "c.pt").rounds()))
    resumed = talk(plan, checkpoint=tmp_path / "c.pt")
    again = list(resumed.rounds())
    kept = [{name: value for name, value in row.values.items() if "seconds" not in name} for row in again]
    assert kept == [{name: value for name, value in row.values.items() if "seconds" not in name} for row in rows]
    for name, tensor in whole.client_weights()["mlp-4"].items():
        assert torch.equal(resumed.client_weights()["mlp-4"][name], tensor)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (lambda everyone: [], "makes turns of nothing"),
        (
            lambda everyone: [Turn((0, 7))],
            r"makes turns of clients \[7\] who do not take part; participants are \[0, 1, 2\]",
        ),
    ],
)
def test_turns_of_nobody_and_of_strangers_are_refused(talk, plan, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        next(talk(plan).rounds())


class Wide(Talk):
    """Needs a server net of the clients' feature width."""

    requires = Requires(server_width=True)


@pytest.mark.parametrize(
    ("server", "width", "fits"), [("mlp-4", None, True), ("mlp-6", None, False), ("mlp-6", 3, True)]
)
def test_a_server_net_of_another_width_is_refused_before_the_first_round(deal, server, width, fits: bool) -> None:
    dataset, split = deal(train=(5, 8, 3))
    mix = ModelMix(("mlp-4",), server=server, width=width)
    method = Wide(lambda everyone: (Turn(everyone),))
    if fits:
        assert len(list(Run(method, dataset, split, mix, TRAINING, seed=0).rounds())) == 2
        return
    with pytest.raises(Unsupported, match=r"talk needs nets of one feature width .* mlp-4 makes 4, mlp-6 makes 6"):
        Run(method, dataset, split, mix, TRAINING, seed=0)
