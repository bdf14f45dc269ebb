"""The parts of the measurement on a card (benchmarks room): each under eight minutes, with a result file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .floors import measure_ceilings
from .launches import count_launches
from .layers import measure_layers
from .memory import fill_memory, halve, measure_memory
from .profiling import profile_round
from .rounds import ENGINES, measure_rounds
from .sharing import measure_cells, measure_processes
from .suite import run_methods, run_tests
from .workloads import LARGE, SMALL, SUBJECTS, tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..measure import Row
    from ..workloads import Workload

CELL_ROUNDS = {"W2": 200, "W6-squeezenet-float32": 3}
"""Rounds of a cell where several cells share a card: some seconds, beside which the start of a process is short."""


@dataclass(frozen=True)
class Part:
    """One measurement."""

    name: str
    minutes: float
    """Predicted for an H200, at most eight; nothing of it was measured on one."""
    run: Callable[[str, bool], list[Row]]
    """Takes the device and whether everything is tiny; rows of plain values."""


def parts() -> dict[str, Part]:
    """All parts by name, in the order in which they are most useful."""
    found = [
        Part("ceilings", 0.5, lambda device, small: [measure_ceilings(device, tiny=small)]),
        Part("tests", 2, lambda device, small: [run_tests()]),
        *(part for name in SMALL for part in _rounds(name)),
        *(_profile(name) for name in SMALL),
        Part("layers", 1, lambda device, small: measure_layers(device, tiny=small)),
        *(part for name in LARGE for part in _rounds(name)),
    ]
    for name in ("W1", "W6-resnet18-float32", "W6-mobilenetv2-float32", "W6-squeezenet-float32"):
        found.append(Part(f"memory-{name}", 1.5, _of(SUBJECTS[name], measure_memory)))
        found.append(Part(f"fill-{name}", 1.5, _of(SUBJECTS[name], fill_memory)))
        found.append(Part(f"halves-{name}", 0.5, _of(SUBJECTS[name], halve)))
    found.append(Part("memory-W6-resnet18-bf16", 1.5, _of(SUBJECTS["W6-resnet18-bf16"], measure_memory)))
    found += [_profile(name) for name in LARGE]
    for name in ("W2", "W6-resnet18-float32", "W6-resnet18-tf32", "W6-squeezenet-float32"):
        for engine in ENGINES:
            found.append(Part(f"processes-{name}-{engine}", 3, _processes(SUBJECTS[name], engine)))
    found += [Part(f"cells-{name}", 3, _cells(SUBJECTS[name], rounds)) for name, rounds in CELL_ROUNDS.items()]
    found.append(Part("methods", 2, lambda device, small: run_methods(device, small=small)))
    found.append(Part("launches", 3, _launches))  # needs no card
    return {part.name: part for part in found}


def _rounds(name: str) -> list[Part]:
    """A part for each engine; stacked convolutions of large nets are expected to be slow in float32."""
    stacked = 3 if name.endswith("float32") else 1
    minutes = {"stacked": stacked, "loop": 1.5} if name in LARGE else dict.fromkeys(ENGINES, 0.5)
    return [
        Part(f"round-{name}-{engine}", minutes[engine], _of(SUBJECTS[name], partial(measure_rounds, engine=engine)))
        for engine in ENGINES
    ]


def _profile(name: str) -> Part:
    return Part(f"profile-{name}", 1.5 if name in LARGE else 0.5, _of(SUBJECTS[name], profile_round))


def _launches(device: str, small: bool) -> list[Row]:
    """Operators say nothing of number formats, and nothing of how many clients there are."""
    counted = [*SMALL, *([] if small else (name for name in LARGE if name.endswith("float32")))]
    return [{"workload": SUBJECTS[name].name, **count_launches(SUBJECTS[name])} for name in counted]


def _processes(workload: Workload, engine: str) -> Callable[[str, bool], list[Row]]:
    return lambda device, small: measure_processes(workload, device, engine, small=small)


def _cells(workload: Workload, rounds: int) -> Callable[[str, bool], list[Row]]:
    return lambda device, small: measure_cells(tiny(workload) if small else workload, device, 2 if small else rounds)


def _of(workload: Workload, measure: Callable[[Workload, str], Row | list[Row]]) -> Callable[[str, bool], list[Row]]:
    def run(device: str, small: bool) -> list[Row]:
        found = measure(tiny(workload) if small else workload, device)
        return found if isinstance(found, list) else [found]

    return run
