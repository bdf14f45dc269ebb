"""What every registered method must do, ours and yours: checks to call from a test, a few seconds for all.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check("mymethod")

Each check runs the method at its default settings on a small made-up federation and raises an AssertionError that
says what went wrong. They show that a method keeps the rules of a fair comparison; that it equals its paper is for
tests of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import Diverged
from fl_bench.lazy import torch
from fl_bench.sealed import Sealed

from ..datasets.dataset import build_dataset
from ..datasets.latent_groups import LatentGroups
from ..datasets.partition import PARTITIONS
from ..datasets.split import SplitSettings, split
from ..federation.codecs import Codec
from ..federation.settings import ModelMix, Training
from .base import Facts
from .registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..datasets.dataset import Dataset
    from ..datasets.split import Split
    from ..federation.rounds import Run

MODEL = "mlp-8"
"""The clients' network in every check."""
TRAINING = Training(rounds=3, batch_size=8, lr=0.01)
"""The runs of the checks."""


@dataclass(frozen=True)
class Outcome:
    """What two runs that must not differ are compared by."""

    weights: dict[str, Tensor]
    """Clients' weights at the end, and every tensor that the method keeps."""
    rows: list[dict[str, Any]]
    """The rows of all rounds, without clocks."""
    badges: list[str]


def made_up_data(classes: int = 4, features: int = 6, per_class: int = 60) -> Dataset:
    """Gaussian clouds around random centres: easy enough to learn in three rounds, overlapping enough to err."""
    stream = np.random.Generator(np.random.Philox(key=7))
    labels = np.tile(np.arange(classes), per_class)
    inputs = 2 * stream.standard_normal((classes, features))[labels] + stream.standard_normal((len(labels), features))
    return build_dataset("made up", inputs.astype(np.float32), labels, source="drawn for the contract checks")


def deal(dataset: Dataset, clients: int = 6) -> Split:
    """Two latent groups of clients, or none for one client."""
    scheme = LatentGroups(groups=2) if clients > 1 else PARTITIONS["iid"]()
    settings = SplitSettings(clients=clients, public=0.2, val_fraction=0.1, min_test=2)
    return split(dataset, scheme, settings, seed=0)


def make_run(name: str, dataset: Dataset, dealt: Split, training: Training = TRAINING, **settings: Any) -> Run:
    """A run of the method at its defaults, on one torch thread as the executor does; `settings` go to `Run`."""
    from ..federation.rounds import Run

    torch.set_num_threads(1)
    return Run(METHODS[name](), dataset, dealt, ModelMix((MODEL,)), training, **{"seed": 0, **settings})


def finish(run: Run, rounds: int | None = None) -> Outcome:
    """Run to the end, or for some rounds, and collect what matters."""
    rows = []
    for row in run.rounds():
        values = {key: value for key, value in row.values.items() if not key.startswith("seconds_")}
        rows.append({**values, "clients": row.clients})
        if len(rows) == rounds:
            break
    weights = {f"{name}/{key}": tensor for name, tree in run.client_weights().items() for key, tensor in tree.items()}
    weights |= _flat(run.method.state_dict(), "method")
    return Outcome(weights, rows, run.facts()["badges"])


def same_seed_same_bits(name: str) -> None:
    """Two runs with one seed end with the same bits; another seed does not."""
    dataset = made_up_data()
    dealt = deal(dataset)
    first = finish(make_run(name, dataset, dealt))
    _assert_same(first, finish(make_run(name, dataset, dealt)), f"{name} ran twice with one seed")
    other = finish(make_run(name, dataset, dealt, seed=1))
    assert not _same_weights(first, other), f"{name} does not depend on the seed"


def stopping_and_resuming_changes_nothing(name: str) -> None:
    """A run that is dropped after any round and continued from its checkpoint ends with the same bits and rows."""
    dataset = made_up_data()
    dealt = deal(dataset)
    whole = finish(make_run(name, dataset, dealt))
    for rounds in range(1, TRAINING.rounds):
        with TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.pt"
            finish(make_run(name, dataset, dealt, checkpoint=checkpoint), rounds)
            resumed = finish(make_run(name, dataset, dealt, checkpoint=checkpoint))
        _assert_same(whole, resumed, f"{name} was stopped after round {rounds} and continued")


def sealed_labels_change_nothing(name: str) -> None:
    """False labels of public and test samples change no weight of a method without a badge."""
    dataset = made_up_data()
    dealt = deal(dataset)
    honest = finish(make_run(name, dataset, dealt))
    poisoned = make_run(name, dataset, dealt)
    data, about = poisoned.data, dataset.about
    wrong = (data.sealed_labels.open_for_evaluation() + 1) % about.classes
    data.sealed_labels = Sealed(wrong, "test labels")
    data.public.labels = Sealed(wrong[data.public.rows], "public labels")
    outcome = finish(poisoned)
    assert outcome.badges == honest.badges
    if not any("labels" in badge for badge in honest.badges):
        assert _same_weights(honest, outcome), f"{name} uses sealed labels, but carries no badge"


def test_data_change_nothing(name: str) -> None:
    """Garbage in place of every test input changes no weight."""
    dataset = made_up_data()
    dealt = deal(dataset)
    honest = finish(make_run(name, dataset, dealt))
    inputs = dataset.inputs.clone()
    inputs[dataset.train_size :] = 1e3
    garbage = finish(make_run(name, replace(dataset, inputs=inputs), dealt))
    assert _same_weights(honest, garbage), f"{name} trains on test data"


def bytes_equal_the_closed_form(name: str) -> None:
    """Every client's bytes in every round are what `Method.plan` says (at most that where it is a bound)."""
    dataset = made_up_data()
    for precision in ("float32", "float64"):
        run = make_run(name, dataset, deal(dataset), replace(TRAINING, precision=precision))
        rows = finish(run).rows
        for client in range(run.data.clients):
            plan = METHODS[name]().plan(client_facts(run, client))
            if plan is None:
                return
            moved = [(row["clients"][client]["bytes_up"], row["clients"][client]["bytes_down"]) for row in rows]
            planned = [(plan.up_bytes, plan.down_bytes if row["round"] else plan.first_down_bytes) for row in rows]
            what = f"{name}: client {client} moved {moved} bytes (up, down) in {precision}, the plan says {planned}"
            if plan.bound:
                assert all(
                    up <= most and down <= largest for (up, down), (most, largest) in zip(moved, planned, strict=True)
                ), what
            else:
                assert moved == planned, what


def partial_participation_works(name: str) -> None:
    """With 0.4 of the clients per round the run ends, and in every round only those who take part send."""
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), replace(TRAINING, participation=0.4))
    for row in finish(run).rows:
        drawn = run.participants(row["round"])
        assert len(drawn) == 2
        strangers = [
            client["client"] for client in row["clients"] if client["bytes_up"] and client["client"] not in drawn
        ]
        assert not strangers, f"{name}: clients {strangers} sent without taking part"


def one_client_works(name: str) -> None:
    """A federation of one client runs to the end, unless the method needs groups."""
    if METHODS[name]().needs().groups:
        return
    dataset = made_up_data()
    assert len(finish(make_run(name, dataset, deal(dataset, clients=1))).rows) == TRAINING.rounds


def poor_clients_work(name: str) -> None:
    """A client with a single sample and a client with a single class take part, and all weights stay finite."""
    dataset = made_up_data()
    dealt = deal(dataset)
    labels = dataset.labels.numpy()
    lone, single = dealt.train[0][:1], dealt.train[1]
    single = single[labels[single] == labels[single[0]]]
    outcome = finish(make_run(name, dataset, replace(dealt, train=(lone, single, *dealt.train[2:]))))
    assert len(outcome.rows) == TRAINING.rounds


def divergence_is_not_an_accuracy(name: str) -> None:
    """With a learning rate of 1e6 the run ends as diverged, not with a number."""
    dataset = made_up_data()
    training = replace(TRAINING, optimizer="sgd", lr=1e6, local_epochs=5)
    try:
        finish(make_run(name, dataset, deal(dataset), training))
    except Diverged:
        return
    raise AssertionError(f"{name} reports an accuracy for a run with learning rate 1e6")


CHECKS: tuple[Callable[[str], None], ...] = (
    same_seed_same_bits,
    stopping_and_resuming_changes_nothing,
    sealed_labels_change_nothing,
    test_data_change_nothing,
    bytes_equal_the_closed_form,
    partial_participation_works,
    one_client_works,
    poor_clients_work,
    divergence_is_not_an_accuracy,
)
"""All checks; each takes the registered name of a method."""


def client_facts(run: Run, client: int = 0, codec: str = "none") -> Facts:
    """The sizes that closed forms are written in, of one client of a run."""
    from ..federation.models import net_bytes

    about, number = run.data.about, run.dtype.itemsize
    return Facts(
        public=len(run.data.public),
        classes=about.classes,
        net=net_bytes(run.architectures[client], about.shape, about.classes, run.models.width, number),
        clients=run.data.clients,
        classes_held=int((run.data.label_counts[client] > 0).sum()),
        number_bytes=number,
        codec=Codec.parse(codec),
    )


def _flat(state: Any, prefix: str) -> dict[str, Tensor]:
    if isinstance(state, dict):
        return {key: value for name, part in state.items() for key, value in _flat(part, f"{prefix}/{name}").items()}
    return {prefix: state.clone()} if hasattr(state, "clone") else {}


def _same_weights(first: Outcome, second: Outcome) -> bool:
    return first.weights.keys() == second.weights.keys() and all(
        bool((tensor == second.weights[name]).all()) for name, tensor in first.weights.items()
    )


def _assert_same(first: Outcome, second: Outcome, what: str) -> None:
    assert _same_weights(first, second), f"{what}: weights differ"
    for one, other in zip(first.rows, second.rows, strict=True):
        different = [key for key, value in one.items() if other.get(key) != value]
        assert not different, f"{what}: round {one['round']} differs in {', '.join(different)}"
    assert first.badges == second.badges, f"{what}: badges {first.badges} and {second.badges}"
