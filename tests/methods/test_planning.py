"""Planned phases come to the steps that a run takes: by hand, and beside the record in many settings of methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fl_bench.federation.faults import Faults
from fl_bench.federation.settings import ModelMix
from fl_bench.methods.base import Plan
from fl_bench.methods.contract import TRAINING, client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.contract.worlds import FEW, FEWER, recorded_and_planned
from fl_bench.methods.planning import PlannedPhase, parts_met, planned_work
from fl_bench.methods.registry import METHODS

DRAWN = [[0, 1], [1, 2], [0, 1], [1]]
"""Who takes part in four rounds: client 0 twice, client 1 always, client 2 once."""
SIZES = [9, 17, 8]
"""Private samples; with 8 to a batch an epoch has 2, 3 and 1 steps."""


@pytest.mark.parametrize(
    ("phase", "steps"),
    [
        (PlannedPhase("local", 1), 2 * 2 + 4 * 3 + 1),
        (PlannedPhase("local", 3), 2 * 4 + 4 * 7 + 3),  # 27/8, 51/8 and 24/8, rounded up
        (PlannedPhase("local", 0), 0),
        (PlannedPhase("local", 1, repeat=5), 5 * 17),
        (PlannedPhase("local", 1, repeat=5, share=0.5), 5 * 17 / 2),
        (PlannedPhase("local", 1, batches=7), 7 * 7),
        (PlannedPhase("local", 1, "both"), 2 * 4 + 4 * 5 + 4),  # 29, 37 and 28 samples
        (PlannedPhase("local", 1, "pooled"), 4 * 5),  # 34 samples, whoever takes part
        (PlannedPhase("local", 1, "pooled and public"), 4 * 7),  # 54
        (PlannedPhase("local", 1, "pooled", models=2), 4 * (3 + 3)),  # groups of 17 and 17
        (PlannedPhase("distill", 2, "public"), 7 * 5),
        (PlannedPhase("distill", 2, 12), 7 * 3),
        (PlannedPhase("distill", 1, "public", start=1), 5 * 3),
        (PlannedPhase("distill", 1, "public", stop=1), 2 * 3),
        (PlannedPhase("distill", 1, "public", start=1, every=2), 3 * 3),  # rounds 1 and 3
        (PlannedPhase("distill", 1, "public", turn="first"), 3 * 3),
        (PlannedPhase("distill", 1, "public", turn="later"), 4 * 3),
        (PlannedPhase("distill", 1, "public", start=1, every=2, own_rounds=True), 3 * 3),  # 0 once, 1 in two rounds
        (PlannedPhase("aside", 1), 4 * (2 + 3 + 1)),
        (PlannedPhase("aside", 1, turn="absent"), 4 * (2 + 3 + 1) - 17),  # all that `local` is not
        (PlannedPhase("server", 1, "public"), 4 * 3),
        (PlannedPhase("server", 1, "public", models=5), 4 * 5 * 3),
        (PlannedPhase("server", 1, 12, models=1.5, start=2), 2 * 1.5 * 2),
        (PlannedPhase("server", 2, 5, uploaded=True), 3 * 3 + 2),  # 10 samples of two participants, 5 of one
    ],
    ids=str,
)
def test_steps_by_hand(phase: PlannedPhase, steps: float) -> None:
    phase = replace(phase, passes=2)
    work = planned_work([(phase,)] * 3, SIZES, DRAWN, public=20, batch_size=8, groups=[0, 1, 0])
    assert (work[phase.kind].steps, work[phase.kind].passes) == (steps, 2 * steps)
    assert {kind for kind, own in work.items() if own.steps} <= {phase.kind}


def test_each_client_plans_for_itself() -> None:
    uploads = [(PlannedPhase("server", 1, held, uploaded=True),) for held in (3, 6, 8)]
    # 9, 14, 9 and 6 samples, 8 to a batch
    assert planned_work(uploads, SIZES, DRAWN, public=0, batch_size=8)["server"].steps == 2 + 2 + 2 + 1
    local = [(PlannedPhase("local", epochs),) for epochs in (1, 0, 2)]
    assert planned_work(local, SIZES, DRAWN, public=0, batch_size=8)["local"].steps == 2 * 2 + 2


@pytest.mark.parametrize(
    ("size", "steps"),
    [(20.0, 3.0), (1.0, 1.0)],  # 20/8 and a half; one step at least
)
def test_clients_of_average_size_end_with_half_a_step(size: float, steps: float) -> None:
    work = planned_work([(PlannedPhase("local", 1),)], [size], [[0]], public=0, batch_size=8)
    assert work["local"].steps == steps


def test_groups_of_one_size_where_they_are_not_known() -> None:
    pooled = (PlannedPhase("local", 1, "pooled", models=2),)
    work = planned_work([pooled] * 2, [40.0, 40.0], [[0], [1]], public=0, batch_size=8)
    assert work["local"].steps == 2 * 2 * 5.5


@pytest.mark.parametrize(
    ("phases", "deadline", "steps"),
    [
        # 2, 3 and 1 steps of three clients, who take part twice, four times and once
        ((PlannedPhase("local", 1),), 2, {"local": 2 * 2 + 4 * 2 + 1}),
        # 20 public samples are 3 steps, which come first and leave 1
        ((PlannedPhase("distill", 1, "public"), PlannedPhase("local", 1)), 4, {"distill": 7 * 3, "local": 7}),
        # what is trained on five times a batch is so, or not at all
        ((PlannedPhase("local", 1, repeat=5),), 9, {"local": 7 * 5}),
        ((PlannedPhase("local", 1, start=1), PlannedPhase("aside", 1)), 1, {"local": 5, "aside": 4 * (2 + 3 + 1)}),
        # each model of pooled data has a deadline of its own, and the server none
        ((PlannedPhase("local", 1, "pooled", models=2),), 2, {"local": 4 * 2 * 2}),
        ((PlannedPhase("server", 1, "public"),), 1, {"server": 4 * 3}),
        ((PlannedPhase("local", 1, own_rounds=True, stop=1),), 2, {"local": 2 + 2 + 1}),
    ],
    ids=str,
)
def test_a_deadline_leaves_so_many_steps(
    phases: tuple[PlannedPhase, ...], deadline: int, steps: dict[str, float]
) -> None:
    work = planned_work([phases] * 3, SIZES, DRAWN, public=20, batch_size=8, groups=[0, 1, 0], deadline=deadline)
    assert {kind: own.steps for kind, own in work.items() if own.steps} == steps


def test_the_server_is_trained_on_what_it_hears() -> None:
    uploads = [(PlannedPhase("server", 1, 5, uploaded=True),)] * 3
    assert planned_work(uploads, SIZES, DRAWN, public=0, batch_size=8, heard=[[0], [], [1], [1]])["server"].steps == 3


FAULTS = {
    "deadline": Faults(deadline=3),
    "absent": Faults(absent=0.4, absent_at="either"),
    "late": Faults(late=0.5),
}


@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("name", ["centralized-group", "fedmd", "fedrep"])
def test_steps_under_faults_are_as_planned(name: str, faults: str) -> None:
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), faults=FAULTS[faults])
    taken, planned = recorded_and_planned(run, finish(run).rows)
    assert taken == planned


def test_parts_that_a_draw_meets() -> None:
    assert parts_met(3, 6, 6) == 3
    assert parts_met(1, 6, 2) == 1
    # 5 clients in parts of 3 and 2, two drawn of ten pairs: one pair misses the first part, three the second
    assert parts_met(2, 5, 2) == pytest.approx(0.9 + 0.7)
    assert parts_met(6, 6, 2) == pytest.approx(2)


def test_every_architecture_has_a_student() -> None:
    dataset = made_up_data()
    run = make_run("feddf", dataset, deal(dataset), models=ModelMix(("mlp-8", "linear")))
    taken, planned = recorded_and_planned(run, finish(run).rows)
    assert taken == planned
    few = make_run("feddf", dataset, deal(dataset), FEW, models=ModelMix(("mlp-8", "linear")))
    plan = few.method.plan(client_facts(few))
    assert (plan.steps, plan.work[1].models) == ("expected", pytest.approx(1.6))  # of 15 pairs 3 miss each half


def test_a_plan_without_phases_is_made_of_its_numbers() -> None:
    assert Plan().phases(3)[0] == PlannedPhase("local", 3)
    assert Plan(client_local_epochs=0, client_public_epochs=5, server_public_epochs=2).phases(3) == (
        PlannedPhase("local", 0),
        PlannedPhase("distill", 5, "public", start=1),
        PlannedPhase("server", 2, "public"),
    )
    own = (PlannedPhase("aside", 1),)
    assert Plan(client_local_epochs=2, work=own).phases(3) == own


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("apfl", {"adapt": "batch"}),
    ("apfl", {"adapt": "never"}),
    ("apfl", {"mix": "logits"}),
    ("centralized", {"with_public": True}),
    ("centralized-group", {"with_public": True}),
    ("centralized-group", {"epochs": 3}),
    ("cfd", {"client_init": "random", "distill_epochs": 2, "server_epochs": 3}),
    ("comet", {"mode": "sequential", "choice": "client"}),
    ("comet", {"mode": "sequential", "choice": "server"}),
    ("comet", {"choice": "server"}),
    ("cosmos", {"feedback": "max_conf_global", "clustering": "agglomerative"}),
    ("cosmos", {"feedback": "max_conf_global", "clustering": "single", "distill_only": True}),
    ("cosmos", {"feedback": "no_model"}),
    ("cosmos", {"distill_only": True, "clustering": "single"}),
    ("cosmos", {"clusters": "groups"}),
    ("cosmos", {"clusters": "groups", "clustering": "farthest"}),
    ("cosmos", {"clusters": 2, "clustering": "agglomerative", "server": "heads"}),
    ("cosmos", {"clustering": "oracle", "server": "heads", "head_schedule": "sequential", "head_sweeps": 2}),
    ("cosmos", {"clustering": "singleton"}),
    ("cosmos", {"clustering": "random"}),
    ("cronus", {"initial_epochs": 2}),
    ("cronus", {"initial_epochs": 0}),
    ("ditto", {"personal_epochs": 2}),
    ("dsfl", {"public_samples": 11, "distill_epochs": 3}),
    ("dsfl", {"server_model": False}),
    ("fedavg", {"finetune_epochs": 2}),
    ("fedbabu", {"finetune_epochs": 1, "head": "trained"}),
    ("fedct", {"communication_every": 2}),
    ("fedct", {"mode": "sequential", "communication_every": 2}),
    ("fedct", {"mode": "batches", "communication_every": 2}),
    ("feddf", {"server_epochs": 3}),
    ("fedgh", {"server_epochs": 7}),
    ("fedmd", {"pretrain_epochs": 2, "public_samples": 11, "digest_epochs": 3}),
    ("fedrep", {"head_epochs": 4, "body_epochs": 2}),
    ("fedrod", {"head": "generated"}),
    ("fedselect", {"select_by": "gradient", "every": 1}),
    ("fedtgp", {"server_epochs": 7}),
    ("ifca", {"starts": 2}),
    ("ktpfl", {"public_samples": 11, "distill_epochs": 3}),
    ("lgfedavg", {"warm_start": 1}),
    ("local-public", {"distill_epochs": 2}),
    ("pfedhn", {"inner_steps": 4}),
    ("pfedhn", {"server_step": "joint"}),
    ("pfedme", {"inner_steps": 2}),
    ("scaffold", {"option": "I"}),
]
"""Settings of methods that change what is trained."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_settings_take_the_steps_that_they_plan(name: str, settings: dict[str, Any]) -> None:
    dataset = made_up_data()
    for training in (replace(TRAINING, local_epochs=2), replace(FEWER, local_epochs=2)):
        run = make_run(name, dataset, deal(dataset), training, config=METHODS[name].config_type(**settings))
        taken, planned = recorded_and_planned(run, finish(run).rows)
        active = name == "cosmos" and training.participation < 1  # only clusters that have participants train
        for kind, steps in taken.items():
            assert abs(planned[kind] - steps) <= (0.15 * steps if active and kind == "server" else 0), kind
