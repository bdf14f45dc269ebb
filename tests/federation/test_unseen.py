"""Clients that are kept out of training: nothing of the others depends on them, and they are admitted at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.channel import Channel, Downloads, Parcel
from fl_bench.federation.codecs import Codec
from fl_bench.federation.payloads import Scalars
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract import TRAINING, deal, finish, made_up_data, make_run
from fl_bench.methods.losses import cross_entropy

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.datasets.split import Split
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.rounds import Round


@pytest.fixture
def dealt() -> Split:
    """Eight clients, of whom two are kept out."""
    return deal(made_up_data(), clients=8, unseen=0.25)


def watched(run: Run) -> list[tuple[Cohort, Any, Round, dict[str, torch.Tensor]]]:
    """What `unseen` is called with, and the weights that it deploys, once the run is over."""
    calls: list[Any] = []
    usual = run.method.unseen

    def look(clients: Cohort, received: Any, rnd: Round) -> Deployed | None:
        before = clients.weights
        view = usual(clients, received, rnd)
        assert view is not None
        calls.append((clients, received, rnd, before, {name: value.clone() for name, value in view.weights.items()}))
        return view

    run.method.unseen = look  # type: ignore[method-assign]  # to see its arguments
    return calls


def test_the_others_train_as_if_there_were_nobody_else(dealt: Split) -> None:
    run = make_run("fedavg", made_up_data(), dealt, replace(TRAINING, participation=0.5))
    assert dealt.unseen is not None
    alone = Run(
        type(run.method)(),
        made_up_data(),
        replace(dealt, unseen=None),
        run.models,
        run.training,
        seed=0,
        identities=dealt.unseen.others,  # the numbers that they have among all
    )
    found, expected = finish(run), finish(alone)
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    for one, other in zip(found.rows, expected.rows, strict=True):
        assert {name: one[name] for name in other} == other


def test_admission_is_a_round_from_what_waits_for_all_with_epochs_of_its_own(dealt: Split) -> None:
    training = replace(TRAINING, precision="float64", optimizer="sgd", engine="loop", admission_epochs=5)
    run = make_run("fedavg", made_up_data(), dealt, training)
    calls = watched(run)
    rows = [row.values for row in run.rounds()]
    ((clients, received, rnd, before, after),) = calls
    assert clients.ids == (6, 7)  # no number of the six others
    assert dealt.unseen is not None
    assert clients.keys == dealt.unseen.ids
    assert (rnd.index, clients.round_index, clients.training.local_epochs) == (3, 3, 5)
    for name, value in run.federation.start[clients.architecture].items():
        assert torch.equal(before[name], value.expand_as(before[name]))
        assert torch.equal(received.tree[name], run.method.w[name].expand_as(before[name]))
    sizes = [len(own) for own in dealt.unseen.train]
    assert rows[-1]["steps_unseen"] == sum(-(-5 * size // training.batch_size) for size in sizes)
    # the same steps once more, in a cohort that is made by hand
    again = clients.copy()
    again.load(run.method.w)
    again.fit(cross_entropy, epochs=5)
    assert all(torch.equal(again.weights[name], after[name]) for name in after)


def test_they_are_scored_once_on_their_own_test_data(dealt: Split) -> None:
    run = make_run("local", made_up_data(), dealt, TRAINING)
    calls = watched(run)
    rows = [row.values for row in run.rounds()]
    assert [any(name.startswith("unseen.") for name in row) for row in rows] == [False, False, True]
    assert rows[-1]["unseen.clients"] == 2
    assert "unseen" in run.facts()["views"]
    assert dealt.unseen is not None
    data, accuracies = made_up_data(), []
    for place, test in enumerate(dealt.unseen.test):
        module = calls[0][0].module()
        module.load_state_dict({name: value[place] for name, value in calls[0][4].items()})
        guessed = module.eval()(data.inputs[test]).argmax(dim=1)
        accuracies.append(100 * float((guessed == data.labels[test]).double().mean()))
    assert rows[-1]["unseen.acc_mean"] == pytest.approx(np.mean(accuracies))
    assert rows[-1]["unseen.acc_min"] == pytest.approx(min(accuracies))


def test_a_stopped_run_admits_the_same(dealt: Split, tmp_path: Path) -> None:
    whole = finish(make_run("fedmd", made_up_data(), dealt))
    finish(make_run("fedmd", made_up_data(), dealt, checkpoint=tmp_path / "state"), rounds=2)
    assert finish(make_run("fedmd", made_up_data(), dealt, checkpoint=tmp_path / "state")).rows == whole.rows


def test_what_is_not_finite_is_no_accuracy(dealt: Split) -> None:
    run = make_run("local", made_up_data(), dealt, TRAINING)

    def broken(clients: Cohort, received: None, rnd: Round) -> Deployed:
        clients.load({name: value * torch.inf for name, value in clients.weights.items()})
        return clients.deployed()

    run.method.unseen = broken  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="a weight of client models"):
        finish(run)


def test_a_method_may_admit_nobody(dealt: Split) -> None:
    run = make_run("local", made_up_data(), dealt, TRAINING)
    run.method.unseen = lambda *_: None  # type: ignore[method-assign]
    assert not any(name.startswith("unseen") for name in finish(run).rows[-1])


def test_newcomers_of_each_architecture_are_told_what_waits_for_it() -> None:
    models = ModelMix(("mlp-8", "mlp-4"))
    run = make_run("fedmd", made_up_data(), deal(made_up_data(), clients=8, unseen=0.5), TRAINING, models=models)
    calls = watched(run)
    finish(run)
    assert sorted(clients.architecture for clients, *_ in calls) == ["mlp-4", "mlp-8"]
    assert all(received is not None and len(received) == len(clients) for clients, received, *_ in calls)


@pytest.mark.parametrize(
    ("parcels", "expected"),
    [
        ([([5.0], {0: 0, 1: 0, 2: 0})], [5.0, 5.0]),
        ([([5.0, 7.0], {0: 1, 1: 1, 2: 1})], [7.0, 7.0]),
        ([([5.0, 7.0], {0: 0, 1: 1, 2: 1})], None),  # each its own
        ([([5.0], {0: 0, 1: 0})], None),  # nothing for one of them
        ([([5.0], {0: 0, 1: 0, 2: 0}), ([7.0], {2: 0})], None),  # something newer for one of them
        ([], None),
    ],
)
def test_what_newcomers_are_told(parcels: list[Any], expected: list[float] | None) -> None:
    channel = Channel(3, {Scalars}, Codec.parse("none"), "a method")
    made = [Parcel(Scalars({"value": torch.tensor(values)}), address) for values, address in parcels]
    channel.post(Downloads(tuple(made)))
    told = channel.standing([0, 1, 2], 2)
    assert (None if told is None else told.values["value"].tolist()) == expected
    assert not channel.traffic.down.any()
    waiting = channel.undelivered()
    if told is not None:
        told.values["value"].zero_()
    assert channel.undelivered() == waiting
    if expected is not None:  # nobody's message was touched
        ((_, heard),) = channel.deliver([0])
        assert heard is not None
        assert heard.values["value"].tolist() == expected[:1]


def test_admission_takes_an_epoch_at_least() -> None:
    with pytest.raises(ConfigError, match=r"training\.admission_epochs must be at least 1 or null, got 0"):
        Training(admission_epochs=0)
