"""Checks that a method uses what it may: no sealed label or test sample, bytes as planned, and scoring only looks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from inspect import currentframe
from traceback import walk_stack
from typing import TYPE_CHECKING, Any

from fl_bench.sealed import Sealed

from ..base import Method
from ..registry import METHODS
from .repeating import RENUMBERED
from .worlds import (
    FEW,
    FEWER,
    LONG,
    TRAINING,
    changed_tensors,
    deal,
    finish,
    flat,
    made_up_data,
    make_run,
    undisturbed,
    wrong_bytes,
    wrong_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...federation.cohort import Cohort
    from ...federation.deployed import Deployed
    from ...federation.rounds import Round
    from ...federation.run import Run


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
        assert not changed_tensors(honest.weights, outcome.weights), (
            f"{name} uses sealed labels or groups, but carries no badge; look for `open_for_evaluation`, which is the "
            "evaluator's: a method opens them with `open`"
        )
    looked_at = ", ".join(sorted(opened))
    assert not opened, f"{name} opens {looked_at} unrecorded; a method opens them with `open`, which leaves a badge"


def test_data_change_nothing(name: str) -> None:
    """Garbage in place of every test input changes no weight."""
    dataset = made_up_data()
    honest = undisturbed(METHODS[name])
    inputs = dataset.inputs.clone()
    inputs[dataset.train_size :] = 1e3
    garbage = finish(make_run(name, replace(dataset, inputs=inputs), deal(dataset)))
    assert not changed_tensors(honest.weights, garbage.weights), (
        f"{name} trains on test data; look for `clients.members.data`: a client's samples are `PRIVATE`, the public "
        "ones `rnd.public`"
    )


def bytes_equal_the_closed_form(name: str) -> None:
    """Every client's bytes in every round are what `Method.plan` says (at most that where it is a bound).

    A method without a plan sends nothing.
    """
    dataset = made_up_data()
    for precision in ("float32", "float64"):
        run = make_run(name, dataset, deal(dataset), replace(TRAINING, precision=precision))
        wrong = wrong_bytes(run, undisturbed(METHODS[name], run.training).rows)
        assert wrong is None, (
            f"{name}, in {precision}: {wrong}; compare what `client_update` and `server_update` return with `plan`"
        )


def steps_equal_the_plan(name: str) -> None:
    """The steps that the record counts in a run are what `Method.plan` says, by kind; with one local epoch and more.

    Where all clients take part they are equal, with 0.67 of them they differ by a tenth at most. A plan that says it is
    the most is not exceeded, and one that says what to expect has steps of the kinds that the record has.
    """
    dataset = made_up_data()
    for training in (TRAINING, LONG, FEWER):
        run = make_run(name, dataset, deal(dataset), training)
        wrong = wrong_steps(run, undisturbed(METHODS[name], training).rows)
        assert wrong is None, (
            f"{name}, with {training.local_epochs} local epochs and participation {training.participation}: {wrong}; "
            f"say in `plan` what is trained: `Plan(client_local_epochs=...)` for passes over private data (without "
            "it, the run's local epochs), `client_public_epochs` and `server_public_epochs` for the public pool, or "
            "`work=(PlannedPhase(...), ...)` for all phases where these do not say enough; and "
            '`steps="most"` or `"expected"` where they depend on the data'
        )


def scoring_changes_nothing(name: str) -> None:
    """`deployed` and `views` change no weight, optimizer moment or kept tree, and nothing of the method's.

    Called twice they show the same. Optimizers persist here, so that there are moments to change.
    """
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), replace(FEW, optimizer_state="persist"))
    method = run.method

    def watched(asked: str, show: Callable[[], dict[str, Deployed]]) -> dict[str, Deployed]:
        before = _everything(run)
        shown = _shown(first := show())
        again = _shown(show())
        after = _everything(run)
        different = [key for key in {**before, **after} if not _equal(before.get(key), after.get(key))]
        assert not different, (
            f"{name}: `{asked}` changes {', '.join(different)}; training and loading weights belong in `client_update` "
            f"or `server_update`, or work on `clients.copy()`, and `{asked}` sets no attribute of `self`"
        )
        different = [key for key in {**shown, **again} if not _equal(shown.get(key), again.get(key))]
        assert not different, (
            f"{name}: `{asked}`, called twice, shows other models ({', '.join(different)}); look for random numbers "
            "that do not come from a named stream, and for what it counts"
        )
        return first

    deployed, views = method.deployed, method.views

    def watched_deployed(clients: Cohort, rnd: Round) -> Deployed:
        return watched("deployed", lambda: {"": deployed(clients, rnd)})[""]

    def watched_views(clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        return watched("views", lambda: views(clients, rnd))

    method.deployed, method.views = watched_deployed, watched_views  # type: ignore[method-assign]  # to watch them
    finish(run)


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


def _everything(run: Run) -> dict[str, Any]:
    """Copies of all that lasts in a run: the clients' models, what the method saves, and its attributes as they are."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run.architectures):
        state = run.client_models(name).state_dict()
        for kind, words in (("parameters", ""), ("buffers", ""), ("moments", "optimizer "), ("kept", "kept ")):
            found |= flat(state[kind], f"clients' {words}{name}")
    found |= flat(run.method.state_dict(), "the method's state")
    for name, value in vars(run.method).items():
        found[f"self.{name}"] = value
        found |= flat(value, f"what is in self.{name}")
    return found


def _shown(views: dict[str, Deployed]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for view, deployed in views.items():
        shown[f"{view} index"] = deployed.index
        shown |= flat(deployed.weights, f"{view} weights")
    return shown


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same object, tensors with the same numbers, or plain values that are equal."""
    if one is other:
        return True
    if hasattr(one, "equal") and hasattr(other, "equal"):
        return bool(one.shape == other.shape and one.equal(other))
    return isinstance(one, int | float | str | bool | tuple) and type(one) is type(other) and one == other
