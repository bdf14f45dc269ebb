"""Options of the performance suite, and where its measurements go (benchmarks room)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.performance.workloads import SIZES, Size

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.performance.measure import Row

LOAD = pytest.StashKey[float]()
"""Processes that wanted a core, averaged over the minute before the run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much is measured, and on what."""
    group = parser.getgroup("fl-bench performance")
    group.addoption("--size", choices=sorted(SIZES), default="full", help="how much is measured")
    group.addoption(
        "--bench-device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one"
    )


def device_of(config: pytest.Config) -> str:
    """The device that this run measures."""
    asked: str = config.getoption("--bench-device")
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what belongs to the device: one run measures a CPU or a GPU, and stores one file."""
    wanted = f"test_{'gpu' if device_of(config) == 'cuda' else 'cpu'}.py"
    dropped = [item for item in items if item.path.name != wanted]
    items[:] = [item for item in items if item.path.name == wanted]
    config.hook.pytest_deselected(items=dropped)


def pytest_configure(config: pytest.Config) -> None:
    """Remember how busy the machine is before this run makes it busy."""
    config.stash[LOAD] = os.getloadavg()[0]


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """What a result file says of the machine and the code, as records do, and how busy it was."""
    from fl_bench.benchmarks.running.provenance import provenance

    return {**provenance(device_of(config)), "size": config.getoption("--size"), "load": config.stash[LOAD]}


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_json(benchmarks: list[Any]) -> None:
    """Let a run that was interrupted keep what it has measured: the benchmark in flight has no times to write."""
    benchmarks[:] = [benchmark for benchmark in benchmarks if benchmark.stats.data]


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    """How much is measured."""
    return SIZES[pytestconfig.getoption("--size")]


@pytest.fixture
def keep(benchmark: Any) -> Callable[[str, Row], None]:
    """Add a row to a table of the result file; pytest-benchmark's file carries it."""
    rows: list[Row] = benchmark.extra_info.setdefault("rows", [])

    def add(table: str, row: Row) -> None:
        rows.append({"table": table, **row})

    return add
