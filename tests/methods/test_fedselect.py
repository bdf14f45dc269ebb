"""FedSelect against NumPy with its masks written out, its limits, its bytes and its selection by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError
from fl_bench.federation.cohort import Cohort, FitLog
from fl_bench.federation.rounds import Round
from fl_bench.methods.contract import client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.contract.worlds import normed_net
from fl_bench.methods.fedselect import (
    FedSelect,
    FedSelectConfig,
    bytes_of_change,
    bytes_shared,
    mean_of_sharers,
    merged,
)


@pytest.fixture
def one_start(world):
    """The world of softmax regression, from one start."""
    world.start = [world.start[0].copy() for _ in world.private]
    return world


def masks(run) -> torch.Tensor:
    """Who keeps which weights for itself, shape (clients, 3, 2)."""
    clients = run.client_cohort("linear", range(len(run.data.train.sizes)), Round(0, 0, run.federation))
    kept = clients.kept("personal")
    return torch.zeros(len(clients), 3, 2, dtype=torch.bool) if kept is None else kept["head.weight"].clone()


def everyone_personal(run, name: str) -> None:
    clients = run.client_cohort(name, range(len(run.data.train.sizes)), Round(0, 0, run.federation))
    clients.keep("personal", {key: torch.ones_like(value, dtype=torch.bool) for key, value in clients.weights.items()})


@pytest.mark.parametrize(("participation", "rounds"), [(1.0, 8), (0.67, 12)])
@pytest.mark.parametrize("select_by", ["change", "gradient"])
def test_rounds_against_numpy(
    one_start, weights_of, assert_equal, select_by: str, participation: float, rounds: int
) -> None:
    world = one_start
    world.rounds, world.lr, every, p, limit = rounds, 0.3, 2, 0.5, 0.6
    world.options = {"participation": participation}
    world.private = [(x * (-4.0, 0.2) if i == 1 else x, y) for i, (x, y) in enumerate(world.private)]
    run = world.run("fedselect", p=p, every=every, limit=limit, select_by=select_by)
    server, nets = world.start[0].copy(), [net.copy() for net in world.start]
    personal, took_part = np.zeros((3, 3, 2), dtype=bool), [0, 0, 0]
    reference = [net.w.copy() for net in nets]
    for t in range(world.rounds):
        present = run.participants(t)
        for i in present:
            net, (x, y) = nets[i], world.private[i]
            net.w, net.b = np.where(personal[i], net.w, server.w), server.b.copy()
            for _ in range(world.epochs):  # two passes of one full-batch step each
                step = net.copy()
                step.train(x, y, world.lr)
                net.w = np.where(personal[i], step.w, net.w)
                step = net.copy()
                step.train(x, y, world.lr)
                net.w, net.b = np.where(personal[i], net.w, step.w), step.b
            if took_part[i] > 0 and took_part[i] % every == 0:
                held = personal[i].sum()
                if held / 6 <= limit:
                    step = net.copy()
                    step.train(x, y, 1.0)  # a step of 1 takes the gradient away
                    size = np.abs(net.w - (reference[i] if select_by == "change" else step.w))
                    order = [place for place in np.argsort(-size.ravel()) if not personal[i].ravel()[place]]
                    personal[i].ravel()[order[: 6 - held - int(np.round((1 - p) * (6 - held)))]] = True
                reference[i] = net.w.copy()
            took_part[i] += 1
        for entry in np.ndindex(3, 2):
            sharers = [nets[i].w[entry] for i in present if not personal[i][entry]]
            if sharers:
                server.w[entry] = np.mean(sharers)
        server.b = np.mean([nets[i].b for i in present], axis=0)
    assert_equal(weights_of(run), nets)
    assert (masks(run).numpy() == personal).all()
    assert personal.sum(axis=(1, 2)).tolist() == [4, 4, 4]  # 3 of 6, then 1 of 3; 4/6 is above the limit
    rnd = Round(world.rounds - 1, 0, run.federation)
    view = run.method.views(run.client_cohort("linear", range(3), rnd), rnd)["refreshed"]
    for net, mask in zip(nets, personal, strict=True):
        net.w, net.b = np.where(mask, net.w, server.w), server.b
    np.testing.assert_allclose(view.weights["head.weight"].numpy(), np.stack([net.w for net in nets]), atol=1e-12)
    np.testing.assert_allclose(view.weights["head.bias"].numpy(), np.stack([net.b for net in nets]), atol=1e-12)
    assert len({mask.tobytes() for mask in personal}) > 1  # clients chose for themselves


def test_gradients_choose_other_entries_than_changes_and_cost_a_pass(one_start) -> None:
    # A client takes 2 epochs of 2 passes of a step; in round 2, where it selects, one more for the gradient.
    world = one_start
    world.rounds = 3
    world.private = [(x * (-4.0, 0.2), y) for x, y in world.private]
    by_change, by_gradient = (world.build("fedselect", p=0.5, every=2, select_by=by) for by in ("change", "gradient"))
    steps = [[row.values["steps_local"] for row in run.rounds()] for run in (by_change, by_gradient)]
    assert steps == [[12, 12, 12], [12, 12, 15]]
    assert not torch.equal(masks(by_change), masks(by_gradient))
    kept = [run.client_models("linear").kept for run in (by_change, by_gradient)]
    assert ["reference" in each for each in kept] == [True, False]


def test_the_default_is_no_part_of_a_cells_key() -> None:
    assert "select_by" not in plain(FedSelectConfig())
    assert plain(FedSelectConfig(select_by="gradient"))["select_by"] == "gradient"


def test_without_selection_it_is_fedavg_with_two_passes(one_start, weights_of, assert_equal) -> None:
    # Sums of thirds against thirds of sums: equal to rounding.
    world = one_start
    world.rounds = 5
    run, fedavg = world.run("fedselect", p=0.0, every=1), world.run("fedavg", weights="uniform")
    assert_equal(weights_of(run), weights_of(fedavg))
    steps = [[row.values["steps_local"] for row in each.rounds()] for each in (run, fedavg)]
    assert steps == [[12] * 5, [6] * 5]
    assert not masks(run).any()


def test_with_everything_personal_it_is_local_only_bit_for_bit(deep_world, same_bits) -> None:
    deep_world.epochs, deep_world.rounds = 1, 5  # in one epoch both draw the same batches
    deep_world.private = [(np.concatenate([x, -x, 2 * x]), np.tile(y, 3)) for x, y in deep_world.private]
    run = deep_world.build("fedselect", every=1)
    everyone_personal(run, "mlp-4")
    for row in run.rounds():
        assert row.values["bytes_up"] == 0  # nothing is shared, and the masks stay as they are
    assert same_bits(run.client_weights()["mlp-4"], deep_world.run("local").client_weights()["mlp-4"])


def test_every_epoch_has_batches_of_its_own(deep_world, same_bits, monkeypatch) -> None:
    # With all personal, two epochs train on other batches than one batch order twice.
    deep_world.private = [(np.concatenate([x, -x, 2 * x]), np.tile(y, 3)) for x, y in deep_world.private]
    deep_world.epochs, deep_world.rounds, found, fit = 2, 2, [], Cohort.fit

    def with_one_order(clients: Cohort, *args: Any, **settings: Any) -> FitLog:
        return fit(clients, *args, **{**settings, "stream": "local"})

    for step in (fit, with_one_order):
        monkeypatch.setattr(Cohort, "fit", step)
        run = deep_world.build("fedselect")
        everyone_personal(run, "mlp-4")
        for _ in run.rounds():
            pass
        found.append(run.client_weights()["mlp-4"])
    assert not same_bits(*found)


def test_batch_norm_statistics_stay_with_the_client() -> None:
    dataset, left = made_up_data(), {}

    def statistics(clients: Cohort) -> dict[str, torch.Tensor]:
        return {name: value for name, value in clients.weights.items() if name not in clients.parameters}

    class Watched(FedSelect):
        def train_in_turn(self, clients: Cohort, personal: dict[str, torch.Tensor]) -> None:
            if left:
                assert all(torch.equal(value, left[name]) for name, value in statistics(clients).items())
            super().train_in_turn(clients, personal)
            left.update(statistics(clients))

    with normed_net() as models:
        run = make_run(Watched(FedSelectConfig(every=1)), dataset, deal(dataset), models=models)
        facts, rows = client_facts(run), list(run.rounds())
    assert facts.net.weights > facts.net.trainable  # there are statistics, and they cost nothing
    assert [row["bytes_up"] for row in rows[0].clients] == [facts.net.trainable] * 6
    (means,) = (value for name, value in left.items() if name.endswith("running_mean"))
    assert len({tuple(row) for row in means.tolist()}) == 6


def test_bytes_by_hand(one_start) -> None:
    # 6 weights and 3 biases of 8 bytes. In rounds 1, 2, 3 the masks grow by 3, 1 and 1 weights, and are 6 bits.
    world = one_start
    world.rounds = 5
    rows = [row.clients[1] for row in world.run("fedselect", p=0.5, every=1, limit=0.7).rounds()]
    up = [9 * 8, 6 * 8 + 1, 5 * 8 + 1, 4 * 8 + 1, 4 * 8]  # 5 of 6 is above the limit: nothing new in round 4
    assert [row["bytes_up"] for row in rows] == up
    assert [row["bytes_down"] for row in rows] == [0, 9 * 8, 6 * 8, 5 * 8, 4 * 8]


def test_plan_by_hand(one_start) -> None:
    # at most all 9 numbers of 8 bytes each way, and 9 bits in 2 bytes up
    run = one_start.build("fedselect")
    plan = run.method.plan(client_facts(run))
    assert (plan.up_bytes, plan.down_bytes, plan.bound) == (74, 72, True)


def test_absent_clients_keep_their_masks_and_are_sent_what_they_share(one_start) -> None:
    world = one_start
    world.rounds, world.options = 9, {"participation": 0.4}  # one of three clients a round
    run = world.build("fedselect", p=0.5, every=2)
    shared, took_part, before = [9, 9, 9], [0, 0, 0], masks(run)
    for index, row in enumerate(run.rounds()):
        (drawn,) = run.participants(index)
        assert row.clients[drawn]["bytes_down"] == (8 * shared[drawn] if index else 0)
        after = masks(run)
        assert (before <= after).all()  # masks are monotone
        grows = took_part[drawn] in (2, 4, 6)
        took_part[drawn] += 1
        changed = (before != after).flatten(1).any(dim=1).tolist()
        assert changed == [grows and client == drawn and shared[client] > 4 for client in range(3)]
        shared = (9 - after.flatten(1).sum(dim=1)).tolist()
        before = after
    assert [size < 9 for size in shared] == [rounds > 2 for rounds in took_part]
    assert len(set(shared)) > 1


def test_stopping_and_resuming_changes_nothing_once_masks_grow(tmp_path) -> None:
    dataset = made_up_data()
    dealt, config = deal(dataset), FedSelectConfig(every=1)
    whole = finish(make_run("fedselect", dataset, dealt, config=config))
    path = tmp_path / "checkpoint.pt"
    finish(make_run("fedselect", dataset, dealt, config=config, checkpoint=path), 2)
    resumed = finish(make_run("fedselect", dataset, dealt, config=config, checkpoint=path))
    assert whole.rows[-1]["clients"] == resumed.rows[-1]["clients"]
    assert all(torch.equal(value, resumed.weights[key]) for key, value in whole.weights.items())


def test_selection_by_hand() -> None:
    method = FedSelect(FedSelectConfig(p=0.5, limit=0.5))
    personal = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    change = torch.tensor([3.0, 1.0, 3.0, 2.0]).expand(4, 4)
    # half of four; of three all but round(1.5) = 2, so the 3 that is still shared; one of two; 3/4 is above the limit
    expected = [[1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert method.foremost(personal, change).int().tolist() == expected
    # of equal changes the first; shapes are kept, and no change is a change like any other
    ties = method.foremost(torch.zeros(1, 2, 2, dtype=torch.bool), torch.zeros(1, 2, 2))
    assert ties.tolist() == [[[True, True], [False, False]]]


@pytest.mark.parametrize(
    ("entries", "new"),
    # a quarter of them, as all but round(0.75 s) with halves to even: 0.75, 1.5, 2.25, 3, 3.75, 4.5, 5.25, 7.5
    [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2), (7, 2), (10, 2)],
)
def test_a_quarter_is_rounded_as_the_authors_do(entries: int, new: int) -> None:
    change = torch.arange(float(entries))[None]
    new_ones = FedSelect(FedSelectConfig(p=0.25)).foremost(torch.zeros(1, entries, dtype=torch.bool), change)
    assert new_ones[0].tolist() == [False] * (entries - new) + [True] * new  # those that changed most


def test_averages_by_hand() -> None:
    # entry 0 is shared by both, entry 1 by the second alone, entry 2 by nobody
    values = torch.tensor([[1.0, 0.0, 0.0], [-4.0, 7.0, 0.0]])
    personal = torch.tensor([[False, True, True], [False, False, True]])
    assert mean_of_sharers(values, personal, torch.tensor([[9.0, 9.0, -5.0]])).tolist() == [[-1.5, 7.0, -5.0]]


def test_trees_by_hand() -> None:
    # three weights and two biases of 4 bytes
    before = {"weight": torch.tensor([[0, 1, 0], [0, 0, 0]]).bool(), "bias": torch.zeros(2, 2, dtype=torch.bool)}
    after = {**before, "weight": torch.tensor([[0, 1, 0], [1, 1, 0]]).bool()}
    own = {"weight": torch.ones(2, 3), "bias": torch.ones(2, 2)}
    common = {name: torch.zeros(1, *value.shape[1:]) for name, value in own.items()}
    assert bytes_shared(after, own).tolist() == [(2 + 2) * 4, (1 + 2) * 4]
    assert bytes_of_change(before, after).tolist() == [0, 1]
    nine = {"weight": torch.ones(1, 9, dtype=torch.bool)}
    assert bytes_of_change({"weight": ~nine["weight"]}, nine).tolist() == [2]  # nine bits in whole bytes
    tree = merged(after, own, common)
    assert tree["weight"].tolist() == [[0, 1, 0], [1, 1, 0]]
    assert not tree["bias"].any()


@pytest.mark.parametrize("wrong", [{"p": -0.1}, {"p": 1.1}, {"limit": 1.1}, {"limit": -0.1}, {"every": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"fedselect.{next(iter(wrong))}"):
        FedSelectConfig(**wrong)


def test_both_passes_have_moments_of_their_own_where_they_persist(deep_world) -> None:
    deep_world.options = {"momentum": 0.9, "optimizer_state": "persist"}
    run = deep_world.run("fedselect")
    assert run.client_models("mlp-4").moments.keys() == {"personal", "shared"}
