"""Checks that a method works, or says why not, under other conditions: clients, networks, batches, rates."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from fl_bench.errors import Diverged, Unsupported

from ...federation.settings import ModelMix
from ..base import unsupported
from ..registry import METHODS
from .worlds import (
    FEW,
    MODEL,
    TRAINING,
    assert_finite,
    deal,
    finish,
    made_up_data,
    make_run,
    normed_net,
    undisturbed,
    wrong_bytes,
)

if TYPE_CHECKING:
    from ...datasets.dataset import Dataset
    from ...datasets.split import Split

MIXED = (MODEL, "linear")
"""Clients' networks in the check of mixed architectures: features of 8 and of 6 numbers."""
OTHER_SERVER = "mlp-12"
"""A server's network that is not the clients': features of 12 numbers."""
HUGE = 1e6
"""A learning rate that nothing survives."""


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
        refused, runs = {}, [pooled] if needs.server_width else [mix, pooled]  # that is refused when nets are built
    for models in (mix, pooled):
        reason = unsupported(METHODS[name](), models=models, training=TRAINING, public=0.2, grouped=True)
        expected = refused.get(models)
        as_expected = reason is None if expected is None else expected in str(reason)
        what = f"{name} with {', '.join(models.names)} and width {models.width}"
        assert as_expected, f"{what}: {reason!r} instead of {expected!r}"
    for models in runs:
        assert len(finish(make_run(name, dataset, deal(dataset), models=models)).rows) == TRAINING.rounds


def other_server_architectures_work_or_are_refused(name: str) -> None:
    """With `models.server` another network than the clients' the run ends, or it is refused with a reason."""
    dataset, models = made_up_data(), ModelMix((MODEL,), server=OTHER_SERVER)
    if unsupported(METHODS[name](), models=models, training=TRAINING, public=0.2, grouped=True) is not None:
        return
    try:
        outcome = finish(make_run(name, dataset, deal(dataset), models=models))
    except Unsupported:
        return
    except Exception as error:
        raise AssertionError(
            f"{name} fails with the server's network {OTHER_SERVER} and clients' {MODEL}: {error}; look for weights or "
            "features of `federation.server_models` or `federation.common_net` that meet those of clients, and say in "
            "`requires` (or raise `Unsupported` in `setup`) what the method needs"
        ) from error
    assert_finite(name, outcome, f"with the server's network {OTHER_SERVER}")


def normalised_nets_work(name: str) -> None:
    """With BatchNorm, which has integers among its buffers, and dropout the run ends; bytes are as planned."""
    dataset = made_up_data()
    hint = (
        "buffers travel with `clients.weights` and count in `facts.weights_bytes`; integers among them cannot be "
        "averaged (`averaging.weighted_mean` takes the first), and `clients.parameters` leaves all buffers out; "
        "BatchNorm layers that stay with the client are `facts.norm_bytes` less"
    )
    with normed_net() as models:
        try:
            run = make_run(name, dataset, deal(dataset), models=models)
            outcome = finish(run)
        except Exception as error:
            raise AssertionError(
                f"{name} fails with networks that have BatchNorm and dropout: {error}; {hint}"
            ) from error
        wrong = wrong_bytes(run, outcome.rows)
    assert_finite(name, outcome, "with networks that have BatchNorm and dropout")
    assert wrong is None, f"{name}, with networks that have BatchNorm: {wrong}; {hint}"


def single_samples_work(name: str) -> None:
    """With one sample per step the run ends and all numbers stay finite."""
    dataset = made_up_data(per_class=24)  # there are many steps
    training = replace(TRAINING, batch_size=1, rounds=2)
    hint = "look for `squeeze()` without an axis, standard deviations and other statistics of a batch in an objective"
    try:
        outcome = finish(make_run(name, dataset, deal(dataset), training))
    except Exception as error:
        raise AssertionError(f"{name} fails with training.batch_size 1: {error}; {hint}") from error
    assert_finite(name, outcome, f"with training.batch_size 1 ({hint})")


def poor_clients_work(name: str) -> None:
    """Clients with a single sample, with a single class and without test samples take part, and all stays finite.

    The first has no validation samples either. Without test samples there is no accuracy: means leave the client out.
    (A client without training samples is refused whatever the method, before the first round.)
    """
    dataset = made_up_data()
    outcome = finish(make_run(name, dataset, poor(dataset, deal(dataset))))
    assert len(outcome.rows) == TRAINING.rounds
    assert_finite(name, outcome, "with poor clients")


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
    raise AssertionError(
        f"{name} reports an accuracy for a run with learning rate 1e6; look for a `fit` whose rate is no setting named "
        "`lr` or `<something>_lr`, and for models that are deployed but never trained"
    )


def poor(dataset: Dataset, dealt: Split) -> Split:
    """The split with a client of one sample and no other, one of a single class, and one without test samples."""
    labels = dataset.labels.numpy()
    lone, single = dealt.train[0][:1], dealt.train[1]
    single = single[labels[single] == labels[single[0]]]
    return replace(
        dealt,
        train=(lone, single, *dealt.train[2:]),
        validation=(dealt.validation[0][:0], *dealt.validation[1:]),
        test=(*dealt.test[:2], dealt.test[2][:0], *dealt.test[3:]),
    )
