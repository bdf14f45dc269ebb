"""Does distillation alone contract? COSMOS in a world whose Bayes risk is known (benchmarks room; run from a clone).

    make planted                                                      # all arms, the CSV files, the section of the page
    python -P -m fl_bench.benchmarks.studies.planted --page           # the section again, from the committed CSV files

Clients train once, on their own data; from then on nothing but COSMOS's distillation is iterated (`distill_only`).
Every arm changes one thing of `base`. What each change should do was written down in `planted-predictions.csv` before
any arm was run. Pilots of `base` alone then set rates and first models so that there is something to contract, in
more than two rounds; nothing else was looked at. Steps are held equal where the size of U changes.
"""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fl_bench.streams import numpy_stream

from ...cosmos.theory.steps import Slope, difference
from ...cosmos.theory.verdicts import Judgement, judge
from ...datasets.catalogue import load_dataset
from ...datasets.planted import PlantedGroups, World
from ...datasets.split import SplitSettings, split
from ...federation.run import Run
from ...federation.settings import ModelMix, Training
from ...methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

HERE = Path(__file__).parent
PREDICTIONS, ARM_RESULTS, PREDICTION_RESULTS, CURVES = (
    HERE / f"planted-{name}.csv" for name in ("predictions", "arms", "verdicts", "curves")
)
PAGE = HERE.parents[1] / "docs" / "cosmos.md"
BEGIN, END = "<!-- planted: begin -->", "<!-- planted: end -->"

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
SMALLEST = {"slope": 0.05, "intercept": 0.01, "gap": 0.05}
"""Differences that matter: of slopes, and of intercepts in nats. Two numbers are the same within them."""


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


# What was predicted -------------------------------------------------------------------------------------------------

Outcome = Literal["supported", "not supported", "not identified"]


def held(expected: str, quantity: str, found: Slope) -> Outcome:
    """Whether a difference goes as predicted.

    `up` and `down` are supported by an interval on that side of 0, and `same` by one within `SMALLEST` of it; an
    interval that is on another side, or that is within `SMALLEST` of 0 where a change was predicted, is against them;
    any other does not tell.
    """
    if found.interval is None:
        return "not identified"
    low, high = found.interval
    small = max(abs(low), abs(high)) < SMALLEST[quantity]
    if expected == "same":
        return "supported" if small else "not supported" if low > 0 or high < 0 else "not identified"
    right, wrong = (low > 0, high < 0) if expected == "up" else (high < 0, low > 0)
    return "supported" if right else "not supported" if wrong or small else "not identified"


def check_predictions(curves: Mapping[str, Curves], judgements: Mapping[str, Judgement]) -> Iterator[dict[str, str]]:
    """Every prediction with what was found."""
    for row in read(PREDICTIONS):
        arm, against, quantity, expected = (row[key] for key in ("arm", "against", "quantity", "expected"))
        found, interval = judgements[arm].verdict, ""
        if quantity == "verdict":
            outcome: Outcome = "supported" if found == expected else "not supported"
            if found == "not identified":
                outcome = "not identified"
        else:
            slope = _measured(quantity, arm, against, curves, judgements)
            outcome, interval = held(expected, quantity, slope), show_interval(slope.interval)
            yield {**row, "found": number(slope.estimate), "interval": interval, "outcome": outcome}
            continue
        yield {**row, "found": found, "interval": interval, "outcome": outcome}


def _measured(
    quantity: str, arm: str, against: str, curves: Mapping[str, Curves], judgements: Mapping[str, Judgement]
) -> Slope:
    if quantity == "gap":
        links = judgements[arm].chain
        assert links is not None  # predicted of arms with server models only
        return links.gap
    of: Literal["rho", "intercept"] = "rho" if quantity == "slope" else "intercept"
    for name in (arm, against):
        if judgements[name].step.rho.interval is None:
            return Slope(math.nan, None)
    return difference(curves[arm].clients, curves[against].clients, of=of, start=0)


# Files and page -----------------------------------------------------------------------------------------------------


def arm_row(name: str, curves: Curves, judgement: Judgement) -> dict[str, str]:
    """An arm's numbers as they are committed."""
    step, links = judgement.step, judgement.chain
    first, last = (curves.clients[:, :, t].mean() for t in (0, -1))
    identified = step.rho.interval is not None
    return {
        "arm": name,
        "first": number(first),
        "last": number(last),
        "slope": number(step.rho.estimate) if identified else "",
        "slope_interval": show_interval(step.rho.interval),
        "intercept": number(step.intercept.estimate) if identified else "",
        "intercept_interval": show_interval(step.intercept.interval),
        "floor": number(step.floor.estimate) if step.floor.interval else "",
        "floor_interval": show_interval(step.floor.interval),
        "fit_rho": number(judgement.fit.rho),
        "best_form": judgement.fit.best,
        "a": "" if links is None else number(links.a.estimate),
        "b": "" if links is None else number(links.b.estimate),
        "through_server": "" if links is None else number(links.through_server.estimate),
        "through_server_interval": "" if links is None else show_interval(links.through_server.interval),
        "verdict": judgement.verdict,
        "reason": judgement.reason,
    }


def number(value: float) -> str:
    """Four digits after the point."""
    return "" if math.isnan(value) else f"{value:.4f}"


def show_interval(interval: tuple[float, float] | None) -> str:
    """Both ends, or nothing where it is unbounded."""
    return "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one of the study's files."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def keep(path: Path, rows: list[dict[str, str]]) -> None:
    """Write one of the study's files."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def study() -> None:
    """Run all arms, and keep curves, arms and what became of the predictions."""
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
    keep(ARM_RESULTS, [arm_row(name, curves[name], judgements[name]) for name in ARMS])
    keep(PREDICTION_RESULTS, list(check_predictions(curves, judgements)))
    keep(CURVES, list(_mean_curves(curves)))


def _mean_curves(curves: Mapping[str, Curves]) -> Iterator[dict[str, str]]:
    for name, found in curves.items():
        for seed, means in enumerate(found.clients.mean(axis=1)):
            server = None if found.server is None else found.server[seed].mean(axis=0)
            for t, mean in enumerate(means):
                taught = "" if server is None else number(float(server[t]))
                yield {"arm": name, "seed": str(seed), "round": str(t), "client": number(float(mean)), "server": taught}


def section() -> str:
    """The tables of docs/cosmos.md, from the committed files."""
    lines = [
        "| arm | excess at first | at last | slope (95 %) | intercept | floor (95 %) | verdict |",
        "|---" * 7 + "|",
    ]
    for row in read(ARM_RESULTS):
        slope, floor = _with(row["slope"], row["slope_interval"]), _with(row["floor"], row["floor_interval"])
        cells = [row["arm"], _short(row["first"]), _short(row["last"]), slope, _short(row["intercept"]), floor]
        lines.append(f"| {' | '.join([*cells, row['verdict']])} |")
    results = read(PREDICTION_RESULTS)
    lines += ["", "| prediction | expected | found (95 %) | the prediction is |", "|---|---|---|---|"]
    for row in results:
        what = f"{row['quantity']} of {row['arm']}" + (f" against {row['against']}" if row["against"] else "")
        found = row["found"] if row["quantity"] == "verdict" else _with(row["found"], row["interval"])
        lines.append(f"| {what} | {row['expected']} | {found} | {row['outcome']} |")
    counts = {outcome: sum(row["outcome"] == outcome for row in results) for outcome in Outcome.__args__}  # type: ignore[attr-defined]
    total = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return "\n".join([*lines, "", f"Of {len(results)} predictions: {total}."])


def _short(value: str) -> str:
    return f"{float(value):.3f}" if value else "-"


def _with(value: str, interval: str) -> str:
    if not value:
        return "-"
    low, _, high = interval.partition(" to ")
    return f"{_short(value)} ({_short(low)} to {_short(high)})" if interval else f"{_short(value)} (unbounded)"


def write_page() -> Path:
    """Put the section between its marks in docs/cosmos.md."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{section()}\n\n{END}{after}", encoding="utf-8")
    return PAGE


if __name__ == "__main__":
    if "--page" not in sys.argv[1:]:
        study()
    print(f"written: {write_page()}")
