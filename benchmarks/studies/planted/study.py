"""Does distillation alone contract? COSMOS in a world whose Bayes risk is known: the arms, and how one is run.

Clients train once, on their own data; from then on nothing but COSMOS's distillation is iterated (`distill_only`).
Every arm changes one thing of `base`. What each change should do was written down in `predictions.csv` before any arm
was run. Pilots of `base` alone then set rates and first models, so that there is something to contract, in more than
two rounds; nothing else was looked at. Steps are held equal where the size of U changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fl_bench.streams import numpy_stream

from ....cosmos.theory.verdicts import judge
from ....datasets.catalogue import load_dataset
from ....datasets.planted import PlantedGroups, World
from ....datasets.split import SplitSettings, split
from ....federation.run import Run
from ....federation.settings import ModelMix, Training
from ....methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ....cosmos.theory.verdicts import Judgement

    Array = NDArray[np.float64]

SEEDS, ROUNDS, BATCH = 5, 25, 30
WORLD = World(
    clients=12, groups=3, train=100, test=1000, features=10, separation=2.5, heterogeneity=0.3, cosine=-0.4
)  # fmt: skip
POOL = 960
"""Public samples that could be had: 80 of each client's 100; 20 stay private."""
COSMOS: dict[str, Any] = {
    "clustering": "oracle",
    "distill_only": True,
    "distill_epochs": 2,
    "distill_lr": 0.03,
    "server_epochs": 4,
    "server_lr": 0.6,
    "consistency": 0.0,
    "clip": None,
}


@dataclass(frozen=True)
class Arm:
    """What differs from `base`."""

    world: Mapping[str, Any] = field(default_factory=dict)
    cosmos: Mapping[str, Any] = field(default_factory=dict)
    public: int = 240
    """Size of U."""
    local_epochs: int = 20
    """Passes over the 20 private samples, before anything is distilled."""
    blank: bool = False
    """Whether every public input is 0."""
    method: str = "cosmos"


ARMS: dict[str, Arm] = {
    "base": Arm(),
    "heterogeneity=0": Arm(world={"heterogeneity": 0.0}),
    "heterogeneity=0.6": Arm(world={"heterogeneity": 0.6}),
    "heterogeneity=1.2": Arm(world={"heterogeneity": 1.2}),
    "public=60": Arm(public=60, cosmos={"distill_epochs": 8, "server_epochs": 16}),
    "public=480": Arm(public=480, cosmos={"distill_epochs": 1, "server_epochs": 2}),
    "consistency=1": Arm(cosmos={"consistency": 1.0}),
    "consistency=5": Arm(cosmos={"consistency": 5.0}),
    "random": Arm(cosmos={"clustering": "random"}),
    "single": Arm(cosmos={"clustering": "single"}),
    "distill=1": Arm(cosmos={"distill_epochs": 1}),
    "distill=8": Arm(cosmos={"distill_epochs": 8}),
    "server=1": Arm(cosmos={"server_epochs": 1}),
    "server=16": Arm(cosmos={"server_epochs": 16}),
    "first=5": Arm(local_epochs=5),
    "first=80": Arm(local_epochs=80),
    "self": Arm(cosmos={"clustering": "singleton", "feedback": "no_model"}),
    "blank": Arm(blank=True),
    "frozen": Arm(cosmos={"server_epochs": 0}),
    "local": Arm(method="local"),
}


@dataclass(frozen=True)
class Curves:
    """Excess of cross-entropy over the Bayes risk, nats."""

    clients: Array
    """Shape (seeds, clients, rounds)."""
    server: Array | None
    """Of each client's cluster model, same shape; None without server models."""
    clusters: NDArray[np.int64]
    """Shape (seeds, clients)."""


def run_arm(arm: Arm, seeds: int = SEEDS, rounds: int = ROUNDS) -> Curves:
    """Run one arm with every seed, each in a world of its own."""
    parts = [_run(arm, seed, rounds) for seed in range(seeds)]
    servers = [part.server for part in parts if part.server is not None]
    return Curves(
        np.concatenate([part.clients for part in parts]),
        np.concatenate(servers) if servers else None,
        np.concatenate([part.clusters for part in parts]),
    )


def _run(arm: Arm, seed: int, rounds: int) -> Curves:
    world = replace(WORLD, **arm.world, seed=seed)
    changed = {name: value for name, value in vars(world).items() if value != getattr(World(), name)}
    dataset = load_dataset("planted:" + "&".join(f"{name}={value}" for name, value in {"seed": 0, **changed}.items()))
    settings = SplitSettings(
        clients=world.clients, public=0.8, public_keep=arm.public / POOL, val_fraction=0.0, min_test=1
    )
    dealt = split(dataset, PlantedGroups(groups=world.groups), settings, seed)
    if arm.blank:
        inputs = dataset.inputs.clone()
        inputs[torch.from_numpy(dealt.public)] = 0.0
        dataset = replace(dataset, inputs=inputs)
    kind = METHODS[arm.method]
    settings_of_method = COSMOS | dict(arm.cosmos) if arm.method == "cosmos" else {}
    run = Run(
        kind(kind.config_type(**settings_of_method)),
        dataset,
        dealt,
        ModelMix(names=("linear",)),
        Training(rounds=rounds, local_epochs=arm.local_epochs, batch_size=BATCH, optimizer="sgd", lr=1.0),
        seed=seed,
    )
    rows = [row.clients for row in run.rounds()]
    best = world.bayes.cross_entropy

    def column(name: str) -> Array:
        return np.array([[float(client[name]) - best for client in row] for row in rows]).T[None]  # type: ignore[arg-type]

    taught = "server_assigned.loss" in rows[0][0]
    clusters = np.array([[int(client.get("cluster") or 0) for client in rows[-1]]], dtype=np.int64)
    return Curves(column("client.loss"), column("server_assigned.loss") if taught else None, clusters)


def judged(name: str, curves: Curves, controls: Mapping[str, Curves]) -> Judgement:
    """The verdict on an arm; distillation works from the first round on, so the first models count."""
    return judge(
        curves.clients,
        server=curves.server,
        clusters=curves.clusters,
        controls={control: found.clients for control, found in controls.items()},
        stream=numpy_stream(0, "planted study", name),
        start=0,
    )


def controls_of(name: str) -> dict[str, Arm]:
    """The same first models in the same world, taught what they know, or by a server that never learns."""
    arm = ARMS[name]
    return {
        control: replace(ARMS[control], world=arm.world, local_epochs=arm.local_epochs)
        for control in ("self", "frozen")
        if control != name
    }


def run_all() -> tuple[dict[str, Curves], dict[str, Judgement]]:
    """Curves and verdict of every arm; arms and controls that are the same are run once."""
    curves, judgements = {}, {}
    known: list[tuple[Arm, Curves]] = []

    def run_once(arm: Arm) -> Curves:
        found = next((found for other, found in known if other == arm), None)
        if found is None:
            found = run_arm(arm)
            known.append((arm, found))
        return found

    for name, arm in ARMS.items():
        curves[name] = run_once(arm)
        controls = {control: run_once(other) for control, other in controls_of(name).items()}
        judgements[name] = judged(name, curves[name], controls)
        print(f"{name}: {judgements[name].verdict}: {judgements[name].reason}", flush=True)
    return curves, judgements
