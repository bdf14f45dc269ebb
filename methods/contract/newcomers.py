"""The check that clients which were kept out of training are admitted, on what they hold, at nobody else's expense."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fl_bench.sealed import Sealed

from ...federation.settings import UNSEEN
from .worlds import TRAINING, assert_finite, changed_tensors, deal, finish, flat, made_up_data, make_run

if TYPE_CHECKING:
    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ...federation.cohort import Cohort
    from ...federation.deployed import Deployed
    from ...federation.rounds import Round
    from ...federation.settings import Training
    from .worlds import Outcome

KEPT_OUT = 2
"""Of eight clients."""
BUDGET = replace(TRAINING, rounds=2, admission_epochs=2)
"""Two rounds, so that something was received before they come. Newcomers have other epochs than clients in a round."""


def unseen_clients_work(name: str) -> None:
    """Two of eight clients are kept out of training, and `Method.unseen` admits them at the end.

    Test data and sealed labels change no weight of what they deploy, the same seed gives the same bits, and what they
    do changes nothing of the others, as more epochs for them show.
    A method that admits nobody (`unseen` returns None) scores none.
    """
    dataset = made_up_data()
    dealt = deal(dataset, clients=6 + KEPT_OUT, unseen=KEPT_OUT / (6 + KEPT_OUT))
    try:
        usual, models = _admitted(name, dataset, dealt, BUDGET)
    except Exception as error:
        raise AssertionError(
            f"{name} fails where clients are kept out of training: {error}; by default they take part in a round as "
            "anybody does (`client_update`), and are told what waits for all clients alike, or None: override "
            "`unseen`, and look for `clients.ids`, which are beyond those of the federation"
        ) from error
    last = usual.rows[-1]
    if models is None:
        assert f"{UNSEEN}.acc_mean" not in last
        return
    assert_finite(name, usual, "with clients that were kept out of training")
    assert last[f"{UNSEEN}.clients"] == KEPT_OUT
    assert all(f"{UNSEEN}.acc_mean" not in row for row in usual.rows[:-1])
    again = _admitted(name, dataset, dealt, BUDGET)[1]
    assert not changed_tensors(models, again or {}), f"{name}: `unseen` draws numbers that come from no named stream"
    inputs = dataset.inputs.clone()
    inputs[dataset.train_size :] = 1e3
    garbage = _admitted(name, replace(dataset, inputs=inputs), dealt, BUDGET, poisoned=True)[1]
    if not any(badge.startswith("oracle:") for badge in usual.badges):
        assert not changed_tensors(models, garbage or {}), f"{name}: `unseen` uses test data or sealed labels"
    longer = _admitted(name, dataset, dealt, replace(BUDGET, admission_epochs=4))[0]
    own = ("steps_unseen", f"{UNSEEN}.")
    moved = [
        key
        for one, other in zip(usual.rows, longer.rows, strict=True)
        for key in one
        if not key.startswith(own) and one[key] != other[key]
    ]
    moved += changed_tensors(usual.weights, longer.weights)
    assert not moved, f"{name}: `unseen` changes what is not the newcomers': {', '.join(moved)}"


def _admitted(
    name: str, dataset: Dataset, dealt: Split, training: Training, *, poisoned: bool = False
) -> tuple[Outcome, dict[str, Any] | None]:
    """A run to its end, and the models that newcomers deploy; None where the method admits nobody.

    Args:
        name: registered name of the method.
        dataset: the data.
        dealt: who holds which rows, with clients that are kept out.
        training: rounds and local training.
        poisoned: whether sealed labels are false.
    """
    run = make_run(name, dataset, dealt, training)
    if poisoned:
        truth = run.data.sealed_labels.open_for_evaluation()
        wrong = Sealed((truth + 1) % dataset.about.classes, "test labels")
        public = Sealed(wrong.open_for_evaluation()[run.data.public.rows], "public labels")
        run.data.sealed_labels, run.data.public.labels = wrong, public
    found: dict[str, Any] | None = {}
    unseen = run.method.unseen

    def watched(clients: Cohort, received: Any, rnd: Round) -> Deployed | None:
        nonlocal found
        if poisoned:
            clients.members.data.sealed_labels = wrong
        view = unseen(clients, received, rnd)
        found = None if view is None else flat(view.weights, clients.architecture)
        return view

    run.method.unseen = watched  # type: ignore[method-assign]  # to see what it returns
    return finish(run), found
