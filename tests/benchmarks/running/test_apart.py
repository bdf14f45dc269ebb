"""Workers that share no folder: the records of the local executor, whoever is killed, whatever plugins print."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from local_records import compare_with_local

from fl_bench.benchmarks.grid.executors import read_executor
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.running.child import Child
from fl_bench.benchmarks.running.handshake import setup
from fl_bench.benchmarks.running.order import Order, Plugin
from fl_bench.benchmarks.running.protocol import Finished, Hello, Recorded, Refused, Started, read_message
from fl_bench.benchmarks.running.runner import Options
from fl_bench.benchmarks.running.unfinished import was_asked_to_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.running.executor import Event

PATIENCE = 300.0
"""Seconds that a test waits for what must happen."""

PLUGIN = """\
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

print("loaded, on standard output")

@dataclass(frozen=True)
class Config:
    how: str = "print"
    once: str = ""

@method("noisy-{name}")
class Noisy(Method[Config]):
    def client_update(self, clients, received, rnd):
        print("trained, on standard output", flush=True)
        os.write(1, b"and below Python\\n")
        if rnd.index == 2 and self.config.how == "kill" and not Path(self.config.once).exists():
            Path(self.config.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if rnd.index == 1 and self.config.how == "sleep":
            signal.pause()  # without end
        clients.fit(cross_entropy)
"""


@pytest.fixture
def plugin(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A file on no worker's path; its method is called like the test."""
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "noisy.py").write_text(PLUGIN.replace("{name}", name_of(request)))
    load_plugins([str(folder / "noisy.py")])
    return str(folder / "noisy.py")


def name_of(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("_", "-").partition("[")[0]


def run(store: Store, cells: list[Cell], options: Options | None = None, **rest: Any) -> list[Event]:
    executor = read_executor("subprocess[jobs=1,device=cpu,kept_every=0]")
    return list(executor.run(cells, store, options or Options(), **rest))


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_its_checkpoint_and_nothing_shows(
    small_grid: Callable[..., Grid], store: Store, tmp_path: Path, plugin: str, request: pytest.FixtureRequest
) -> None:
    method = f"noisy-{name_of(request)}[how=kill;once={tmp_path / 'killed'};label=noisy]"
    cells = small_grid(Overrides(methods=f"{method},fedmd", rounds=4)).cells
    events = run(store, cells, Options(plugins=(plugin,)))
    assert (tmp_path / "killed").exists()
    started = [event.cell.label for event in events if event.kind == "started"]
    assert sorted(started) == sorted([*(cell.label for cell in cells), "noisy"])
    assert [event.ending.status for event in events if event.ending] == ["done"] * len(cells)
    # The rounds of the checkpoint came again at once, with the clocks that they had.
    compare_with_local(store, list(cells), tmp_path / "local")
    assert not list(store.results.rglob("*.part"))
    assert not list(store.results.rglob("*.claim"))


@pytest.mark.slow
def test_nothing_but_messages_reaches_the_driver(
    small_grid: Callable[..., Grid], tmp_path: Path, plugin: str, request: pytest.FixtureRequest
) -> None:
    (cell,) = (c for c in small_grid(Overrides(methods=f"noisy-{name_of(request)}")).cells if c.method != "local")
    here = setup({"noisy.py": Plugin.read(plugin).sha256}, ["digits"], None)
    order = Order.of([cell], Options(plugins=(plugin,)), here, kept_every=1e9)
    (tmp_path / "order.json").write_bytes(order.text())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fl_bench.benchmarks.running.worker",
            "--scratch",
            tmp_path / "far",
            tmp_path / "order.json",
        ],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    said = [type(read_message(line)) for line in done.stdout.splitlines(keepends=True)]
    assert said == [Hello, Started, Finished, Finished, Recorded]
    for text in (b"loaded, on", b"trained, on", b"and below Python"):
        assert text in done.stderr


@pytest.mark.slow
def test_a_time_limit_ends_a_cell_that_hangs(
    small_grid: Callable[..., Grid], store: Store, plugin: str, request: pytest.FixtureRequest
) -> None:
    (cell,) = (
        c for c in small_grid(Overrides(methods=f"noisy-{name_of(request)}[how=sleep]")).cells if c.method != "local"
    )
    events = run(store, [cell], Options(plugins=(plugin,)), timeout=6.0)
    record = read_record(store.folders()[0])
    assert (record.status, record.reason) == ("timeout", "ran longer than the time limit of 6 s")
    assert len(record.rounds) == 1
    assert store.has_checkpoint(cell)
    assert events[-1].kind == "ended"


@pytest.mark.slow
def test_a_worker_refuses_a_mixture_and_dies_with_its_driver(
    cell_of: Callable[..., Cell],
) -> None:
    here = setup({}, ["digits"], None)
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    child = Child(lambda _, line: said.put(line))
    try:
        child.send(
            Order.of([cell_of("local")], Options(), replace(here, packages={**here.packages, "torch": "2.0"})).text()
        )
        line = said.get(timeout=PATIENCE)
        assert line is not None
        message = read_message(line)
        assert isinstance(message, Refused)
        assert "torch is 2.0 here" in message.reasons[0]
        assert child._process.stdin is not None
        child._process.stdin.close()  # as the system does when the driver ends
        assert said.get(timeout=PATIENCE) is None
    finally:
        child.end()


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_lets_go_of_its_cell(
    small_grid: Callable[..., Grid], store: Store, plugin: str, request: pytest.FixtureRequest
) -> None:
    (cell,) = (
        c for c in small_grid(Overrides(methods=f"noisy-{name_of(request)}[how=sleep]")).cells if c.method != "local"
    )
    here = setup({"noisy.py": Plugin.read(plugin).sha256}, ["digits"], None)
    order = Order.of([cell], Options(plugins=(plugin,)), here, results=str(store.results))
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    child = Child(lambda _, line: said.put(line))
    try:
        child.send(order.text())
        while not isinstance(read_message(said.get(timeout=PATIENCE) or b""), Finished):
            pass
        until = time.monotonic() + PATIENCE
        while not store.has_checkpoint(cell) and time.monotonic() < until:  # written beside the round that hangs
            time.sleep(0.01)
        (claim,) = store.runs.rglob("*.claim")
        if hasattr(signal, "SIGUSR2"):
            os.kill(child.pid, signal.SIGUSR2)  # a batch system's, for its task
        assert claim.exists()
        child.ask()
        child.ask()
        assert said.get(timeout=PATIENCE) is None
        assert was_asked_to_end(child.exitcode)
        assert not claim.exists()
        assert store.has_checkpoint(cell)
        assert store.folders() == []
    finally:
        child.end()


def test_who_was_asked_to_end_did_not_crash() -> None:
    assert was_asked_to_end(-signal.SIGTERM)
    assert not was_asked_to_end(-signal.SIGKILL)
    assert not was_asked_to_end(1)
    assert not was_asked_to_end(None)


def test_a_child_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    child = Child(lambda _, line: said.put(line), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert child.exitcode is None
    if sys.platform == "linux":  # relative paths mean what they mean here
        assert os.readlink(f"/proc/{child.pid}/cwd") == os.getcwd()
    os.kill(child.pid, signal.SIGKILL)
    assert said.get(timeout=PATIENCE) is None
    child.send(b"{}\n")
    child.end()
    assert child.exitcode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
