"""What goes wrong whatever the method: whom it meets, what it does to a round, and that no faults are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.faults import Faults, Met, Poison
from fl_bench.federation.rounds import Round
from fl_bench.federation.work import WorkLog
from fl_bench.methods.contract import RENUMBERED, TRAINING, deal, finish, made_up_data, make_run, renumber, undisturbed
from fl_bench.methods.contract.worlds import assert_same, changed_tensors
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import METHODS
from fl_bench.streams import Seeds

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.federation.run import Run
    from fl_bench.methods.contract import Outcome

EVERYTHING = Faults(absent=0.4, absent_at="either", late=0.3, deadline=3, label_noise=0.2, poison=Poison(clients=0.3))
"""All faults at once."""


def run_with(name: str, faults: Faults, training: Any = TRAINING, **settings: Any) -> Run:
    dataset = made_up_data()
    return make_run(name, dataset, deal(dataset), training, faults=faults, **settings)


def met(faults: Faults, clients: int = 200, *, seed: int = 0, rounds: int = 10) -> Met:
    return Met(faults, range(clients), Seeds.of(seed), rounds)


def outcome(name: str, faults: Faults, training: Any = TRAINING, **settings: Any) -> Outcome:
    return finish(run_with(name, faults, training, **settings))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"absent": 1.0}, "faults.absent must be in"),
        ({"late": -0.1}, "faults.late must be in"),
        ({"deadline": 0}, "faults.deadline must be at least 1 step"),
        ({"label_noise": 1.1}, "faults.label_noise must be in"),
    ],
)
def test_impossible_faults_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Faults(**settings)


def test_impossible_poison_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"faults.poison.clients must be in \[0, 1\), got 1"):
        Poison(clients=1)
    with pytest.raises(ConfigError, match="factor must be above 0 and finite"):
        Poison("scale", 0.1, factor=float("inf"))
    with pytest.raises(ConfigError, match="factor belongs to kind scale"):
        Poison("sign-flip", 0.1, factor=3)


@pytest.mark.parametrize("name", ["fedavg", "fedmd"])
@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_faults_of_zero_are_no_faults(name: str, engine: Any) -> None:
    training = replace(TRAINING, engine=engine)
    none = Faults(absent_at="either", deadline=None, poison=Poison("scale", 0.0, factor=3.0))
    assert_same(undisturbed(METHODS[name], training), outcome(name, none, training), f"{name} without faults")
    # a deadline that nobody misses cuts nobody, and is counted
    ample = outcome(name, Faults(deadline=10_000), training)
    assert {row.pop("cut_short") for row in ample.rows} == {0}
    assert_same(undisturbed(METHODS[name], training), ample, f"{name} with an ample deadline")


@pytest.mark.parametrize("name", ["fedavg", "fedmd"])
def test_faults_repeat_stop_and_go_on(name: str, tmp_path: Path) -> None:
    whole = outcome(name, EVERYTHING)
    assert_same(whole, outcome(name, EVERYTHING), f"{name} ran twice with faults")
    for rounds in (1, 2, 3):
        last = finish(run_with(name, EVERYTHING, checkpoint=tmp_path / "state"), rounds)
    assert_same(whole, last, f"{name} was stopped after every round")
    assert changed_tensors(whole.weights, outcome(name, EVERYTHING, seed=1).weights)


def test_both_engines_meet_the_same_faults() -> None:
    training = replace(TRAINING, optimizer="sgd", momentum=0.9, lr=0.1, precision="float64")
    one, other = (outcome("cronus", EVERYTHING, replace(training, engine=engine)) for engine in ("loop", "stacked"))
    for name, weights in one.weights.items():
        assert torch.allclose(weights.double(), other.weights[name].double(), atol=1e-9, rtol=0), name
    assert one.rows[-1]["steps_local"] == other.rows[-1]["steps_local"] <= 6 * 3


def test_all_methods_of_a_seed_meet_the_same_faults() -> None:
    fedavg, fedmd = (run_with(name, EVERYTHING) for name in ("fedavg", "fedmd"))
    for index in range(TRAINING.rounds):
        assert fedavg.participants(index) == fedmd.participants(index)
        assert fedavg.absent(index) == fedmd.absent(index)
    assert torch.equal(fedavg.data.labels, fedmd.data.labels)
    rows = [finish(run).rows for run in (fedavg, fedmd)]
    for one, other in zip(*rows, strict=True):
        for mine, yours in zip(one["clients"], other["clients"], strict=True):
            assert [mine[name] for name in ("absent", "joined", "poisoned")] == [
                yours[name] for name in ("absent", "joined", "poisoned")
            ]
    assert fedavg.facts()["faults"] == fedmd.facts()["faults"]


def test_renumbered_clients_keep_their_faults() -> None:
    training = replace(TRAINING, precision="float64", engine="loop")
    first = outcome("fedavg", EVERYTHING, training)
    dataset = made_up_data()
    renumbered = renumber(deal(dataset), RENUMBERED)
    second = finish(make_run("fedavg", dataset, renumbered, training, faults=EVERYTHING, identities=RENUMBERED))
    for one, other in zip(first.rows, second.rows, strict=True):
        for place, old in enumerate(RENUMBERED):
            for column in ("absent", "joined", "poisoned", "bytes_up", "bytes_down"):
                assert other["clients"][place][column] == one["clients"][old][column]
            assert other["clients"][place]["global.loss"] == pytest.approx(one["clients"][old]["global.loss"])


def test_absent_clients_are_drawn_with_the_probability_and_somebody_answers() -> None:
    faults = Faults(absent=0.3, absent_at="either")
    drawn = list(range(200))
    places = Counter(place for index in range(50) for place in met(faults).absent(index, drawn).values())
    # 10 000 draws: 3000 with a standard deviation of 46, half of them in each place
    assert 2800 < sum(places.values()) < 3200
    assert abs(places["before_upload"] - places["after_download"]) < 250
    assert met(faults).absent(3, drawn) == met(faults).absent(3, drawn) != met(faults).absent(4, drawn)
    assert met(replace(faults, absent_at="after_download")).absent(0, [5, 7]).keys() <= {5, 7}
    harsh, milder = met(Faults(absent=0.999)), met(Faults(absent=0.7))
    for index in range(30):
        away = harsh.absent(index, [3, 4, 5]).keys()
        assert len(away) == 2
        assert milder.absent(index, [3, 4, 5]).keys() <= away  # who answers is who would answer most often


def test_larger_shares_meet_the_clients_of_smaller_ones_and_more() -> None:
    few, many = (met(Faults(late=share, absent=share, poison=Poison(clients=share))) for share in (0.2, 0.5))
    assert len(few.poisoned) == 40
    assert len(many.poisoned) == 100
    assert few.poisoned < many.poisoned
    late = [{client for client, first in enumerate(one.joins) if first} for one in (few, many)]
    assert [len(clients) for clients in late] == [40, 100]
    assert late[0] < late[1]
    assert late[1] != many.poisoned  # who is late and who is poisoned are independent
    assert few.absent(0, range(200)).keys() < many.absent(0, range(200)).keys()


def test_shares_are_rounded_up_and_spare_one() -> None:
    assert len(met(Faults(poison=Poison(clients=0.01)), clients=6).poisoned) == 1
    assert len(met(Faults(poison=Poison(clients=0.99)), clients=6).poisoned) == 5
    assert len(met(Faults(poison=Poison(clients=0.99)), clients=1).poisoned) == 0


def test_late_clients_join_in_a_drawn_round_and_are_not_drawn_before() -> None:
    late = met(Faults(late=0.99), rounds=10)
    assert Counter(late.joins).keys() == set(range(10))
    assert min(first for first in late.joins if first) == 1
    run = run_with("fedavg", Faults(late=0.5))
    joins = run.facts()["faults"]["joins"]
    assert len(joins) == 3
    rows = finish(run).rows
    for row in rows:
        missing = {client for client, first in joins.items() if row["round"] < first}
        assert row["not_joined"] == len(missing) == 6 - row["participants"]
        silent = {str(client["client"]) for client in row["clients"] if not client["bytes_up"]}
        assert silent == missing
        assert {str(client["client"]) for client in row["clients"] if not client["joined"]} == missing
    assert rows[0]["not_joined"] == 3


def test_who_is_absent_before_the_upload_trains_and_sends_nothing() -> None:
    run = run_with("fedavg", Faults(absent=0.5))
    lone = {0, 3, 5}
    run.absent = lambda index: dict.fromkeys(lone, "before_upload") if index == 1 else {}  # type: ignore[method-assign]
    seen: list[tuple[int, ...]] = []
    usual = run.method.server_update

    def watched(uploads: Any, rnd: Any) -> Any:
        seen.append(uploads.ids)
        return usual(uploads, rnd)

    run.method.server_update = watched  # type: ignore[method-assign]  # to see what arrives
    rows, weights = [], []
    for row in run.rounds():
        rows.append(row)
        weights.append(run.client_weights())
    everybody = tuple(range(6))
    assert seen == [everybody, (1, 2, 4), everybody]
    assert (rows[1].values["absent_before_upload"], rows[1].values["participants"]) == (3, 6)
    sent = [row["bytes_up"] for row in rows[1].clients]
    assert [bool(own) for own in sent] == [client not in lone for client in range(6)]
    assert rows[1].values["bytes_up"] == sum(sent) == 3 * rows[0].values["bytes_up"] // 6
    assert rows[1].values["bytes_down"] == rows[2].values["bytes_down"]
    assert [row["absent"] for row in rows[1].clients] == [
        "before_upload" if client in lone else None for client in range(6)
    ]
    for name, tree in weights[1].items():
        for key, tensor in tree.items():
            assert all(not torch.equal(tensor[client], weights[0][name][key][client]) for client in lone)


def test_who_is_absent_after_the_download_does_nothing_more() -> None:
    run = run_with("fedmd", Faults(absent=0.5, absent_at="after_download"))
    run.absent = lambda index: {2: "after_download"} if index == 1 else {}  # type: ignore[method-assign]
    rows, weights = [], []
    for row in run.rounds():
        rows.append(row)
        weights.append(run.client_weights()["mlp-8"])
    client = [row.clients[2] for row in rows]
    assert [bool(row["bytes_up"]) for row in client] == [True, False, True]
    assert [bool(row["bytes_down"]) for row in client] == [False, True, True]
    assert all(torch.equal(tensor[2], weights[0][key][2]) for key, tensor in weights[1].items())
    assert any(not torch.equal(tensor[2], weights[1][key][2]) for key, tensor in weights[2].items())
    assert client[1]["draws"] == 2  # drawn it was


def test_the_message_of_who_did_not_answer_waits_once_more() -> None:
    run = run_with("pfedgraph", Faults(absent=0.5))  # which sends to those who answered, and nobody else
    run.absent = lambda index: {2: "before_upload"} if index == 1 else {}  # type: ignore[method-assign]
    received: list[Any] = []
    usual = run.method.client_update

    def watched(clients: Any, message: Any, rnd: Any) -> Any:
        for place, client in enumerate(clients.ids):
            if client == 2:
                part = None if message is None else message.parts["model"].tree["head.bias"][place].clone()
                received.append(part)
        return usual(clients, message, rnd)

    run.method.client_update = watched  # type: ignore[method-assign]  # to see what arrives
    rows = [row.clients[2] for row in run.rounds()]
    assert received[0] is None
    assert torch.equal(received[1], received[2])
    assert rows[1]["bytes_down"] == rows[2]["bytes_down"] > 0


def test_who_went_absent_has_no_part_in_later_exchanges_of_the_round() -> None:
    config = METHODS["cosmos"].config_type(order="distill_last")
    run = run_with("cosmos", Faults(absent=0.5, absent_at="either"), config=config)
    run.absent = lambda _: {1: "before_upload", 4: "after_download"}  # type: ignore[method-assign]
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    usual = run.method.client_update

    def watched(clients: Any, message: Any, rnd: Any) -> Any:
        seen[rnd.turn].update(clients.ids)
        return usual(clients, message, rnd)

    run.method.client_update = watched  # type: ignore[method-assign]  # to see who works
    finish(run)
    assert seen == {0: {0, 1, 2, 3, 5}, 1: {0, 2, 3, 5}}


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_deadline_cuts_the_steps_of_a_round_to_the_first_so_many(engine: Any) -> None:
    # With plain SGD a client that is cut after two steps is where two batches of the same order take it.
    training = replace(TRAINING, engine=engine, optimizer="sgd", precision="float64", local_epochs=3, rounds=1)
    run = run_with("local", Faults(deadline=2), training)
    (row,) = finish(run).rows
    sizes = run.data.train.sizes
    assert all(3 * size > 16 for size in sizes)  # more than two batches of 8
    assert row["steps_local"] == 12
    assert row["cut_short"] == 6
    whole = run_with("local", Faults(), training)
    cohort = whole.client_cohort("mlp-8", range(6), Round(0, 0, whole.federation))
    cohort.fit(cross_entropy, batches=2)
    assert not changed_tensors(cohort.weights, run.client_weights()["mlp-8"])


def test_a_deadline_counts_all_phases_of_a_client_and_none_of_the_server() -> None:
    free, cut = (outcome("cosmos", Faults(deadline=deadline)).rows for deadline in (None, 4))
    for row in cut:
        assert row["steps_local"] + row["steps_distill"] <= 6 * 4
    assert cut[1]["steps_distill"] == 6 * 4  # which comes first, and takes it all
    assert cut[1]["steps_local"] == 0
    assert [row["steps_server"] for row in cut] == [row["steps_server"] for row in free]


def test_no_update_of_a_batch_is_taken_by_halves() -> None:
    # pFedMe takes `inner_steps` + 1 updates on each batch: of 7 steps at 2 + 1 a batch, two whole batches are left.
    config, training = METHODS["pfedme"].config_type(inner_steps=2), replace(TRAINING, rounds=1, local_epochs=3)
    row = outcome("pfedme", Faults(deadline=7), training, config=config).rows[0]
    assert row["steps_local"] == 6 * 6


def test_every_round_has_its_deadline_anew() -> None:
    work = WorkLog(deadline=5)
    assert work.allow(3, [0, 2, 4, 6]) == 2
    assert work.cut == {3}
    work.spend([3], [4])
    assert work.allow(3, [0, 2]) == 0
    work.clear()
    assert work.cut == set()
    assert work.allow(3, [0, 2]) == 1
    assert WorkLog().allow(3, [0, 2, 4]) == 2


def test_a_gradient_of_all_data_counts_towards_the_deadline() -> None:
    run = run_with("local", Faults(deadline=4))
    run.client_cohort("mlp-8", range(6), Round(0, 0, run.federation)).private_gradient()
    assert [run.factory.work.spent[client] for client in range(6)] == [-(-size // 8) for size in run.data.train.sizes]


def test_a_deadline_goes_before_the_stragglers_of_fedprox() -> None:
    training = replace(TRAINING, local_epochs=3)
    slow = METHODS["fedprox"].config_type(stragglers=1.0)
    free, own, cut, both = (
        outcome("fedprox", Faults(deadline=deadline), training, config=config).rows[0]["steps_local"]
        for deadline, config in ((None, None), (None, slow), (10_000, None), (10_000, slow))
    )
    assert own < free == cut == both


def test_noisy_labels_are_other_classes_with_the_probability() -> None:
    noise = met(Faults(label_noise=0.3))
    true = np.arange(20_000) % 4
    taken = noise.labels(0, true, 4)
    wrong = taken != true
    assert 0.28 < wrong.mean() < 0.32  # 0.3 with a standard deviation of 0.003
    jumps = Counter(((taken - true) % 4)[wrong].tolist())
    assert jumps.keys() == {1, 2, 3}
    assert max(jumps.values()) - min(jumps.values()) < 300  # 2000 of each, with a standard deviation of 40
    assert not np.array_equal(wrong, noise.labels(1, true, 4) != true)
    more = met(Faults(label_noise=0.6)).labels(0, true, 4) != true
    assert (more | ~wrong).all()  # what less noise changes, more noise changes too
    everything = met(Faults(label_noise=1.0)).labels(0, true, 4)
    assert (everything != true).all()


def test_only_private_training_labels_change() -> None:
    run, usual = run_with("fedproto", Faults(label_noise=0.5)), run_with("fedproto", Faults())
    data, truth = run.data, usual.data
    changed = (data.labels != truth.labels).nonzero().flatten()
    assert set(changed.tolist()) <= set(data.train.rows.tolist())
    assert run.facts()["faults"]["labels_changed"] == len(changed) > 0
    assert torch.equal(data.sealed_labels.open_for_evaluation(), truth.sealed_labels.open_for_evaluation())
    for client, rows in enumerate(data.train.split()):
        counts = torch.bincount(data.labels[rows], minlength=4)
        assert torch.equal(data.label_counts[client], counts)
    assert not torch.equal(data.label_counts, truth.label_counts)


def test_poisoned_clients_are_left_out_of_one_number_alone() -> None:
    run = run_with("fedavg", Faults(poison=Poison(clients=0.3)))
    poisoned = run.facts()["faults"]["poisoned"]
    assert len(poisoned) == 2
    for row in finish(run).rows:
        for view in ("global", "+local"):
            accuracies = [client[f"{view}.acc"] for client in row["clients"]]
            honest = [own for client, own in enumerate(accuracies) if client not in poisoned]
            assert row[f"{view}.acc_mean"] == pytest.approx(np.mean(accuracies))
            assert row[f"{view}.acc_honest"] == pytest.approx(np.mean(honest))
        assert [client["poisoned"] for client in row["clients"]] == [int(one in poisoned) for one in range(6)]
    assert "global.acc_honest" not in outcome("fedavg", Faults(label_noise=0.1)).rows[0]


def test_flipped_labels_are_the_next_class_after_noise() -> None:
    run = run_with("fedavg", Faults(poison=Poison(clients=0.3)))
    truth = run_with("fedavg", Faults()).data
    for client, rows in enumerate(truth.train.split()):
        expected = (truth.labels[rows] + 1) % 4 if client in run.facts()["faults"]["poisoned"] else truth.labels[rows]
        assert torch.equal(run.data.labels[rows], expected)
    both = Met(Faults(label_noise=1.0, poison=Poison(clients=0.9)), range(4), Seeds.of(0), 3)
    flipped = min(both.poisoned)
    noisy = Met(Faults(label_noise=1.0), range(4), Seeds.of(0), 3).labels(flipped, np.arange(4), 4)
    assert both.labels(flipped, np.arange(4), 4).tolist() == ((noisy + 1) % 4).tolist()
