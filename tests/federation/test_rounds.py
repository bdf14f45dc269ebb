"""The round loop: rows, draws, initial weights, messages, resuming, divergence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fl_bench.errors import ConfigError, DataError, Diverged
from fl_bench.federation import checkpoint
from fl_bench.federation.batches import Teaching
from fl_bench.federation.channel import Downloads, Parcel
from fl_bench.federation.factory import assign_architectures
from fl_bench.federation.models import build_net
from fl_bench.federation.payloads import Scalars
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import Method, Requires
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import METHODS
from fl_bench.streams import FACTORS, Seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from fl_bench.federation.batches import Batch
    from fl_bench.federation.channel import Uploads
    from fl_bench.federation.cohort import Cohort
    from fl_bench.federation.deployed import Deployed

ROUNDS = 3


@dataclass(frozen=True)
class EchoConfig:
    """Echo has no settings."""


class Echo(Method[EchoConfig]):
    """Each client sends its id and what it received; the server replies with `reply` to all (or as `post` says)."""

    name = "echo"
    exchanges = frozenset({Scalars})

    def __init__(self, post: Callable[[Uploads, Round], Downloads | None] | None = None) -> None:
        super().__init__()
        self.post = post
        self.calls: list[tuple[int, tuple[int, ...], list[float] | None]] = []
        self.seen: list[list[float]] = []

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        heard = None if received is None else received.values["value"].tolist()
        self.calls.append((rnd.index, clients.ids, heard))
        return Scalars({"value": torch.tensor(clients.ids, dtype=torch.float32)})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        self.seen.append(list(uploads.ids))
        if self.post is not None:
            return self.post(uploads, rnd)
        return uploads.to_all(Scalars({"value": torch.tensor([float(rnd.index)])}))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = list(state["seen"])


@pytest.fixture
def make_run(deal):
    """Makes a run of a method (by name or instance) on four clients in two groups, unless told otherwise."""

    def make(
        method: Any = "local", *, names=("mlp-4",), assignment="balanced", width=None, run=None, data=None, **training
    ) -> Run:
        dataset, split = deal(**{"train": (5, 8, 3, 6), "groups": [0, 0, 1, 1], **(data or {})})
        return Run(
            METHODS[method]() if isinstance(method, str) else method,
            dataset,
            split,
            ModelMix(names, assignment, width=width),
            Training(**{"rounds": ROUNDS, "batch_size": 4, "lr": 0.01, **training}),
            **{"seed": 0, **(run or {})},
        )

    return make


def finish(run: Run) -> list[Any]:
    return list(run.rounds())


def without_clocks(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.values.items() if not key.startswith("seconds_")}


METRICS = ["acc_mean", "acc_weighted", "acc_std", "acc_worst_decile", "acc_min", "loss_mean", "brier_mean", "top5_mean"]
METRICS += ["acc_drawn", "acc_new"]


def test_a_row_has_these_keys_in_this_order(make_run) -> None:
    for index, row in enumerate(finish(make_run("local"))):
        assert list(row.values) == [
            "round",
            "participants",
            *(f"client.{name}" for name in METRICS),
            "val_acc_mean",
            *("loss_local", "loss_distill", "loss_server"),
            *("bytes_up", "bytes_down"),
            *("steps_local", "steps_distill", "steps_server"),
            *("seconds_training", "seconds_server", "seconds_evaluation", "seconds_checkpoint"),
        ]
        assert row.values["round"] == index
        assert row.values["participants"] == 4
        assert row.values["steps_local"] == 2 + 2 + 1 + 2  # 5, 8, 3 and 6 samples in batches of 4
        assert row.values["loss_local"] > 0
        assert row.values["loss_distill"] is row.values["loss_server"] is None
        assert [list(client) for client in row.clients] == [
            [
                *("round", "client", "group", "model", "train_size", "test_size", "cluster", "draws"),
                *("client.acc", "client.loss", "bytes_up", "bytes_down"),
            ]
        ] * 4
        assert [client["client"] for client in row.clients] == [0, 1, 2, 3]
        assert [client["group"] for client in row.clients] == [0, 0, 1, 1]
        assert [client["train_size"] for client in row.clients] == [5, 8, 3, 6]
        assert all(row.values[f"seconds_{part}"] >= 0 for part in ("training", "server", "evaluation", "checkpoint"))


def test_accuracy_is_that_of_the_clients_own_models(make_run, deal) -> None:
    run = make_run("local", names=("mlp-4", "linear"), precision="float64", data={"groups": None})
    row = finish(run)[-1]
    dataset, split = deal(train=(5, 8, 3, 6))
    weights = run.client_weights()
    accuracies, losses = [], []
    for client, (name, place) in enumerate([("mlp-4", 0), ("linear", 0), ("mlp-4", 1), ("linear", 1)]):
        net = build_net(name, (4,), 3).double()
        net.load_state_dict({key: tensor[place] for key, tensor in weights[name].items()})
        rows = split.test[client]
        logits = net.eval()(dataset.inputs[rows].double())
        accuracies.append(100 * (logits.argmax(dim=1) == dataset.labels[rows]).double().mean().item())
        losses.append(F.cross_entropy(logits, dataset.labels[rows]).item())
    assert [client["client.acc"] for client in row.clients] == pytest.approx(accuracies)
    assert [client["client.loss"] for client in row.clients] == pytest.approx(losses)
    assert [client["model"] for client in row.clients] == ["mlp-4", "linear", "mlp-4", "linear"]
    assert row.values["client.acc_mean"] == pytest.approx(np.mean(accuracies))


def test_validation_accuracy_needs_validation_rows(make_run) -> None:
    assert finish(make_run("local", rounds=1))[0].values["val_acc_mean"] is not None
    assert finish(make_run("local", rounds=1, data={"validation": 0}))[0].values["val_acc_mean"] is None


def test_a_client_without_test_samples_has_no_accuracy_and_counts_in_no_mean(deal) -> None:
    dataset, split = deal(train=(5, 8, 3, 6), groups=[0, 0, 1, 1])
    split = replace(split, test=(split.test[0][:0], *split.test[1:]))
    run = Run(METHODS["local"](), dataset, split, ModelMix(("mlp-4",)), Training(rounds=1), seed=0)
    row = finish(run)[0]
    accuracies = [client["client.acc"] for client in row.clients]
    assert (accuracies[0], row.clients[0]["client.loss"], row.clients[0]["test_size"]) == (None, None, 0)
    assert row.values["client.acc_mean"] == pytest.approx(np.mean(accuracies[1:]))
    assert all(np.isfinite(row.values[f"client.{name}"]) for name in METRICS[:-1])
    assert row.values["client.acc_new"] is None


@pytest.mark.parametrize(
    ("part", "without", "words"),
    [
        ("train", (1, 3), "clients 1, 3 have no training samples; leave them out of the split"),
        ("test", (0, 1, 2, 3), "no client has test samples"),
    ],
)
def test_data_that_no_mean_can_be_taken_of_are_refused_before_the_rounds(
    deal, part: str, without: tuple[int, ...], words: str
) -> None:
    dataset, split = deal(train=(5, 8, 3, 6))
    left = [rows[:0] if client in without else rows for client, rows in enumerate(getattr(split, part))]
    with pytest.raises(DataError, match=words):
        Run(METHODS["local"](), dataset, replace(split, **{part: tuple(left)}), ModelMix(), Training(), seed=0)


def test_only_a_single_model_is_tested_on_everything(make_run, deal) -> None:
    run = make_run("fedavg", precision="float64")
    row = finish(run)[-1].values
    assert "+local.acc_global_test" not in row
    dataset, split = deal(train=(5, 8, 3, 6), groups=[0, 0, 1, 1])
    net = build_net("mlp-4", (4,), 3).double()
    net.load_state_dict({key: tensor[0] for key, tensor in run.method.w.items()})
    predicted = net(dataset.inputs[split.global_test].double()).argmax(dim=1)
    right = (predicted == dataset.labels[split.global_test]).double().mean().item()
    assert row["global.acc_global_test"] == pytest.approx(100 * right)
    assert "global.acc_global_test" not in finish(make_run("fedavg", rounds=1, data={"global_test": 0}))[0].values


def test_only_the_deployed_view_is_scored_where_no_other_is_wanted(make_run) -> None:
    everything, alone = finish(make_run("fedavg")), finish(make_run("fedavg", views="deployed"))
    for row, short in zip(everything, alone, strict=True):
        assert {key for key in row.values if key not in short.values} == {f"+local.{name}" for name in METRICS}
        kept = {key: value for key, value in without_clocks(row).items() if key in short.values}
        assert without_clocks(short) == kept
        assert [{key: own[key] for key in less} for own, less in zip(row.clients, short.clients, strict=True)] == list(
            short.clients
        )


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_risks_of_every_client_and_view_by_hand(make_run, deal, engine: str) -> None:
    dataset, split = deal(train=(5, 8, 3, 6), groups=[0, 0, 1, 1])
    run = make_run("fedavg", precision="float64", risks=True, engine=engine)
    row = finish(run)[-1]
    weights, net = run.client_weights()["mlp-4"], build_net("mlp-4", (4,), 3).double()
    for client, own in enumerate(row.clients):
        for view, tree in (("+local", {key: tensor[client] for key, tensor in weights.items()}),
                           ("global", {key: tensor[0] for key, tensor in run.method.w.items()})):  # fmt: skip
            net.load_state_dict(tree)
            inputs = dataset.inputs[split.test[client]].double().numpy()
            labels = dataset.labels[split.test[client]].numpy()
            logits = net(torch.from_numpy(inputs)).detach().numpy()
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            p = odds / odds.sum(axis=1, keepdims=True)
            one_hot = np.eye(3)[labels]
            assert own[f"{view}.loss"] == pytest.approx(-np.log(p[one_hot == 1]).mean())
            assert own[f"{view}.brier"] == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean(), abs=5e-7)
            assert own[f"{view}.brier"] == round(own[f"{view}.brier"], 6)
            assert own[f"{view}.acc"] == pytest.approx(100 * (p.argmax(axis=1) == labels).mean())


def test_risks_add_a_column_per_view_and_change_nothing_else_also_after_a_stop(make_run, tmp_path: Path) -> None:
    stopped = make_run("fedavg", risks=True, run={"checkpoint": tmp_path / "c.pt"}).rounds()
    next(stopped), next(stopped)
    plain, risky = finish(make_run("fedavg")), finish(make_run("fedavg", risks=True))
    resumed = finish(make_run("fedavg", risks=True, run={"checkpoint": tmp_path / "c.pt"}))
    assert [row.clients for row in resumed] == [row.clients for row in risky]
    for row, more in zip(plain, risky, strict=True):
        assert without_clocks(more) == without_clocks(row)
        for own, further in zip(row.clients, more.clients, strict=True):
            assert further.keys() - own.keys() == {"+local.brier", "global.brier"}
            assert own.items() <= further.items()


def test_all_methods_of_a_seed_draw_the_same_clients(make_run) -> None:
    runs = [make_run(name, participation=0.5) for name in ("local", "fedavg", "fedmd")]
    drawn = [[run.participants(t) for t in range(40)] for run in runs]
    assert drawn[0] == drawn[1] == drawn[2]
    for clients in drawn[0]:
        assert len(clients) == 2
        assert clients == sorted(set(clients))
    # Forty draws of 2 in 4: each client is expected 20 times, with a deviation of 3.2.
    assert all(10 < count < 30 for count in Counter(client for clients in drawn[0] for client in clients).values())
    assert drawn[0] != [make_run("local", participation=0.5, run={"seed": 1}).participants(t) for t in range(40)]


class Watching(Echo):
    """Notes what clients train on in every round, what it draws, and what noise and public samples there are."""

    requires = Requires(public_data=True)

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[Any] = []
        self.noises: list[Any] = []
        self.own: list[float] = []
        self.subsets: list[Any] = []

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        def look(model: nn.Module, batch: Batch) -> Tensor:
            assert batch.noise is not None
            self.orders.append(batch.x.tolist())
            self.noises.append(batch.noise.tolist())
            return model(batch.x).sum()

        clients.copy().fit(look, noise=True)
        self.own.append(rnd.stream("own").random())
        self.subsets.append(rnd.public.subset(2, rnd.seed, rnd.index).tolist())
        return super().client_update(clients, received, rnd)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_part_of_the_randomness_moves_alone(make_run, factor: str) -> None:
    def drawn(seed: int | Seeds) -> dict[str, Any]:
        method = Watching()
        run = make_run(method, engine="loop", local_epochs=1, run={"seed": seed})
        federation = run.federation
        trees = [
            run.client_weights()["mlp-4"],
            federation.fresh_weights("mlp-4", 2),
            federation.server_models(2).weights,
            federation.common_net().state_dict(),
            federation.pooled([[0, 1]]).weights,
        ]
        finish(run)
        few = make_run("local", participation=0.5, run={"seed": seed})
        assert len(method.orders) == ROUNDS * (2 + 2 + 1 + 2)  # batches of 4 from 5, 8, 3 and 6 samples
        return {
            "init": [{name: tensor.tolist() for name, tensor in tree.items()} for tree in trees],
            "draws": [[few.participants(t) for t in range(20)], method.own, method.subsets],
            "batches": [method.orders, method.noises],
        }

    plain, varied = drawn(0), drawn(Seeds.of(0, {factor: 1}))
    assert drawn(Seeds.of(0)) == plain
    assert {what for what in plain if plain[what] != varied[what]} == {factor} - {"partition"}  # which split draws
    if factor != "partition":  # and all that belongs to the part moves
        assert all(before != after for before, after in zip(plain[factor], varied[factor], strict=True))


def test_nets_dealt_at_random_belong_to_the_partition(make_run) -> None:
    def dealt(factor: str) -> list[tuple[str, ...]]:
        seeds = [Seeds.of(0, {factor: level}) for level in range(6)]
        runs = [make_run(names=("mlp-4", "linear"), assignment="random", run={"seed": seed}) for seed in seeds]
        return [run.architectures for run in runs]

    assert len(set(dealt("partition"))) > 2
    assert all(len(set(dealt(factor))) == 1 for factor in FACTORS if factor != "partition")


@pytest.mark.parametrize(("fraction", "count"), [(1e-9, 1), (0.3, 1), (0.5, 2), (0.8, 3), (1.0, 4)])
def test_number_of_participants(make_run, fraction: float, count: int) -> None:
    # max(1, round(fraction * 4))
    assert len(make_run("local", participation=fraction).participants(0)) == count


def test_those_who_stay_away_do_nothing_and_send_nothing(make_run) -> None:
    run = make_run("fedmd", participation=0.5)
    before = run.client_weights()["mlp-4"]
    for row in run.rounds():
        drawn = run.participants(row.values["round"])
        after = run.client_weights()["mlp-4"]
        for client in range(4):
            moved = any(not torch.equal(after[key][client], before[key][client]) for key in after)
            assert moved == (client in drawn)
            assert (row.clients[client]["bytes_up"] > 0) == (client in drawn)
        assert row.values["participants"] == 2
        before = after


def test_clients_that_took_part_and_those_that_never_did_are_counted_apart(deal) -> None:
    dataset, split = deal(train=(5, 8, 3, 6, 4), groups=[0, 0, 1, 1, 1])
    split = replace(split, test=(split.test[0][:0], *split.test[1:]))  # without samples: in neither mean
    training = Training(rounds=8, batch_size=4, participation=0.2)
    run = Run(METHODS["fedavg"](), dataset, split, ModelMix(("mlp-4",)), training, seed=0)
    draws = np.zeros(5, dtype=int)
    for row in run.rounds():
        draws[run.participants(row.values["round"])] += 1
        assert [client["draws"] for client in row.clients] == draws.tolist()
        for view in ("global", "+local"):
            accuracies = np.array([client[f"{view}.acc"] or 0 for client in row.clients])
            for name, chosen in (("acc_drawn", draws > 0), ("acc_new", draws == 0)):
                own = accuracies[1:][chosen[1:]]
                assert row.values[f"{view}.{name}"] == (pytest.approx(own.mean()) if own.size else None)
    assert draws.tolist() == [1, 3, 1, 2, 1]  # in the end everybody took part, some more than once


def test_balanced_architectures_are_not_confounded_with_groups() -> None:
    # Groups alternate; dealing architectures by client id would give each group one of its own.
    mix = ModelMix(("a", "b"))
    assert assign_architectures(mix, 4, np.array([0, 1, 0, 1]), seed=0) == ("a", "a", "b", "b")
    assert assign_architectures(mix, 4, None, seed=0) == ("a", "b", "a", "b")


@given(groups=st.lists(st.integers(0, 4), min_size=1, max_size=30), models=st.integers(1, 4))
def test_within_a_group_architectures_differ_by_at_most_one(groups: list[int], models: int) -> None:
    names = tuple("abcd"[:models])
    assigned = assign_architectures(ModelMix(names), len(groups), np.array(groups), seed=0)
    for group in set(groups):
        counts = Counter(name for name, owner in zip(assigned, groups, strict=True) if owner == group)
        assert max(counts.values()) - min(counts[name] for name in names) <= 1


def test_random_architectures_belong_to_the_client() -> None:
    mix = ModelMix(("a", "b", "c"), "random")
    many = assign_architectures(mix, 300, None, seed=3)
    assert assign_architectures(mix, 20, np.zeros(20, dtype=int), seed=3) == many[:20]  # whoever else there is
    assert assign_architectures(mix, 300, None, seed=4) != many
    assert min(Counter(many).values()) > 70  # 100 each are expected, with a deviation of 8


def test_explicit_architectures() -> None:
    mix = ModelMix(("a", "b"), ("b", "b", "a"))
    assert assign_architectures(mix, 3, None, seed=0) == ("b", "b", "a")
    with pytest.raises(ConfigError, match="names 3 architectures for 4 clients"):
        assign_architectures(mix, 4, None, seed=0)


def rows_equal(tree: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor[0].expand_as(tensor), tensor) for tensor in tree.values())


def test_initial_weights_are_shared_or_the_clients_own(make_run) -> None:
    shared = make_run("local").client_weights()["mlp-4"]
    own = make_run("local", init="per_client").client_weights()["mlp-4"]
    assert rows_equal(shared)
    weight = own["head.weight"].flatten(1)
    assert len({tuple(row.tolist()) for row in weight}) == 4
    # A client's weights depend on nobody else: four clients or six, alone or in a mix.
    more = make_run("local", init="per_client", data={"train": (5, 8, 3, 6, 4, 4), "groups": None})
    assert torch.equal(more.client_weights()["mlp-4"]["head.weight"][:4], own["head.weight"])
    mixed = make_run("local", init="per_client", names=("mlp-4", "linear"), data={"groups": None})
    assert torch.equal(mixed.client_weights()["mlp-4"]["head.weight"], own["head.weight"][[0, 2]])


def test_methods_of_a_seed_are_paired(make_run) -> None:
    def pairing(method: str, seed: int = 0, **options: Any) -> dict[str, str]:
        found: dict[str, str] = make_run(method, run={"seed": seed}, **options).facts()["pairing"]
        return found

    first = pairing("local", participation=0.5)
    for other in ("fedavg", "fedmd", "local-public", "centralized", "cosmos"):
        assert pairing(other, participation=0.5) == first
    changes: list[tuple[set[str], dict[str, str]]] = [
        ({"initial_weights", "client_draws"}, pairing("local", seed=1, participation=0.5)),
        ({"client_draws"}, pairing("local")),
        ({"initial_weights"}, pairing("local", participation=0.5, init="per_client")),
        ({"initial_weights"}, pairing("local", participation=0.5, names=("mlp-5",))),
        ({"partition", "public_order"}, pairing("local", participation=0.5, data={"public": 7})),
    ]
    for expected, found in changes:
        assert {key for key, value in found.items() if first[key] != value} == expected


def test_messages_reach_the_clients_of_the_next_round(make_run) -> None:
    method = Echo()
    finish(make_run(method))
    everyone = (0, 1, 2, 3)
    assert method.calls == [(0, everyone, None), (1, everyone, [0.0] * 4), (2, everyone, [1.0] * 4)]


def test_feedback_is_charged_when_it_is_heard(make_run) -> None:
    # One float32 up and one down per client; what the server says after the last round is heard by nobody.
    rows = finish(make_run(Echo()))
    assert [(row.values["bytes_up"], row.values["bytes_down"]) for row in rows] == [(16, 0), (16, 16), (16, 16)]
    assert [client["bytes_down"] for client in rows[1].clients] == [4, 4, 4, 4]


def test_clients_with_different_mail_update_apart_and_arrive_together(make_run) -> None:
    # The server writes to clients 0 and 2 alone: next round they read it, and clients 1 and 3 still have no message.
    def post(uploads: Uploads, rnd: Round) -> Downloads | None:
        return Downloads((Parcel(Scalars({"value": torch.tensor([7.0])}), {0: 0, 2: 0}),)) if rnd.index == 0 else None

    method = Echo(post)
    rows = finish(make_run(method, rounds=2))
    assert method.calls[1:] == [(1, (0, 2), [7.0, 7.0]), (1, (1, 3), None)]
    assert method.seen == [[0, 1, 2, 3]] * 2
    assert [client["bytes_down"] for client in rows[1].clients] == [4, 0, 4, 0]


def test_architectures_update_apart_and_arrive_in_client_order(make_run) -> None:
    method = Echo()
    finish(make_run(method, names=("mlp-4", "linear"), rounds=1))
    assert [ids for _, ids, _ in method.calls] == [(0, 2), (1, 3)]
    assert method.seen == [[0, 1, 2, 3]]


def test_clients_of_a_cohort_hold_their_own_data(make_run, deal) -> None:
    run = make_run("local", names=("mlp-4", "linear"), data={"groups": None})
    dataset, split = deal(train=(5, 8, 3, 6))
    cohort = run.client_cohort("linear", [3], Round(1, 0, run.federation))
    assert (cohort.ids, cohort.round_index) == ((3,), 1)
    assert cohort.members.rows == (1,)  # client 3 is the second with this net
    assert [rows.tolist() for rows in cohort.members.private_rows] == [split.train[3].tolist()]
    assert torch.equal(cohort.label_counts[0], torch.bincount(dataset.labels[split.train[3]], minlength=3))


def test_fedmd_averages_over_architectures(make_run) -> None:
    seen: list[Tensor] = []
    run = make_run("fedmd", names=("mlp-4", "linear"), precision="float64", rounds=1)
    server_update = run.method.server_update
    run.method.server_update = lambda uploads, rnd: (seen.append(uploads.scores()), server_update(uploads, rnd))[1]
    finish(run)
    rnd = Round(0, 0, run.federation)
    for name, ids in (("mlp-4", [0, 2]), ("linear", [1, 3])):
        predicted = run.client_cohort(name, ids, rnd).predict(rnd.public.inputs(), as_="logits")
        torch.testing.assert_close(seen[0][ids], predicted, rtol=0, atol=1e-12)


def test_a_resumed_run_yields_its_old_rows_first(make_run, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    whole = [(without_clocks(row), row.clients) for row in finish(make_run(Echo()))]
    rounds = make_run(Echo(), run={"checkpoint": path}).rounds()
    next(rounds), next(rounds)
    rounds.close()
    method = Echo()
    resumed = make_run(method, run={"checkpoint": path}).rounds()
    first, second = next(resumed), next(resumed)
    assert method.calls == []  # restored, not run again
    third = next(resumed)
    assert method.calls == [(2, (0, 1, 2, 3), [1.0] * 4)]  # with the message that was waiting
    assert method.seen == [[0, 1, 2, 3]] * 3
    assert [(without_clocks(row), row.clients) for row in (first, second, third)] == whole
    assert list(resumed) == []
    method = Echo()
    assert [without_clocks(row) for row in finish(make_run(method, run={"checkpoint": path}))] == [
        row for row, _ in whole
    ]
    assert method.calls == []


def test_clients_go_on_from_their_own_weights_and_moments(make_run, tmp_path: Path) -> None:
    # local-public keeps predictions with the clients, and persistent Adam keeps moments.
    settings: dict[str, Any] = {"names": ("mlp-4", "linear"), "optimizer_state": "persist"}
    whole, resumed = (
        make_run("local-public", **settings),
        make_run("local-public", **settings, run={"checkpoint": tmp_path / "c.pt"}),
    )
    next(make_run("local-public", **settings, run={"checkpoint": tmp_path / "c.pt"}).rounds())
    assert [without_clocks(row) for row in finish(resumed)] == [without_clocks(row) for row in finish(whole)]
    for name, tree in whole.client_weights().items():
        for key, tensor in tree.items():
            assert torch.equal(tensor, resumed.client_weights()[name][key])


def test_a_damaged_checkpoint_starts_the_run_again(make_run, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    rows = finish(make_run("local", run={"checkpoint": path}))
    assert [without_clocks(row) for row in rows] == [without_clocks(row) for row in finish(make_run("local"))]


class Peeker(Echo):
    """Opens the public labels in its first round only."""

    requires = Requires(public_data=True)

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        if rnd.index == 0:
            rnd.public.labels.open("peeker")
        return super().client_update(clients, received, rnd)


def test_badges_survive_a_restart(make_run, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    next(make_run(Peeker(), run={"checkpoint": path}).rounds())
    resumed = make_run(Peeker(), run={"checkpoint": path})
    assert resumed.facts()["badges"] == []
    finish(resumed)
    assert resumed.facts()["badges"] == ["oracle: public labels (peeker)"]
    assert make_run(Peeker()).facts()["badges"] == []  # the seal is the run's own


class Breaker(Echo):
    """Ruins itself in a chosen way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        if self.how == "weights":
            clients.only([1]).load({"head.bias": torch.tensor([[0.0, float("inf"), 0.0]])})
        if self.how in ("loss", "nan"):

            def hopeless(model: nn.Module, batch: Batch) -> Tensor:
                return 0 * model(batch.x).sum() + (5000.0 if self.how == "loss" else float("nan"))

            clients.fit(hopeless)
        return super().client_update(clients, received, rnd)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        if self.how != "scores":
            return clients.deployed()
        return clients.with_weights({name: tensor * float("nan") for name, tensor in clients.weights.items()})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("weights", "a weight of client models mlp-4 is not finite"),
        # ln 3 = 1.1 nats is what even guessing has; 5000 is more than a thousand times that.
        ("loss", r"mean local training loss is 5e\+03; guessing evenly would have 1.1"),
        ("nan", "mean local training loss is nan|a weight of client models mlp-4 is not finite"),
        ("scores", "the test loss of view client is not finite"),
    ],
)
def test_divergence_is_told_from_an_accuracy(make_run, how: str, says: str) -> None:
    with pytest.raises(Diverged, match=says):
        finish(make_run(Breaker(how)))


def test_facts_for_the_record(make_run) -> None:
    run = make_run("fedmd", names=("mlp-4", "linear"))
    finish(run)
    facts = run.facts()
    assert facts["deployed"] == "client"
    assert facts["views"] == ["client"]
    assert facts["badges"] == []
    assert facts["view_badges"] == {}
    assert facts["parameters"] == {"mlp-4": 4 * 4 + 4 + 4 * 3 + 3, "linear": 4 * 3 + 3}
    # Six public samples of four float32 features, shipped once to each of four clients.
    assert facts["public_samples"] == 6
    assert facts["bytes_one_off"] == 6 * 4 * 4 * 4
    assert make_run("fedavg").facts()["bytes_one_off"] == 0
    assert make_run("feddf").facts()["bytes_one_off"] == 0  # its pool stays with the server
    assert facts["dataset"]["shape"] == [4]
    assert facts["heterogeneity"]["in_group_share"] is None


class Oracle(Echo):
    """Reports a view that picks the best model on test data."""

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        return {"server_oracle": clients.best_of(), "+same": clients.deployed()}


def test_an_oracle_view_carries_its_badge(make_run) -> None:
    run = make_run(Oracle())
    row = finish(run)[0].values
    assert run.facts()["views"] == ["+same", "client", "server_oracle"]
    assert run.facts()["view_badges"] == {"server_oracle": ["oracle: test labels"]}
    assert row["server_oracle.acc_mean"] >= row["client.acc_mean"] == row["+same.acc_mean"]


def test_server_models_start_apart_and_repeatably(make_run) -> None:
    run = make_run("local")
    cohort = run.federation.server_models(3)
    again = run.federation.server_models(4)
    assert cohort.ids == (0, 1, 2)
    for name, tensor in cohort.weights.items():
        assert torch.equal(tensor, again.weights[name][:3])
    assert len({tuple(row.flatten().tolist()) for row in cohort.weights["head.weight"]}) == 3
    assert not torch.equal(cohort.weights["head.weight"][0], run.client_weights()["mlp-4"]["head.weight"][0])
    keys: list[int] = []
    run.federation.server_models(2, wrap=lambda net, key: (keys.append(key), net)[1])
    assert len(set(keys)) == 2


class TwoNets(Echo):
    """Puts the common net beside the client's own."""

    def build_client(self, base: nn.Module) -> nn.Module:
        assert self.federation.architectures == ("mlp-4", "linear", "mlp-4", "linear")
        return nn.ModuleDict({"own": base, "common": self.federation.common_net()})


def test_clients_may_have_a_net_in_common(make_run) -> None:
    # The common net is of the server architecture, mlp-4 here, and starts alike for all: as a client of that
    # architecture starts where clients share their start, though these do not.
    shared = make_run("local", names=("mlp-4",)).client_weights()["mlp-4"]
    weights = make_run(TwoNets(), names=("mlp-4", "linear"), init="per_client").client_weights()
    for architecture in ("mlp-4", "linear"):
        for key, start in shared.items():
            common = weights[architecture][f"common.{key}"]
            assert (common == start[:1]).all()
    assert not rows_equal({key: value for key, value in weights["mlp-4"].items() if key.startswith("own.")})


def test_pooled_clients_are_one(make_run, deal) -> None:
    run = make_run("local")
    _, split = deal(train=(5, 8, 3, 6))
    cohort = run.federation.pooled([[0, 1], [3]])
    assert [sorted(rows.tolist()) for rows in cohort.members.private_rows] == [
        sorted([*split.train[0], *split.train[1]]),
        split.train[3].tolist(),
    ]
    assert cohort.ids == (0, 3)
    assert rows_equal(cohort.weights)
    assert torch.equal(cohort.weights["head.weight"][0], run.client_weights()["mlp-4"]["head.weight"][0])
    assert run.facts()["badges"] == []
    with_public = run.federation.pooled([[2]], with_public_by="bound")
    assert with_public.members.private_rows[0].tolist() == [*split.train[2], *split.public]
    assert run.facts()["badges"] == ["oracle: public labels (bound)"]


def test_a_codec_makes_scores_smaller(make_run) -> None:
    # Four clients send 6 samples * 3 classes: 4 bytes a number, or 2 with float16.
    for codec, number in (("none", 4), ("float16", 2)):
        rows = finish(make_run("fedmd", run={"codec": codec}))
        assert [row.values["bytes_up"] for row in rows] == [4 * 6 * 3 * number] * ROUNDS
        assert [row.values["bytes_down"] for row in rows] == [0] + [4 * 6 * 3 * number] * (ROUNDS - 1)


def test_streams_of_a_round_belong_to_it(make_run) -> None:
    federation = make_run("local").federation
    draws = [Round(t, seed, federation).stream(name).random() for t in (0, 1) for seed in (0, 1) for name in ("a", "b")]
    assert len(set(draws)) == 8
    assert Round(0, 0, federation).stream("a").random() == draws[0]


def test_a_checkpoint_of_other_code_starts_the_run_again(make_run, tmp_path: Path, monkeypatch) -> None:
    def clock_of_first_round() -> float:
        run = make_run("local", run={"checkpoint": tmp_path / "checkpoint.pt"})
        return next(iter(run.rounds())).values["seconds_training"]

    first = clock_of_first_round()
    assert clock_of_first_round() == first  # restored, clock and all
    honest = checkpoint.made_with(torch.device("cpu"))
    for changed in ({"code": "other"}, {"torch": "0.0"}, {"device": "cuda"}):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "made_with", lambda device, changed=changed: honest | changed)
            again = clock_of_first_round()
            assert again != first
            first = again


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("init", ["shared_per_arch", "per_client"])
def test_the_start_is_that_of_the_first_client_of_each_architecture(make_run, init: str) -> None:
    run = make_run("local", names=("mlp-4", "linear"), init=init, data={"groups": None})
    start = run.client_weights()
    finish(run)  # asked for after training only
    assert run.federation.start.keys() == {"mlp-4", "linear"}
    for architecture, tree in run.federation.start.items():
        assert equal(tree, {name: tensor[:1] for name, tensor in start[architecture].items()})


def test_the_start_survives_a_restart(make_run, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    start = make_run("local").federation.start["mlp-4"]
    next(make_run("local", run={"checkpoint": path}).rounds())
    resumed = make_run("local", run={"checkpoint": path})
    finish(resumed)
    assert equal(resumed.federation.start["mlp-4"], start)


def test_fresh_weights_begin_with_the_shared_start(make_run) -> None:
    run, again = make_run("local"), make_run("fedavg")
    finish(run)
    four = run.federation.fresh_weights("mlp-4", 4)
    assert equal({name: tensor[:1] for name, tensor in four.items()}, run.federation.start["mlp-4"])
    assert equal(four, again.federation.fresh_weights("mlp-4", 4))  # both sides know them by the seed
    assert equal({name: tensor[:2] for name, tensor in four.items()}, run.federation.fresh_weights("mlp-4", 2))
    one = run.federation.fresh_weights("mlp-4", 1)
    assert equal(one, run.federation.start["mlp-4"])
    for tensor in one.values():
        tensor.zero_()  # what a method makes of its own copy
    assert not run.federation.start["mlp-4"]["head.weight"].eq(0).any()
    assert len({tuple(row.flatten().tolist()) for row in four["head.weight"]}) == 4
    other = make_run("local", run={"seed": 1}).federation.fresh_weights("mlp-4", 4)
    assert not any(torch.equal(one, two) for one, two in zip(four["head.weight"], other["head.weight"], strict=True))


def test_fresh_weights_fit_what_clients_train(make_run) -> None:
    run = make_run(TwoNets(), names=("mlp-4", "linear"))
    fresh = run.federation.fresh_weights("linear", 3)
    assert {name: tensor.shape[1:] for name, tensor in fresh.items()} == {
        name: tensor.shape[1:] for name, tensor in run.client_weights()["linear"].items()
    }
    # The net in common is the same in all of them, by its definition.
    assert rows_equal({name: tensor for name, tensor in fresh.items() if name.startswith("common.")})
    assert not rows_equal({name: tensor for name, tensor in fresh.items() if name.startswith("own.")})


def test_identities_are_the_clients_numbers_unless_renumbered(make_run) -> None:
    assert make_run("local").federation.identities == (0, 1, 2, 3)
    renumbered = make_run("local", init="per_client", run={"identities": (3, 0, 2, 1)})
    assert renumbered.federation.identities == (3, 0, 2, 1)
    usual = make_run("local", init="per_client").client_weights()["mlp-4"]["head.weight"]
    assert torch.equal(renumbered.client_weights()["mlp-4"]["head.weight"], usual[[3, 0, 2, 1]])
    assert renumbered.client_cohort("mlp-4", [1, 3], Round(0, 0, renumbered.federation)).keys == (0, 1)


def test_uploaded_models_in_the_servers_hands(make_run) -> None:
    run = make_run("local", names=("mlp-4", "linear"), precision="float64", data={"groups": None}, init="per_client")
    sent = {name: tensor[[1, 0, 1]] for name, tensor in run.client_weights()["linear"].items()}
    held = run.federation.holding("linear", sent)
    assert (len(held), held.side, held.architecture) == (3, "server", "linear")
    inputs = run.data.public.inputs()
    expected = torch.einsum("mcf,sf->msc", sent["head.weight"], inputs) + sent["head.bias"][:, None]
    torch.testing.assert_close(held.predict(inputs, as_="logits"), expected, rtol=0, atol=1e-12)
    before = run.client_weights()

    def pull(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.x).square().sum()

    held.fit(pull, on=Teaching(inputs, torch.zeros(3, 6, 3, dtype=torch.float64)))
    assert equal(held.weights, sent)  # training them changes the tree that was handed over
    assert not torch.equal(sent["head.weight"], before["linear"]["head.weight"][[1, 0, 1]])
    assert equal(run.client_weights()["linear"], before["linear"])
    with pytest.raises(TypeError, match="no private data"):
        _ = held.label_counts


def test_what_clients_keep_for_themselves_is_that_of_the_start(make_run) -> None:
    # Clients sent bodies only: the server's models have the head of the first client of the architecture.
    run = make_run("local", init="per_client")
    start = run.client_weights()["mlp-4"]
    finish(run)
    bodies = {name: tensor for name, tensor in run.client_weights()["mlp-4"].items() if name.startswith("body.")}
    held = run.federation.holding("mlp-4", {name: tensor[[3, 1]] for name, tensor in bodies.items()})
    for name, tensor in held.weights.items():
        expected = bodies[name][[3, 1]] if name in bodies else start[name][[0, 0]]
        assert torch.equal(tensor, expected)
    held.load({"head.bias": torch.tensor([[1.0] * 3, [2.0] * 3])})  # each has a head of its own to train
    assert equal(run.federation.start["mlp-4"], {name: tensor[:1] for name, tensor in start.items()})


class Opener(Echo):
    """The server speaks first, to each client in its own words, and never again."""

    def __init__(self) -> None:
        super().__init__(lambda uploads, rnd: None)

    def opening(self) -> Downloads:
        return Downloads((Parcel(Scalars({"value": torch.tensor([5.0, 6.0, 7.0, 8.0])}), {0: 0, 1: 1, 2: 2, 3: 3}),))


def test_an_opening_is_heard_and_charged_in_the_first_round(make_run) -> None:
    method = Opener()
    rows = finish(make_run(method))
    everyone = (0, 1, 2, 3)
    assert method.calls == [(0, everyone, [5.0, 6.0, 7.0, 8.0]), (1, everyone, None), (2, everyone, None)]
    assert [row.values["bytes_down"] for row in rows] == [16, 0, 0]
    assert rows[0].values["bytes_down_Scalars"] == 16


def test_an_opening_is_sent_once_however_often_a_run_starts(make_run, tmp_path: Path) -> None:
    # Half of the clients take part in a round: those who have heard it by the restart do not hear it again, those
    # who come later hear it when they come.
    path, rounds = tmp_path / "checkpoint.pt", 6
    whole = Opener()
    rows = [without_clocks(row) for row in make_run(whole, rounds=rounds, participation=0.5).rounds()]
    heard = [client for _, ids, words in whole.calls if words for client in ids]
    assert sorted(heard) == sorted(set(heard))
    assert len(heard) > 2  # somebody came after the first round
    for stop in range(1, rounds):
        path.unlink(missing_ok=True)
        first, second = Opener(), Opener()
        started = make_run(first, rounds=rounds, participation=0.5, run={"checkpoint": path}).rounds()
        for _ in range(stop):
            next(started)
        resumed = finish(make_run(second, rounds=rounds, participation=0.5, run={"checkpoint": path}))
        assert first.calls + second.calls == whole.calls
        assert [without_clocks(row) for row in resumed] == rows


def test_an_undeclared_opening_is_refused(make_run) -> None:
    class Loud(Opener):
        """Opens with what it did not declare."""

        exchanges = frozenset()

    with pytest.raises(ConfigError, match="put Scalars on the wire"):
        make_run(Loud())


def test_features_are_pooled_to_one_width(make_run) -> None:
    run = make_run("local", names=("mlp-6", "linear"), width=2, data={"groups": None})
    finish(run)
    for tree in run.client_weights().values():
        assert tree["head.weight"].shape == (2, 3, 2)
    assert run.facts()["parameters"] == {"mlp-6": 4 * 6 + 6 + 2 * 3 + 3, "linear": 2 * 3 + 3}
    assert run.federation.server_models(2).weights["head.weight"].shape == (2, 3, 2)
    assert run.federation.common_net().features == 2


class Undeclared(Echo):
    """Reads the public pool and does not say so."""

    def client_update(self, clients: Cohort, received: Scalars | None, rnd: Round) -> Scalars:
        clients.predict(rnd.public.inputs())
        return super().client_update(clients, received, rnd)


class AtTheServer(Undeclared):
    """Says so."""

    requires = Requires(public_data_at_server=True)


def test_only_who_needs_public_data_reads_them(make_run) -> None:
    with pytest.raises(ConfigError, match="reads the public pool, but does not declare it"):
        finish(make_run(Undeclared()))
    assert len(finish(make_run(AtTheServer()))) == ROUNDS


class Tuning(Echo):
    """Deploys copies that it has trained."""

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        tuned = clients.copy()
        tuned.fit(cross_entropy, epochs=1)
        return tuned.deployed()


def test_steps_of_copies_that_are_scored_are_in_the_record(make_run) -> None:
    # Clients of 5, 8, 3 and 6 samples in batches of 4: 2 + 2 + 1 + 2 steps for everybody's evaluation, in every round.
    rows = finish(make_run(Tuning()))
    assert [(row.values["steps_local"], row.values["steps_aside"]) for row in rows] == [(0, 7)] * ROUNDS
    assert "steps_aside" not in finish(make_run(Echo()))[0].values
