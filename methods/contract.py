"""What every registered method must do, ours and yours: checks to call from a test, a few seconds for all.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check("mymethod")

Each check runs the method at its default settings on a small made-up federation and raises an AssertionError that
says what went wrong. They show that a method keeps the rules of a fair comparison; that it equals its paper is for
tests of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from inspect import currentframe
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import walk_stack
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
from ..federation.settings import Execution, ModelMix, Training
from .base import Facts, Method, unsupported
from .registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from ..datasets.dataset import Dataset
    from ..datasets.split import Split
    from ..federation.run import Run

MODEL = "mlp-8"
"""The clients' network in every check."""
MIXED = (MODEL, "linear")
"""Their networks in the check of mixed architectures: features of 8 and of 6 numbers."""
RENUMBERED = (4, 2, 5, 0, 3, 1)
"""Who is client 0, 1, ... after renumbering: nobody keeps its number, and the two groups are mixed."""
HUGE = 1e6
"""A learning rate that nothing survives."""
TRAINING = Training(rounds=3, batch_size=8, lr=0.01)
"""The runs of the checks."""
FEW = replace(TRAINING, participation=0.4)
"""Those in which few take part."""


@dataclass(frozen=True)
class Outcome:
    """What two runs that must not differ are compared by."""

    weights: dict[str, Tensor]
    """Clients' weights at the end, and every tensor that the method keeps."""
    rows: list[dict[str, Any]]
    """The rows of all rounds, without clocks."""
    badges: list[str]


@lru_cache
def made_up_data(classes: int = 4, features: int = 6, per_class: int = 60) -> Dataset:
    """Gaussian clouds around random centres: easy enough to learn in three rounds, overlapping enough to err."""
    stream = np.random.Generator(np.random.Philox(key=7))
    labels = np.tile(np.arange(classes), per_class)
    inputs = 2 * stream.standard_normal((classes, features))[labels] + stream.standard_normal((len(labels), features))
    return build_dataset("made up", inputs.astype(np.float32), labels, source="drawn for the contract checks")


@lru_cache
def deal(dataset: Dataset, clients: int = 6) -> Split:
    """Two latent groups of clients, or none for one client."""
    scheme = LatentGroups(groups=2) if clients > 1 else PARTITIONS["iid"]()
    settings = SplitSettings(clients=clients, public=0.2, val_fraction=0.1, min_test=2)
    return split(dataset, scheme, settings, seed=0)


def make_run(
    name: str,
    dataset: Dataset,
    dealt: Split,
    training: Training = TRAINING,
    *,
    config: Any = None,
    models: ModelMix = ModelMix((MODEL,)),  # noqa: B008  # frozen
    **settings: Any,
) -> Run:
    """A run of the method, at its defaults unless told otherwise, on one torch thread as the executor does.

    Args:
        name: registered name of the method.
        dataset: the data.
        dealt: who holds which rows.
        training: rounds and local training.
        config: the method's settings.
        models: the clients' networks.
        settings: go to `Run`.
    """
    from ..federation.run import Run

    torch.set_num_threads(1)
    return Run(METHODS[name](config), dataset, dealt, models, training, **{"seed": 0, **settings})


def finish(run: Run, rounds: int | None = None, after_each: Callable[[], Any] = lambda: None) -> Outcome:
    """Run to the end, or for some rounds, and collect what matters.

    Args:
        run: the run.
        rounds: where it is left; None: at its end.
        after_each: called after every round.
    """
    rows = []
    for row in run.rounds():
        values = {key: value for key, value in row.values.items() if not key.startswith("seconds_")}
        rows.append({**values, "clients": row.clients})
        after_each()
        if len(rows) == rounds:
            break
    weights = {f"{name}/{key}": tensor for name, tree in run.client_weights().items() for key, tensor in tree.items()}
    weights |= _flat(run.method.state_dict(), "method")
    return Outcome(weights, rows, run.facts()["badges"])


@lru_cache(maxsize=8)
def undisturbed(method: type[Method[Any]], training: Training = TRAINING) -> Outcome:
    """What a method comes to at its defaults, which several checks compare a disturbed run with."""
    dataset = made_up_data()
    return finish(make_run(method.name, dataset, deal(dataset), training))


def same_seed_same_bits(name: str) -> None:
    """Two runs with one seed end with the same bits; another seed does not."""
    dataset = made_up_data()
    dealt = deal(dataset)
    first = undisturbed(METHODS[name])
    _assert_same(first, finish(make_run(name, dataset, dealt)), f"{name} ran twice with one seed")
    other = finish(make_run(name, dataset, dealt, seed=1))
    assert not _same_weights(first, other), f"{name} does not depend on the seed"


def other_runs_change_nothing(name: str) -> None:
    """A run whose rounds alternate with those of another in the same process ends with the same bits and rows.

    What a process did before, and so the number of jobs, then does not matter.
    """
    dataset = made_up_data()
    run, other = (make_run(name, dataset, deal(dataset), seed=seed) for seed in (0, 1))
    rows = other.rounds()
    between = finish(run, after_each=lambda: next(rows, None))
    _assert_same(undisturbed(METHODS[name]), between, f"{name} took turns with a run of another seed")


def threads_change_nothing(name: str) -> None:
    """Clients that train side by side, on two threads, end with the same bits and rows as one after the other."""
    dataset, training = made_up_data(), replace(TRAINING, engine="loop")
    side_by_side = finish(make_run(name, dataset, deal(dataset), training, execution=Execution(threads=2)))
    _assert_same(undisturbed(METHODS[name], training), side_by_side, f"{name} trained its clients on two threads")


def views_change_nothing(name: str) -> None:
    """A run that scores the deployed view alone ends with the same bits, and reports the same but for other views."""
    dataset, deployed = made_up_data(), METHODS[name].deployed_view

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key.partition(".")[0] == deployed or "." not in key}

    whole = undisturbed(METHODS[name])
    rows = [{**kept(row), "clients": [kept(client) for client in row["clients"]]} for row in whole.rows]
    alone = finish(make_run(name, dataset, deal(dataset), replace(TRAINING, views="deployed")))
    _assert_same(replace(whole, rows=rows), alone, f"{name} scored its deployed view alone")


def stopping_and_resuming_changes_nothing(name: str) -> None:
    """A run that is dropped after every round and continued from its checkpoint ends with the same bits and rows.

    The same where few take part, so that the state of clients who are absent has to survive.
    """
    dataset = made_up_data()
    for training in (TRAINING, FEW):
        with TemporaryDirectory() as folder:
            for rounds in range(1, TRAINING.rounds + 1):
                checkpoint = Path(folder) / "checkpoint.pt"
                resumed = finish(make_run(name, dataset, deal(dataset), training, checkpoint=checkpoint), rounds)
        share = f"with participation {training.participation:g}"
        what = f"{name} was stopped after every round {share} and continued"
        _assert_same(undisturbed(METHODS[name], training), resumed, what)


def order_of_clients_changes_nothing(name: str) -> None:
    """Training the members of every cohort from the last to the first gives the same bits."""
    dataset, training = made_up_data(), replace(TRAINING, engine="loop")
    with last_client_first():
        backwards = finish(make_run(name, dataset, deal(dataset), training))
    forwards = undisturbed(METHODS[name], training)
    _assert_same(forwards, backwards, f"{name} trained its clients from the last to the first")


def loop_equals_stacked(name: str) -> None:
    """Clients trained one after the other and all at once end with the same weights, but for rounding.

    With momentum: Adam would turn the rounding of gradients that vanish, as of a net that learns its own predictions,
    into steps.
    """
    dataset = made_up_data()
    training = replace(TRAINING, optimizer="sgd", momentum=0.9, lr=0.1, precision="float64")
    one, other = (
        finish(make_run(name, dataset, deal(dataset), replace(training, engine=engine))).weights
        for engine in ("loop", "stacked")
    )
    assert one.keys() == other.keys()
    gaps = {key: float((tensor.double() - other[key].double()).abs().max()) for key, tensor in one.items()}
    apart = [f"{key} by {gap:.1e}" for key, gap in gaps.items() if not gap <= 1e-9]
    assert not apart, f"{name}: the stacked engine comes to other weights: {', '.join(apart)}"


def renumbering_clients_renumbers_results(name: str) -> None:
    """Clients with other numbers, but their own data and random streams, get the same results under those numbers."""
    dataset = made_up_data()
    dealt = deal(dataset)
    training = replace(TRAINING, precision="float64")  # sums over clients run in another order
    first = undisturbed(METHODS[name], training)
    renumbered = make_run(name, dataset, renumber(dealt, RENUMBERED), training, identities=RENUMBERED)
    second = finish(renumbered)
    for key, tensor in renumbered.client_weights()[MODEL].items():
        gap = (first.weights[f"{MODEL}/{key}"][list(RENUMBERED)] - tensor).abs().max()
        assert gap <= 1e-8, f"{name}: {key} depends on the clients' numbers, by {gap:.1e}"
    for before, after in zip(first.rows, second.rows, strict=True):
        clients = [before["clients"][client] for client in RENUMBERED]
        for old, new in zip(clients, after["clients"], strict=True):
            different = [key for key in old if key not in ("client", "cluster") and not _close(old[key], new[key])]
            what = f"{name}: client {old['client']}, renumbered {new['client']}, differs in {', '.join(different)}"
            assert not different, f"{what} of round {before['round']}"
        clusters = [[row["cluster"] for row in rows] for rows in (clients, after["clients"])]
        assert _partition(clusters[0]) == _partition(clusters[1]), f"{name}: other clients share clusters: {clusters}"


def sealed_labels_change_nothing(name: str) -> None:
    """False labels of public and test samples, and false groups, change no weight of a method without a badge.

    And no method, whatever it does with them, opens them as the evaluator does, of which there is no record.
    """
    dataset = made_up_data()
    dealt = deal(dataset)
    honest = undisturbed(METHODS[name])
    assert dealt.groups is not None
    groups = dealt.groups.open_for_evaluation()[list(RENUMBERED)]
    with unrecorded_openings() as opened:
        poisoned = make_run(name, dataset, replace(dealt, groups=Sealed(groups, "true groups")))
        data, about = poisoned.data, dataset.about
        wrong = (data.sealed_labels.open_for_evaluation() + 1) % about.classes
        data.sealed_labels = Sealed(wrong, "test labels")
        data.public.labels = Sealed(wrong[data.public.rows], "public labels")
        outcome = finish(poisoned)
    assert outcome.badges == honest.badges
    if not any(badge.startswith("oracle:") for badge in honest.badges):
        assert _same_weights(honest, outcome), f"{name} uses sealed labels or groups, but carries no badge"
    looked_at = ", ".join(sorted(opened))
    assert not opened, f"{name} opens {looked_at} unrecorded; a method opens them with `open`, which leaves a badge"


def test_data_change_nothing(name: str) -> None:
    """Garbage in place of every test input changes no weight."""
    dataset = made_up_data()
    dealt = deal(dataset)
    honest = undisturbed(METHODS[name])
    inputs = dataset.inputs.clone()
    inputs[dataset.train_size :] = 1e3
    garbage = finish(make_run(name, replace(dataset, inputs=inputs), dealt))
    assert _same_weights(honest, garbage), f"{name} trains on test data"


def bytes_equal_the_closed_form(name: str) -> None:
    """Every client's bytes in every round are what `Method.plan` says (at most that where it is a bound).

    A method without a plan sends nothing.
    """
    dataset = made_up_data()
    for precision in ("float32", "float64"):
        run = make_run(name, dataset, deal(dataset), replace(TRAINING, precision=precision))
        rows = undisturbed(METHODS[name], run.training).rows
        for client in range(run.data.clients):
            plan = METHODS[name]().plan(client_facts(run, client))
            moved = [(row["clients"][client]["bytes_up"], row["clients"][client]["bytes_down"]) for row in rows]
            if plan is None:
                assert not any(map(any, moved)), f"{name} moved {moved} bytes (up, down), but has no `plan` of them"
                continue
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
    run = make_run(name, dataset, deal(dataset), FEW)
    for row in undisturbed(METHODS[name], FEW).rows:
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


def mixed_architectures_work_or_are_refused(name: str) -> None:
    """Clients with different networks run to the end, or `unsupported` says what the method needs instead."""
    dataset = made_up_data()
    needs = METHODS[name]().needs()
    mix, pooled = ModelMix(MIXED), ModelMix(MIXED, width=4)
    if needs.one_architecture:
        refused, runs = {mix: "needs one architecture", pooled: "needs one architecture"}, []
    elif needs.one_width:
        refused, runs = {mix: "needs one body width"}, [pooled]
    else:
        refused, runs = {}, [mix, pooled]
    for models in (mix, pooled):
        reason = unsupported(METHODS[name](), models=models, training=TRAINING, public=0.2, grouped=True)
        expected = refused.get(models)
        as_expected = reason is None if expected is None else expected in str(reason)
        what = f"{name} with {', '.join(models.names)} and width {models.width}"
        assert as_expected, f"{what}: {reason!r} instead of {expected!r}"
    for models in runs:
        assert len(finish(make_run(name, dataset, deal(dataset), models=models)).rows) == TRAINING.rounds


def poor_clients_work(name: str) -> None:
    """A client with a single sample and a client with a single class take part, and all weights stay finite."""
    dataset = made_up_data()
    dealt = deal(dataset)
    labels = dataset.labels.numpy()
    lone, single = dealt.train[0][:1], dealt.train[1]
    single = single[labels[single] == labels[single[0]]]
    outcome = finish(make_run(name, dataset, replace(dealt, train=(lone, single, *dealt.train[2:]))))
    assert len(outcome.rows) == TRAINING.rounds
    unfit = [key for key, tensor in outcome.weights.items() if not tensor.isfinite().all()]
    assert not unfit, f"{name}: with poor clients, {', '.join(unfit)} is not finite"


def divergence_is_not_an_accuracy(name: str) -> None:
    """With a learning rate of 1e6, and 1e6 for every rate of the method's own, the run ends as diverged.

    A method's own rates are the settings named `lr` or `<something>_lr`.
    """
    dataset = made_up_data()
    training = replace(TRAINING, optimizer="sgd", lr=HUGE, local_epochs=5)
    config_type = METHODS[name].config_type
    rates = [field.name for field in fields(config_type) if field.name == "lr" or field.name.endswith("_lr")]
    try:
        finish(make_run(name, dataset, deal(dataset), training, config=config_type(**dict.fromkeys(rates, HUGE))))
    except Diverged:
        return
    raise AssertionError(f"{name} reports an accuracy for a run with learning rate 1e6")


CHECKS: tuple[Callable[[str], None], ...] = (
    same_seed_same_bits,
    other_runs_change_nothing,
    threads_change_nothing,
    views_change_nothing,
    stopping_and_resuming_changes_nothing,
    order_of_clients_changes_nothing,
    loop_equals_stacked,
    renumbering_clients_renumbers_results,
    sealed_labels_change_nothing,
    test_data_change_nothing,
    bytes_equal_the_closed_form,
    partial_participation_works,
    one_client_works,
    mixed_architectures_work_or_are_refused,
    poor_clients_work,
    divergence_is_not_an_accuracy,
)
"""All checks; each takes the registered name of a method."""


@contextmanager
def last_client_first() -> Iterator[None]:
    """Train the members of every cohort from the last to the first."""
    from ..federation.engine import ENGINES
    from ..federation.loop import LoopEngine

    usual = ENGINES["loop"]
    ENGINES["loop"] = LoopEngine(backwards=True)
    try:
        yield
    finally:
        ENGINES["loop"] = usual


@contextmanager
def unrecorded_openings() -> Iterator[set[str]]:
    """What a method's own code opens as only the evaluator may, as badges name it; complete when the context ends."""
    opened: set[str] = set()
    usual = Sealed.open_for_evaluation

    def watched(sealed: Sealed[Any]) -> Any:
        if any(isinstance(frame.f_locals.get("self"), Method) for frame, _ in walk_stack(currentframe())):
            opened.add(sealed.what)
        return usual(sealed)

    Sealed.open_for_evaluation = watched  # type: ignore[assignment, method-assign]  # for a while, to see who calls it
    try:
        yield opened
    finally:
        Sealed.open_for_evaluation = usual  # type: ignore[method-assign]


def renumber(dealt: Split, order: tuple[int, ...]) -> Split:
    """The same split with other numbers: client i is the one that was `order[i]`."""
    lists: dict[str, Any] = {
        name: tuple(getattr(dealt, name)[old] for old in order) for name in ("train", "validation", "test")
    }
    groups = dealt.groups and Sealed(dealt.groups.open_for_evaluation()[list(order)], dealt.groups.what)
    return replace(dealt, groups=groups, **lists)


def client_facts(run: Run, client: int = 0, codec: str = "none") -> Facts:
    """The sizes that closed forms are written in, of one client of a run."""
    from ..federation.models import net_bytes

    about, number = run.data.about, run.dtype.itemsize
    net, server = (
        net_bytes(name, about.shape, about.classes, run.models.width, number)
        for name in (run.architectures[client], run.models.server_name)
    )
    return Facts(
        public=len(run.data.public),
        classes=about.classes,
        net=net,
        server=server,
        clients=run.data.clients,
        classes_held=int((run.data.label_counts[client] > 0).sum()),
        number_bytes=number,
        codec=Codec.parse(codec),
        local_epochs=run.training.local_epochs,
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


def _close(first: float | str | None, second: float | str | None) -> bool:
    return abs(first - second) <= 1e-8 if isinstance(first, float) and isinstance(second, float) else first == second


def _partition(labels: list[int | None]) -> list[int]:
    """For each client the first one with its label: equal for two labellings that only name clusters differently."""
    return [labels.index(label) for label in labels]
