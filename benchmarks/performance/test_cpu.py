"""What is measured on a CPU; `make bench` runs it and writes docs/performance.md. Nothing is gated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import pytest

from fl_bench.benchmarks.performance.comparison import compare
from fl_bench.benchmarks.performance.contenders.registry import FRAMEWORKS, contender
from fl_bench.benchmarks.performance.grids import WarmGrid
from fl_bench.benchmarks.performance.measure import flops, in_fresh_process, matrix_rate, ratio, start_up, timed_rounds
from fl_bench.benchmarks.performance.overhead import overhead
from fl_bench.benchmarks.performance.step import step_parts
from fl_bench.benchmarks.performance.threads import torch_threads
from fl_bench.benchmarks.performance.workloads import SIZES, W1, W2, W4, WORKLOADS, Workload, series
from fl_bench.benchmarks.running.provenance import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fl_bench.benchmarks.performance.measure import Row
    from fl_bench.benchmarks.performance.workloads import Dealt, Size


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    """All cores as torch threads, which is torch's default; fl-bench's workers set their own number."""
    with torch_threads(available_cores()):
        yield


def test_matrix_rate(benchmark: Any, keep: Callable[[str, Row], None]) -> None:
    """The machine's attainable arithmetic, with one thread and with all."""
    for threads in sorted({1, available_cores()}):
        keep("rate", {"threads": threads, "flops": matrix_rate("cpu", threads)})
    benchmark.pedantic(lambda: matrix_rate("cpu", available_cores()), rounds=1)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_rounds(benchmark: Any, keep: Callable[[str, Row], None], size: Size, workload: Workload) -> None:
    """Single rounds in turns, in one process with all cores as torch threads."""
    benchmark.group = f"a round of {workload.name}"
    compare(benchmark, keep, workload, ["plain", *FRAMEWORKS, "careful", "fl-bench"], size.rounds[workload.name])


@pytest.mark.parametrize("seeds", [4, 1], ids=["grid", "cell"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_grid(
    benchmark: Any, keep: Callable[[str, Row], None], size: Size, workload: Workload, seeds: int, tmp_path: Path
) -> None:
    """As users run it: a grid of four seeds (or one) through the executor; plain and careful run them one by one."""
    benchmark.group = f"{seeds} x {workload.name}"
    rounds = size.cell_rounds[workload.name]
    dealt = [workload.deal(seed) for seed in range(seeds)]
    walls: dict[str, list[float]] = {"plain": [], "careful": []}
    ours: list[float] = []
    times = []

    def others() -> tuple[tuple[WarmGrid], dict[str, Any]]:
        for name, seconds in walls.items():
            seconds.append(sum(_rounds_of(name, workload, each, seed, rounds) for seed, each in enumerate(dealt)))
        return (WarmGrid(workload, tmp_path / str(len(ours)), seeds=seeds, rounds=rounds),), {}

    def grid(running: WarmGrid) -> None:
        times.append(running.finish())
        ours.append(times[-1].wall)
        running.close()

    benchmark.pedantic(grid, setup=others, rounds=size.pairs)
    keep(
        "grids",
        {
            "workload": workload.name,
            "seeds": seeds,
            "rounds": rounds,
            **walls,
            "fl-bench": ours,
            "flops": seeds * flops(workload, rounds, first=0),
            "busy": [each.busy for each in times],
            "workers": times[0].workers,
            **ratio(walls["plain"], ours),
            "against careful": ratio(walls["careful"], ours),
        },
    )


def _rounds_of(name: str, workload: Workload, dealt: Dealt, seed: int, rounds: int) -> float:
    """Seconds of a contender's rounds once it is set up, as those of a grid whose workers are warm."""
    script = contender(name)(workload, dealt, "cpu", seed)
    try:
        return sum(timed_rounds(script, rounds, warmup=0))
    finally:
        script.close()


def test_executor(benchmark: Any, keep: Callable[[str, Row], None], size: Size, tmp_path: Path) -> None:
    """W4: twelve cells of about a second; how busy the cores are, and what a cell costs beside its work."""
    benchmark.group = "12 cells"

    def finish(running: WarmGrid) -> None:
        keep("executor", dataclasses.asdict(running.finish()))
        running.close()

    def warm() -> tuple[tuple[WarmGrid], dict[str, Any]]:
        return (WarmGrid(W4, tmp_path, seeds=12, rounds=size.cell_rounds["W4"]),), {}

    benchmark.pedantic(finish, setup=warm, rounds=1)


@pytest.mark.parametrize("views", ["deployed", "all"])
@pytest.mark.parametrize("workload", [W1, W2], ids=lambda workload: workload.name)
def test_overhead(
    benchmark: Any,
    keep: Callable[[str, Row], None],
    size: Size,
    workload: Workload,
    views: Literal["deployed", "all"],
    tmp_path: Path,
) -> None:
    """What the harness costs in a round, and all views of a method."""
    rounds = 2 * size.cell_rounds[workload.name]
    benchmark.group = "harness"
    scored = dataclasses.replace(workload, views=views)
    row = benchmark.pedantic(lambda: overhead(scored, tmp_path, rounds), rounds=1)
    name = f"{workload.name}, all views" if views == "all" else workload.name
    keep("overhead", {"workload": name, "rounds": rounds, **row})


@pytest.mark.parametrize("workload", [W1, W2], ids=lambda workload: workload.name)
def test_step(benchmark: Any, keep: Callable[[str, Row], None], workload: Workload) -> None:
    """Where a step of local training goes."""
    benchmark.group = "step"
    keep("steps", {"workload": workload.name, **benchmark.pedantic(lambda: step_parts(workload), rounds=1)})


@pytest.mark.parametrize("arguments", [("--help",), ("list", "methods")], ids=" ".join)
def test_start_up(benchmark: Any, keep: Callable[[str, Row], None], size: Size, arguments: tuple[str, ...]) -> None:
    """What a command takes that trains nothing."""
    benchmark.group = "commands"
    seconds = benchmark.pedantic(lambda: start_up(arguments, size.starts), rounds=1)
    keep("commands", {"command": "fl-bench " + " ".join(arguments), "seconds": seconds})


@pytest.mark.parametrize("number", range(len(series(SIZES["full"]))))
def test_scaling(benchmark: Any, keep: Callable[[str, Row], None], size: Size, number: int) -> None:
    """W5: each point in a process of its own, with one thread."""
    line = series(size)[number]
    benchmark.group = "W5"
    for point in line.points[:-1]:
        keep("scaling", _point(line.name, line.grows, point, size))
    last = benchmark.pedantic(lambda: _point(line.name, line.grows, line.points[-1], size), rounds=1)
    keep("scaling", last)


def _point(name: str, grows: str, workload: Workload, size: Size) -> Row:
    return {
        "series": name,
        "grows": grows,
        "at": getattr(workload, grows),
        "clients": workload.clients,
        "images": workload.images_per_round,
        "rows": workload.rows,
        "public": workload.public,
        "classes": workload.classes,
        **in_fresh_process(workload, rounds=size.scaling_rounds, warmup=1),
    }
