"""Checks that a run repeats itself, whatever must not matter to it: order, numbers, threads, engines, stops."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...federation.settings import Execution
from ..registry import METHODS
from .worlds import (
    FEW,
    MODEL,
    TRAINING,
    assert_same,
    changed_tensors,
    deal,
    different_values,
    finish,
    made_up_data,
    make_run,
    renumber,
    undisturbed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RENUMBERED = (4, 2, 5, 0, 3, 1)
"""Who is client 0, 1, ... after renumbering: nobody keeps its number, and the two groups are mixed."""
ROUNDING = 1e-8
"""How far numbers of runs in float64 may be apart whose sums run in another order."""


def same_seed_same_bits(name: str) -> None:
    """Two runs with one seed end with the same bits; another seed does not."""
    dataset = made_up_data()
    dealt = deal(dataset)
    first = undisturbed(METHODS[name])
    hint = "look for random numbers that do not come from `rnd.stream` or `fl_bench.streams`, and for loops over a set"
    assert_same(first, finish(make_run(name, dataset, dealt)), f"{name} ran twice with one seed", hint)
    other = finish(make_run(name, dataset, dealt, seed=1))
    assert changed_tensors(first.weights, other.weights), (
        f"{name} does not depend on the seed; look for a constant where `rnd.seed` or `federation.init_seed` belongs"
    )


def other_runs_change_nothing(name: str) -> None:
    """A run whose rounds alternate with those of another in the same process ends with the same bits and rows.

    What a process did before, and so the number of jobs, then does not matter.
    """
    dataset = made_up_data()
    run, other = (make_run(name, dataset, deal(dataset), seed=seed) for seed in (0, 1))
    rows = other.rounds()
    between = finish(run, after_each=lambda: next(rows, None))
    hint = "look for class attributes, globals and caches that change; what lasts is made in `setup`, on `self`"
    assert_same(undisturbed(METHODS[name]), between, f"{name} took turns with a run of another seed", hint)


def threads_change_nothing(name: str) -> None:
    """Clients that train side by side, on two threads, end with the same bits and rows as one after the other."""
    dataset, training = made_up_data(), replace(TRAINING, engine="loop")
    side_by_side = finish(make_run(name, dataset, deal(dataset), training, execution=Execution(threads=2)))
    hint = "look at what the objective of a `fit` reads and writes beside its model and batch"
    assert_same(undisturbed(METHODS[name], training), side_by_side, f"{name} trained its clients on two threads", hint)


def views_change_nothing(name: str) -> None:
    """A run that scores the deployed view alone ends with the same bits, and reports the same but for other views."""
    dataset, deployed = made_up_data(), METHODS[name].deployed_view

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        mine = {key: value for key, value in row.items() if key.partition(".")[0] == deployed or "." not in key}
        return {key: value for key, value in mine.items() if key != "steps_aside"}  # which views may take

    whole = undisturbed(METHODS[name])
    rows = [{**kept(row), "clients": [kept(client) for client in row["clients"]]} for row in whole.rows]
    alone = finish(make_run(name, dataset, deal(dataset), replace(TRAINING, views="deployed")))
    alone = replace(alone, rows=[kept(row) for row in alone.rows])
    hint = "what `views` does must not be needed: it is not called where nobody asks for further views"
    assert_same(replace(whole, rows=rows), alone, f"{name} scored its deployed view alone", hint)


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
        hint = (
            "what the server keeps between rounds on `self` belongs in `state_dict` and `load_state_dict`, "
            "what a client keeps goes through `clients.keep`"
        )
        assert_same(undisturbed(METHODS[name], training), resumed, what, hint)


def order_of_clients_changes_nothing(name: str) -> None:
    """Training the members of every cohort from the last to the first gives the same bits."""
    dataset, training = made_up_data(), replace(TRAINING, engine="loop")
    with last_client_first():
        backwards = finish(make_run(name, dataset, deal(dataset), training))
    forwards = undisturbed(METHODS[name], training)
    hint = "look at what the objective of a `fit` counts or keeps from one client to the next"
    assert_same(forwards, backwards, f"{name} trained its clients from the last to the first", hint)


def loop_equals_stacked(name: str) -> None:
    """Models trained one after the other and all at once end with the same weights and rows, but for rounding.

    Those of clients and, where the method keeps or shows them, those of the server. With momentum: Adam would turn the
    rounding of gradients that vanish, as of a net that learns its own predictions, into steps.
    """
    dataset = made_up_data()
    training = replace(TRAINING, optimizer="sgd", momentum=0.9, lr=0.1, precision="float64")
    one, other = (
        finish(make_run(name, dataset, deal(dataset), replace(training, engine=engine)))
        for engine in ("loop", "stacked")
    )
    hint = (
        "look for objectives that mix clients or depend on shapes such as `len(batch.x)` of a stack, and for "
        "`predict` whose output has further axes"
    )
    assert one.weights.keys() == other.weights.keys()
    gaps = {
        key: float((value.double() - other.weights[key].double()).abs().max()) for key, value in one.weights.items()
    }
    apart = [f"{key} by {gap:.1e}" for key, gap in gaps.items() if not gap <= 1e-9]
    assert not apart, f"{name}: the stacked engine comes to other weights: {', '.join(apart)}; {hint}"
    for looped, stacked in zip(one.rows, other.rows, strict=True):
        different = different_values(looped, stacked, ROUNDING)
        what = f"{name}: the stacked engine comes to other numbers in round {looped['round']}"
        assert not different, f"{what}: {', '.join(different)}; {hint}"


def renumbering_clients_renumbers_results(name: str) -> None:
    """Clients with other numbers, but their own data and random streams, get the same results under those numbers."""
    dataset = made_up_data()
    dealt = deal(dataset)
    training = replace(TRAINING, precision="float64")  # sums over clients run in another order
    hint = "look for client ids in arithmetic or as seeds (`clients.keys` names streams), and for ties decided by ids"
    first = undisturbed(METHODS[name], training)
    renumbered = make_run(name, dataset, renumber(dealt, RENUMBERED), training, identities=RENUMBERED)
    second = finish(renumbered)
    for key, tensor in renumbered.client_weights()[MODEL].items():
        gap = (first.weights[f"{MODEL}/{key}"][list(RENUMBERED)] - tensor).abs().max()
        assert gap <= ROUNDING, f"{name}: {key} depends on the clients' numbers, by {gap:.1e}; {hint}"
    for before, after in zip(first.rows, second.rows, strict=True):
        clients = [before["clients"][client] for client in RENUMBERED]
        for old, new in zip(clients, after["clients"], strict=True):
            different = [key for key in different_values(old, new, ROUNDING) if key not in ("client", "cluster")]
            what = f"{name}: client {old['client']}, renumbered {new['client']}, differs in {', '.join(different)}"
            assert not different, f"{what} of round {before['round']}; {hint}"
        clusters = [[row["cluster"] for row in rows] for rows in (clients, after["clients"])]
        assert _partition(clusters[0]) == _partition(clusters[1]), f"{name}: other clients share clusters: {clusters}"


@contextmanager
def last_client_first() -> Iterator[None]:
    """Train the members of every cohort from the last to the first."""
    from ...federation.engine import ENGINES
    from ...federation.loop import LoopEngine

    usual = ENGINES["loop"]
    ENGINES["loop"] = LoopEngine(backwards=True)
    try:
        yield
    finally:
        ENGINES["loop"] = usual


def _partition(labels: list[int | None]) -> list[int]:
    """For each client the first one with its label: equal for two labellings that only name clusters differently."""
    return [labels.index(label) for label in labels]
