"""How often the verdicts and intervals of `cosmos.theory` are right where the truth is planted (benchmarks room).

    python -P -m fl_bench.benchmarks.studies.planted.calibration [SIMULATIONS]

writes results/calibration.csv, a table of docs/cosmos-studies.md. The worlds are those of `cosmos.theory.worlds`.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from ....cosmos.theory import worlds
from ....cosmos.theory.verdicts import judge
from .files import CALIBRATION, keep

if TYPE_CHECKING:
    from collections.abc import Callable

DESIGNS = {
    "": worlds.Design(),
    ", five times the noise": worlds.Design(noise=0.1, shocks=0.03, clients=10, rounds=20, clusters=2),
}
"""The study that is simulated, by what is added to a world's name."""


def measure(name: str, plant: Callable[..., worlds.Planted], design: worlds.Design, simulations: int) -> dict[str, str]:
    """Verdicts in one world, and how many intervals hold the true rho and floor."""
    verdicts: Counter[str] = Counter()
    covered = []
    for seed in range(simulations):
        planted = plant(numpy_stream(seed, "calibration", name), design)
        found = judge(
            planted.clients,
            server=planted.server,
            clusters=planted.clusters,
            stream=numpy_stream(seed, "calibration", name, "bootstrap"),
            start=0,
            draws=200,
        )
        verdicts[found.verdict] += 1
        if planted.rho is not None and planted.floor is not None:
            intervals = found.step.rho.interval, found.step.floor.interval
            bootstrap = found.fit.rho_interval, found.fit.floor_interval
            truths = planted.rho, planted.floor
            covered.append(
                [
                    interval is None or interval[0] <= truth <= interval[1]
                    for interval, truth in zip((*intervals, *bootstrap), (*truths, *truths), strict=True)
                ]
            )
    shares = [f"{share:.3f}" for share in np.mean(covered, axis=0)] if covered else [""] * 4
    names = ("one_step_rho", "one_step_floor", "fit_rho", "fit_floor")
    counts = {kind: str(verdicts[kind]) for kind in ("supported", "not supported", "not identified")}
    return {"world": name, "simulations": str(simulations), **counts, **dict(zip(names, shares, strict=True))}


def calibrate(simulations: int) -> list[dict[str, str]]:
    """All worlds under all designs."""
    every = {**worlds.WITHOUT, "taught by the server": worlds.taught}
    return [
        measure(name + added, plant, design, simulations)
        for added, design in DESIGNS.items()
        for name, plant in every.items()
    ]


if __name__ == "__main__":
    keep(CALIBRATION, calibrate(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
    print(f"written: {CALIBRATION}")
