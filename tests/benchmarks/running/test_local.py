"""Worker processes: the same records for any number of them, and none lost, whoever is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.records.reading import read_record, without_clocks
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running import local
from fl_bench.benchmarks.running.local import choose_devices, further_devices, run_cells
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.records.record import Outcome

    MakeGrid = Callable[..., Grid]

PLUGIN = """\
import os, signal
from dataclasses import dataclass
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

@dataclass(frozen=True)
class Config:
    how: str = "kill"

@method("ends-badly-{name}")
class EndsBadly(Method[Config]):
    def client_update(self, clients, received, rnd):
        if rnd.index == 1 and self.config.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if rnd.index == 1 and self.config.how == "sleep":
            signal.pause()  # without end
        clients.fit(cross_entropy)
"""

GRID = """\
name: stopped
datasets: [digits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 5000, local_epochs: 2}
methods: [fedmd, cosmos]
always: [local]
seeds: [0]
"""

PATIENCE = 300.0
"""Seconds that a test waits for what must happen: an idle machine takes one or two, a busy one may take many more."""


def records(store: Store) -> dict[str, object]:
    return {folder.name: without_clocks(folder) for folder in store.folders()}


class Clock:
    """Takes the place of `time` in the executor: limits are reached when a test says so, however slow the machine."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    return clock


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_devices_of_jobs() -> None:
    assert choose_devices("cpu", 3) == ["cpu"] * 3
    assert len(choose_devices("cpu", None)) == len(os.sched_getaffinity(0))
    for device, jobs in (("gpu", None), ("cuda:x", None), ("cpu:0", 1), ("mps:0", 1), ("cpu", 0)):
        with pytest.raises(ConfigError):
            choose_devices(device, jobs)


def test_the_gpu_of_a_mac_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_devices("mps", None) == ["mps"]
    assert choose_devices("mps", 2) == ["mps", "mps"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU of a Mac here; --device cpu"):
        choose_devices("mps", None)


@pytest.mark.parametrize(("jobs", "dealt"), [(None, (1, 1)), (1, (1, 0)), (3, (2, 1)), (8, (4, 4))])
def test_gpus_take_jobs_in_turn(monkeypatch: pytest.MonkeyPatch, jobs: int | None, dealt: tuple[int, int]) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = choose_devices("cuda", jobs)
    assert (devices.count("cuda:0"), devices.count("cuda:1"), len(devices)) == (*dealt, sum(dealt))


GIB = 2**30


@pytest.mark.parametrize(
    ("workers", "most", "added"),
    [
        # 90 % of 20 GiB are 18: room for four of 4 GiB.
        ([("cuda:0", (4 * GIB, 20 * GIB))], 9, ["cuda:0"] * 4),
        ([("cuda:0", (4 * GIB, 20 * GIB))], 3, ["cuda:0"] * 3),  # no more cells, or cores
        ([("cuda:0", (4 * GIB, 20 * GIB))], 0, []),
        ([("cuda:0", (4 * GIB, 20 * GIB))], -1, []),
        # The largest counts, and the least that was free; one that has not shown what it takes stands for caution.
        ([("cuda:0", (4 * GIB, 30 * GIB)), ("cuda:0", (6 * GIB, 20 * GIB))], 9, ["cuda:0"] * 3),
        ([("cuda:0", (4 * GIB, 20 * GIB)), ("cuda:0", None)], 9, []),
        ([("cuda:0", None), ("cuda:1", (4 * GIB, 5 * GIB))], 9, ["cuda:1"]),
        ([("cpu", None)], 9, []),
    ],
)
def test_gpus_are_filled_by_what_jobs_were_seen_to_take(
    workers: list[tuple[str, tuple[int, int] | None]], most: int, added: list[str]
) -> None:
    assert further_devices(workers, most) == added


@pytest.mark.slow
def test_records_do_not_depend_on_the_number_of_jobs(tmp_path: Path, small_grid: MakeGrid) -> None:
    grid = small_grid(Overrides(methods="local,fedmd,cosmos[clusters=2]", seeds="0,1"))
    stores = [Store(tmp_path / str(jobs)) for jobs in (1, 2)]
    for jobs, store in enumerate(stores, 1):
        events = list(run_cells(grid.cells, store, Options(), devices=["cpu"] * jobs))
        assert [event.reason for event in events if event.kind == "ended"] == [""] * len(grid.cells)
    # What others have run meanwhile is not said to have been run here.
    again = run_cells(grid.cells[:1], stores[0], Options(), devices=["cpu"])
    assert [event.reason for event in again] == ["by another process"]
    assert len(records(stores[0])) == len(grid.cells)
    assert records(stores[0]) == records(stores[1])


@pytest.mark.slow
def test_killed_and_late_workers_are_recorded_with_their_finished_rounds(
    tmp_path: Path, small_grid: MakeGrid, clock: Clock
) -> None:
    plugin = tmp_path / "ends_badly.py"
    plugin.write_text(PLUGIN.format(name="here"))
    load_plugins([str(plugin)])
    store = Store(tmp_path / "results")
    hows = ("kill", "sleep", "never")
    grid = small_grid(Overrides(methods=",".join(f"ends-badly-here[how={how}]" for how in hows)))
    killed, late, whole = grid.cells
    options = Options(plugins=(str(plugin),))
    endings = {}
    for event in run_cells(grid.cells, store, options, devices=["cpu"], timeout=3600):
        if event.kind == "round" and event.cell == late:
            clock.ahead += 3600
        if event.ending:
            endings[event.cell.label] = event.ending
    assert [(endings[cell.label].status, endings[cell.label].reason) for cell in grid.cells] == [
        ("failed", "the worker process was killed by SIGKILL (out of memory?)"),
        ("timeout", "ran longer than the time limit of 3600 s"),
        ("done", None),
    ]
    assert list(store.runs.rglob("*.claim")) == []
    expected = without_clocks(endings[whole.label].folder)
    assert [len(expected["rounds"]), len(expected["clients"])] == [2, 2 * 5]
    for cell in (killed, late):
        record = without_clocks(endings[cell.label].folder)
        assert record["rounds"] == expected["rounds"][:1]
        assert record["clients"] == expected["clients"][:5]
        assert record["facts"] == expected["facts"]
        assert record["provenance"] == expected["provenance"]
        assert store.has_checkpoint(cell)

    # A second attempt goes on from there: the first round's clocks are those of the first attempt.
    (before,) = read_record(endings[late.label].folder).rounds
    retry = replace(options, retry=True)
    for event in run_cells([late], store, retry, devices=["cpu"], timeout=3600):
        if event.kind == "round":
            clock.ahead += 3600
    assert event.ending is not None
    assert event.ending.status == "timeout"
    (after,) = read_record(event.ending.folder).rounds
    assert after["seconds_training"] == before["seconds_training"]


@pytest.mark.slow
def test_a_worker_that_never_begins_is_recorded_and_replaced(
    tmp_path: Path, small_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "stuck.py"
    plugin.write_text("import multiprocessing, signal\nif multiprocessing.parent_process(): signal.pause()\n")
    monkeypatch.setattr(local, "START_LIMIT", 0.5)
    cells = small_grid(Overrides(methods="local", seeds="0,1")).cells
    store = Store(tmp_path / "results")
    # The time limit of a cell does not count while its worker is starting.
    events = run_cells(cells, store, Options(plugins=(str(plugin),)), devices=["cpu"], timeout=0.1)
    ended = [event.ending for event in events if event.ending]
    reason = "the worker process had not loaded its libraries and the data after 0.5 s"
    assert [(ending.status, ending.reason) for ending in ended] == [("failed", reason)] * 2


@pytest.mark.slow
def test_a_dead_worker_is_recorded_when_its_pipe_ends_first(
    tmp_path: Path, small_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "ends_badly.py"
    plugin.write_text(PLUGIN.format(name="early"))
    load_plugins([str(plugin)])
    wait, calls = local.wait, 0

    def late(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        assert calls < 1000, "nobody takes notice of the worker's death"
        time.sleep(0.3)  # everything that the worker's death closes is closed
        return wait(*arguments, **keywords)

    monkeypatch.setattr(local, "wait", late)
    (cell,) = small_grid(Overrides(methods="ends-badly-early")).cells
    store = Store(tmp_path / "results")
    *_, last = run_cells([cell], store, Options(plugins=(str(plugin),)), devices=["cpu"])
    assert last.ending is not None
    assert (last.ending.status, last.ending.reason) == (
        "failed",
        "the worker process was killed by SIGKILL (out of memory?)",
    )


@pytest.mark.slow
def test_a_worker_that_is_late_with_the_news_has_done_its_cell(
    tmp_path: Path, small_grid: MakeGrid, outcome: Callable[..., Outcome], clock: Clock
) -> None:
    plugin = tmp_path / "ends_badly.py"
    plugin.write_text(PLUGIN.format(name="silent"))
    load_plugins([str(plugin)])
    (cell,) = small_grid(Overrides(methods="ends-badly-silent[how=sleep]")).cells
    store = Store(tmp_path / "results")
    events = run_cells([cell], store, Options(plugins=(str(plugin),)), devices=["cpu"], timeout=3600)
    assert next(events).kind == "started"
    store.write(cell, outcome({"client": [50.0]}))  # the worker's last act before the time limit
    clock.ahead += 3600
    (ended,) = [event for event in events if event.kind == "ended"]
    assert ended.ending == run_cell(cell, store, Options())
    assert ended.ending.status == "done"


@pytest.mark.slow
def test_a_worker_that_dies_between_two_cells_is_replaced(tmp_path: Path, small_grid: MakeGrid) -> None:
    cells = small_grid(Overrides(methods="local", seeds="0-2")).cells
    endings = []
    for event in run_cells(cells, Store(tmp_path), Options(), devices=["cpu"]):
        if event.ending:
            endings.append((event.cell.seed, event.ending.status))
        if len(endings) == 1:
            (worker,) = multiprocessing.active_children()
            worker.kill()
            worker.join()
    assert endings == [(0, "done"), (1, "failed"), (2, "done")]


@pytest.mark.slow
def test_a_worker_whose_parent_is_gone_records_no_failure(tmp_path: Path, small_grid: MakeGrid) -> None:
    (cell,) = small_grid(Overrides(methods="local")).cells
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=local._work, args=(theirs, str(tmp_path), Options()), daemon=True)
    worker.start()
    theirs.close()
    ours.send(cell.to_worker())
    assert ours.recv()[0] == "started"
    ours.close()  # as the parent's death does
    worker.join(timeout=PATIENCE)
    assert worker.exitcode == 1
    assert Store(tmp_path).find(cell) is None


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_continue(tmp_path: Path, sign: signal.Signals) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    command = [sys.executable, "-m", "fl_bench.benchmarks", "run", str(grid), "--jobs", "1"]
    # Tests that a shell runs in the background ignore SIGINT, and a program that is started inherits that.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, heard)
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.rglob(".*.part/*.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = children(process.pid)
    process.send_signal(sign)
    try:
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; run the same command again to continue"
    assert "Traceback" not in said
    assert workers
    wait_until_gone(workers)
