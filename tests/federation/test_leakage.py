"""Attacks on messages find what was planted, find nothing where nothing is, and change no run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.datasets.dataset import build_dataset
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings, split
from fl_bench.federation.attacks import area, distance, mean_area, true_positives
from fl_bench.federation.leakage import Heard, leaks
from fl_bench.federation.payloads import Bundle, Parameters, Prototypes, Scalars, Scores
from fl_bench.methods.base import Method, NoSettings, Requires
from fl_bench.methods.contract import TRAINING, deal, finish, made_up_data, make_run
from fl_bench.methods.losses import cross_entropy

if TYPE_CHECKING:
    from fl_bench.datasets.split import Split
    from fl_bench.federation.payloads import Payload
    from fl_bench.federation.run import Run

ATTACKED = replace(TRAINING, leakage=True)


@pytest.fixture(scope="module")
def dealt() -> Split:
    return deal(made_up_data(), clients=4)


def columns(run: Run) -> dict[str, Any]:
    """What the last round of a run says of leaks."""
    *_, last = run.rounds()
    return {name: value for name, value in last.values.items() if name.startswith("leak_")}


def test_an_area_is_that_of_scikit_learn_with_ties() -> None:
    from sklearn.metrics import roc_auc_score

    stream = np.random.default_rng(0)
    members, others = stream.normal(0.4, 1, 60).round(1), stream.normal(0, 1, 40).round(1)
    truth = np.repeat([1, 0], [60, 40])
    assert area(members, others).value == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))


def test_an_area_by_hand() -> None:
    one = area(np.array([3.0, 1.0]), np.array([2.0, 0.0]))  # 3 is above both, 1 above one of the two
    assert one.value == 0.75
    # DeLong: placements 1, 1/2 and 1/2, 1: variance 1/8 each, over two; above 5/48 of no leak.
    assert one.variance == pytest.approx(1 / 8)
    equal = area(np.zeros(3), np.zeros(2))
    assert (equal.value, equal.variance) == (0.5, pytest.approx(6 / 72))


def test_the_interval_of_no_leak_holds_a_half_in_95_of_100() -> None:
    stream = np.random.default_rng(1)
    held = []
    for _ in range(2000):
        _, low, high = mean_area([area(stream.normal(size=20), stream.normal(size=8)) for _ in range(5)])
        held.append(low <= 0.5 <= high)
    assert np.mean(held) >= 0.94


def test_true_positives_by_hand() -> None:
    others = np.arange(200.0)  # 2 of them may be taken for members: those above 197
    assert true_positives(np.array([197.0, 197.5, 300.0, 0.0]), others) == 0.5
    assert true_positives(np.array([1.0]), np.arange(99.0)) is None


def test_the_distance_of_shares_is_total_variation() -> None:
    shares, truth = np.array([[0.5, 0.5, 0.0]]), np.array([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0]])
    assert distance(shares, truth).tolist() == [pytest.approx(0.5), 0.0]


def test_nothing_is_attacked_unless_asked(dealt: Split) -> None:
    assert columns(make_run("fedavg", made_up_data(), dealt, TRAINING)) == {}


@pytest.mark.parametrize("name", ["fedavg", "fedmd", "cosmos", "fedproto", "local"])
def test_an_attack_changes_nothing_of_the_run(dealt: Split, name: str) -> None:
    plain, attacked = (finish(make_run(name, made_up_data(), dealt, how)) for how in (TRAINING, ATTACKED))
    assert plain.weights.keys() == attacked.weights.keys()
    assert all(torch.equal(plain.weights[key], attacked.weights[key]) for key in plain.weights)
    for one, other in zip(plain.rows, attacked.rows, strict=True):
        kept = {key: value for key, value in other.items() if not key.startswith(("leak_", "seconds_"))}
        assert {key: value for key, value in one.items() if not key.startswith("seconds_")} == kept


def test_what_sends_nothing_has_no_number(dealt: Split) -> None:
    found = columns(make_run("local", made_up_data(), dealt, ATTACKED))
    assert found.pop("leak_clients") == 0
    assert set(found.values()) == {None}


class Overfitted(Method[NoSettings]):
    """Weights of models that know their training samples by heart."""

    name = "overfitted"
    requires = Requires(one_architecture=True)
    exchanges = frozenset({Parameters})

    def client_update(self, clients: Any, received: Any, rnd: Any) -> Parameters:
        clients.fit(cross_entropy, epochs=200, lr=0.02)
        return Parameters(clients.weights)

    def server_update(self, uploads: Any, rnd: Any) -> None:
        return None


class OpenShares(Method[NoSettings]):
    """Predictions that are the class shares of the private labels."""

    name = "open-shares"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})

    def client_update(self, clients: Any, received: Any, rnd: Any) -> Scores:
        shares = clients.label_counts / clients.label_counts.sum(dim=1, keepdim=True)
        return Scores(shares.float()[:, None].expand(-1, len(rnd.public), -1).clone())

    def server_update(self, uploads: Any, rnd: Any) -> None:
        return None


@dataclass(frozen=True)
class RandomScoresConfig:
    """None to speak of."""

    seed: int = 0


class RandomScores(Method[RandomScoresConfig]):
    """Predictions that have nothing to do with anybody's data."""

    name = "random-scores"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})

    def client_update(self, clients: Any, received: Any, rnd: Any) -> Scores:
        classes = clients.label_counts.shape[1]
        draws = np.stack(
            [
                np.random.default_rng((self.config.seed, key)).dirichlet(np.full(classes, 0.3), len(rnd.public))
                for key in clients.keys
            ]
        )
        return Scores(torch.from_numpy(draws).float())

    def server_update(self, uploads: Any, rnd: Any) -> None:
        return None


def test_a_planted_leak_of_members_is_found() -> None:
    """Labels have nothing to do with inputs: who predicts them has seen them."""
    stream = np.random.default_rng(5)
    inputs, labels = stream.normal(size=(300, 6)).astype(np.float32), stream.integers(3, size=300)
    data = build_dataset("noise", inputs, labels, source="drawn for this test")
    settings = SplitSettings(clients=3, public=0.2, val_fraction=0.3, min_test=2)
    run = make_run(Overfitted(), data, split(data, PARTITIONS["iid"](), settings, seed=0), replace(ATTACKED, rounds=1))
    found = columns(run)
    assert found["leak_membership_low"] > 0.5
    assert found["leak_clients"] == 3


def test_a_planted_leak_of_class_shares_is_found(dealt: Split) -> None:
    found = columns(make_run(OpenShares(), made_up_data(), dealt, ATTACKED))
    assert found["leak_labels"] < 0.1 * found["leak_labels_prior"]


def covered(dealt: Split, seeds: int) -> float:
    """Share of seeds whose interval holds a half where messages have nothing to do with data."""
    held = []
    for seed in range(seeds):
        run = make_run(
            RandomScores(RandomScoresConfig(seed)), made_up_data(), dealt, replace(ATTACKED, rounds=1), seed=seed
        )
        found = columns(run)
        held.append(found["leak_membership_low"] <= 0.5 <= found["leak_membership_high"])
    return float(np.mean(held))


def test_no_leak_is_found_where_there_is_none(dealt: Split) -> None:
    assert covered(dealt, 10) >= 0.8


@pytest.mark.slow
def test_no_leak_is_found_in_95_of_100_seeds(dealt: Split) -> None:
    assert covered(dealt, 100) >= 0.95


@pytest.fixture
def trained(dealt: Split) -> tuple[Run, Heard]:
    """A finished run of FedAvg, and its clients' weights as a message."""
    run = make_run("fedavg", made_up_data(), dealt, TRAINING)
    for _ in run.rounds():
        pass
    (name,) = run.factory.clients
    return run, Heard(name, tuple(range(4)), Parameters(run.client_weights()[name]), None)


def attacked(run: Run, *heard: Heard) -> dict[str, Any]:
    return leaks(heard, run.factory, run.federation.start, run.data.public.inputs(), 0)


def test_changes_of_weights_tell_what_weights_tell(trained: tuple[Run, Heard]) -> None:
    run, weights = trained
    before = run.federation.start[weights.architecture]
    change = {key: own - before[key] for key, own in weights.sent.tree.items()}  # type: ignore[attr-defined]
    relative: Payload = Bundle({"other": Scalars({"n": torch.ones(4)}), "model": Parameters(change, relative=True)})
    received = Bundle({"model": Parameters(before)})
    found = attacked(run, replace(weights, sent=relative, received=received))
    for name, value in attacked(run, weights).items():
        assert found[name] == pytest.approx(value, abs=1e-4), name
    unknown = attacked(run, replace(weights, sent=relative))  # nobody knows what they are changes of
    assert unknown["leak_clients"] == 0


def test_a_part_of_a_net_is_not_attacked(trained: tuple[Run, Heard]) -> None:
    run, weights = trained
    head = {key: own for key, own in weights.sent.tree.items() if key.startswith("head")}  # type: ignore[attr-defined]
    assert attacked(run, replace(weights, sent=Parameters(head)))["leak_clients"] == 0


def test_the_last_message_of_a_client_counts(trained: tuple[Run, Heard]) -> None:
    run, weights = trained
    noise = Parameters({key: torch.randn_like(own[:2]) for key, own in weights.sent.tree.items()})  # type: ignore[attr-defined]
    earlier = replace(weights, ids=(0, 2), sent=noise)
    assert attacked(run, earlier, weights) == attacked(run, weights)
    assert attacked(run, weights, earlier) != attacked(run, weights)


def test_class_means_tell_classes_and_counts_tell_shares(trained: tuple[Run, Heard]) -> None:
    run, weights = trained
    counts = run.data.label_counts
    means = Prototypes(torch.zeros(4, counts.shape[1], 3), counts > 0)
    told = {str(label): column for label, column in enumerate(counts.T)}
    exact = attacked(run, replace(weights, sent=Bundle({"prototypes": means, "counts": Scalars(told)})))
    assert exact["leak_labels"] == pytest.approx(0, abs=1e-12)
    classes = attacked(run, replace(weights, sent=means))
    even = (counts > 0) / (counts > 0).sum(dim=1, keepdim=True)
    truth = counts / counts.sum(dim=1, keepdim=True)
    assert classes["leak_labels"] == pytest.approx(float(0.5 * (even - truth).abs().sum(dim=1).mean()), abs=1e-6)
