"""The small federation that methods are checked on, runs of it, and how two of them are compared."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.lazy import torch
from fl_bench.sealed import Sealed

from ...datasets.dataset import build_dataset
from ...datasets.latent_groups import LatentGroups
from ...datasets.partition import PARTITIONS
from ...datasets.split import SplitSettings, split
from ...federation.codecs import Codec
from ...federation.models.registry import MODELS, ModelPlugin
from ...federation.settings import ModelMix, Training
from ..base import Facts, Method, Plan
from ..planning import KINDS, planned_work
from ..registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ...federation.run import Run
    from ..planning import Kind

MODEL = "mlp-8"
"""The clients' network in most checks."""
NORMED = "batch-normed"
"""That of `normalised_nets_work`, see `normed_net`."""
TRAINING = Training(rounds=3, batch_size=8, lr=0.01)
"""The runs of the checks."""
FEW = replace(TRAINING, participation=0.4)
"""Those in which few take part."""
LONG = replace(TRAINING, local_epochs=3)
"""Those with several local epochs."""
FEWER = replace(LONG, rounds=5, participation=0.67)
"""Those with several local epochs in which not all take part."""
TOLERANCE = 0.1
"""Relative difference of planned and recorded steps where not all take part."""


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
def deal(dataset: Dataset, clients: int = 6, unseen: float = 0.0) -> Split:
    """Two latent groups of clients, or none for one client; a share of the clients may be kept out of training."""
    scheme = LatentGroups(groups=2) if clients > 1 else PARTITIONS["iid"]()
    settings = SplitSettings(clients=clients, public=0.2, val_fraction=0.1, min_test=2, unseen=unseen)
    return split(dataset, scheme, settings, seed=0)


def make_run(
    method: str | Method[Any],
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
        method: registered name of the method, or the method itself.
        dataset: the data.
        dealt: who holds which rows.
        training: rounds and local training.
        config: the settings of a method that is named.
        models: the clients' networks.
        settings: go to `Run`.
    """
    from ...federation.run import Run

    torch.set_num_threads(1)
    asked = METHODS[method](config) if isinstance(method, str) else method
    return Run(asked, dataset, dealt, models, training, **{"seed": 0, **settings})


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
    weights |= flat(run.method.state_dict(), "method")
    return Outcome(weights, rows, run.facts()["badges"])


@lru_cache(maxsize=8)
def undisturbed(method: type[Method[Any]], training: Training = TRAINING) -> Outcome:
    """What a method comes to at its defaults, which several checks compare a disturbed run with."""
    dataset = made_up_data()
    return finish(make_run(method.name, dataset, deal(dataset), training))


def renumber(dealt: Split, order: tuple[int, ...]) -> Split:
    """The same split with other numbers: client i is the one that was `order[i]`."""
    lists: dict[str, Any] = {
        name: tuple(getattr(dealt, name)[old] for old in order) for name in ("train", "validation", "test")
    }
    groups = dealt.groups and Sealed(dealt.groups.open_for_evaluation()[list(order)], dealt.groups.what)
    return replace(dealt, groups=groups, **lists)


@contextmanager
def normed_net() -> Iterator[ModelMix]:
    """Networks with BatchNorm, whose buffers are floats and an integer counter, and with dropout; there for a while."""

    def build(shape: tuple[int, ...], classes: int) -> tuple[nn.Module, nn.Linear]:
        body = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(shape[0], 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()
        )
        return body.append(torch.nn.Dropout(0.2)), torch.nn.Linear(8, classes)

    summary = "BatchNorm and dropout, for the contract checks"
    with MODELS.lent(NORMED, ModelPlugin(NORMED, build, summary, NORMED, None, "")):
        yield ModelMix((NORMED,))


def true_groups(run: Run) -> np.ndarray | None:
    """The latent group of each client of a run, opened as the evaluator does; None without groups."""
    return None if run.data.groups is None else run.data.groups.open_for_evaluation()


def client_facts(run: Run, client: int = 0, codec: str = "none") -> Facts:
    """The sizes that closed forms are written in, of one client of a run."""
    from ...federation.models import net_bytes

    about, number, groups = run.data.about, run.dtype.itemsize, true_groups(run)
    net, server = (
        net_bytes(name, about.shape, about.classes, run.models.width, number, about.vocabulary)
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
        participants=len(run.participants(0)),
        groups=None if groups is None else len(np.unique(groups)),
        architectures=len(set(run.architectures)),
        all_views=run.training.views == "all",
    )


def flat(state: Any, prefix: str) -> dict[str, Tensor]:
    """Copies of the tensors in nested dictionaries, lists and tuples, by their paths."""
    if isinstance(state, dict):
        return {key: value for name, part in state.items() for key, value in flat(part, f"{prefix}/{name}").items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)), prefix)
    return {prefix: state.clone()} if isinstance(state, torch.Tensor) else {}


def changed_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """The names under which two sets of tensors do not have the same numbers."""
    return sorted(
        key
        for key in first.keys() | second.keys()
        if key not in first or key not in second or not torch.equal(first[key], second[key])
    )


def assert_same(first: Outcome, second: Outcome, what: str, hint: str = "") -> None:
    """Raise an `AssertionError` unless two runs ended with the same bits, rows and badges.

    Args:
        first: of one run.
        second: of the other.
        what: what was done to it.
        hint: which line of the method is likely wrong.
    """
    because = f"; {hint}" if hint else ""
    assert not changed_tensors(first.weights, second.weights), f"{what}: weights differ{because}"
    for one, other in zip(first.rows, second.rows, strict=True):
        different = [key for key, value in one.items() if other.get(key) != value]
        assert not different, f"{what}: round {one['round']} differs in {', '.join(different)}{because}"
    assert first.badges == second.badges, f"{what}: badges {first.badges} and {second.badges}"


def different_values(first: Mapping[str, Any], second: Mapping[str, Any], within: float) -> list[str]:
    """The columns in which two rows, or lists of clients' rows, differ by more than rounding."""

    def alike(one: Any, other: Any) -> bool:
        if isinstance(one, list):
            return all(not different_values(mine, yours, within) for mine, yours in zip(one, other, strict=True))
        if isinstance(one, float) and isinstance(other, float):
            return abs(one - other) <= within * max(1.0, abs(one))
        return bool(one == other)

    return [key for key, value in first.items() if key not in second or not alike(value, second[key])]


def assert_finite(name: str, outcome: Outcome, where: str) -> None:
    """Raise an `AssertionError` where a weight, or a number of a row, is not finite."""
    unfit = [key for key, tensor in outcome.weights.items() if not tensor.isfinite().all()]
    assert not unfit, f"{name}: {where}, {', '.join(unfit)} is not finite"
    for row in outcome.rows:
        unfit = sorted({key for part in (row, *row["clients"]) for key, value in part.items() if _is_unfit(value)})
        assert not unfit, f"{name}: {where}, round {row['round']} has {', '.join(unfit)} that is no number"


def _is_unfit(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def wrong_bytes(run: Run, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """How the bytes of a client in a run differ from `Method.plan` (where it is a bound: exceed it); None: they do not.

    A method without a plan sends nothing.
    """
    method = METHODS[run.method.name]()
    for client in range(run.data.clients):
        plan = method.plan(client_facts(run, client))
        moved = [(row["clients"][client]["bytes_up"], row["clients"][client]["bytes_down"]) for row in rows]
        if plan is None:
            if any(map(any, moved)):
                return f"moved {moved} bytes (up, down), but has no `plan` of them"
            continue
        planned = [(plan.up_bytes, plan.down_bytes if row["round"] else plan.first_down_bytes) for row in rows]
        if plan.bound:
            pairs = zip(moved, planned, strict=True)
            kept = all(up <= most and down <= largest for (up, down), (most, largest) in pairs)
        else:
            kept = moved == planned
        if not kept:
            return f"client {client} moved {moved} bytes (up, down), the plan says {planned}"
    return None


def wrong_steps(run: Run, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """How the steps of a run differ from `Method.plan`; None: they do not. A method without a plan trains once."""
    taken, planned = recorded_and_planned(run, rows)
    method: Any = run.method
    plan = method.plan(client_facts(run))
    meant, slack = "exact" if plan is None else plan.steps, 0.0 if run.training.participation == 1 else TOLERANCE
    for kind, steps in planned.items():
        kept, words = {
            "exact": (abs(taken[kind] - steps) <= slack * steps, "the plan says"),
            "most": (taken[kind] <= (1 + slack) * steps, "the plan says at most"),
            "expected": (bool(taken[kind]) == bool(steps), "the plan expects"),
        }[meant]
        if not kept:
            return f"{taken[kind]} steps of kind {kind!r} in {len(rows)} rounds, {words} {steps:g}"
    return None


def recorded_and_planned(run: Run, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[Kind, int], dict[Kind, float]]:
    """The steps of a run by kind: those of its record, and those that `Method.plan` comes to."""
    method: Any = run.method
    plans = [method.plan(client_facts(run, client)) or Plan() for client in range(run.data.clients)]
    groups = true_groups(run)
    indices = [row["round"] for row in rows]
    absent = [run.absent(index) for index in indices]
    drawn = [run.participants(index) for index in indices]
    planned = planned_work(
        [plan.phases(run.training.local_epochs) for plan in plans],
        run.data.train.sizes,
        [[one for one in own if away.get(one) != "after_download"] for own, away in zip(drawn, absent, strict=True)],
        public=len(run.data.public),
        batch_size=run.training.batch_size,
        groups=None if groups is None else groups.tolist(),
        heard=[[client for client in own if client not in away] for own, away in zip(drawn, absent, strict=True)],
        deadline=run.faults.deadline,
    )
    taken = {kind: sum(row.get(f"steps_{kind}", 0) for row in rows) for kind in KINDS}
    return taken, {kind: work.steps for kind, work in planned.items()}
