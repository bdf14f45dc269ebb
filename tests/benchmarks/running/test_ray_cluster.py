"""A Ray cluster of several nodes on this machine: the records of the local executor, whatever dies meanwhile."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from local_records import compare_with_local

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.executors import read_executor
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.running import ray_link
from fl_bench.benchmarks.running.ray_link import Link
from fl_bench.benchmarks.running.runner import Options
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.running.executor import Event

pytestmark = pytest.mark.slow

PLUGIN = '''\
"""A method that trains, and waits in round 2, or dies there once, as its settings say."""

import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

@dataclass(frozen=True)
class Config:
    how: str = "train"
    folder: str = ""

@method("{name}")
class Fragile(Method[Config]):
    def client_update(self, clients, received, rnd):
        folder = Path(self.config.folder)
        if self.config.how != "train":
            with (folder / "rounds").open("a") as rounds:
                rounds.write(f"{rnd.index}\\n")
            if rnd.index == 2 and not (folder / "gate").exists():
                if self.config.how == "die":
                    (folder / "gate").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                while not (folder / "gate").exists():
                    time.sleep(0.05)
        clients.fit(cross_entropy)
'''


@pytest.fixture
def plugin(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A file on no worker's path; its method is called like the test."""
    (tmp_path / "fragile.py").write_text(PLUGIN.replace("{name}", name_of(request)))
    load_plugins([str(tmp_path / "fragile.py")])
    return str(tmp_path / "fragile.py")


def name_of(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("test_", "").replace("_", "-")


@pytest.fixture(scope="module")
def clusters() -> Iterator[Callable[[], Any]]:
    """Starts clusters; a head that runs nothing, and one node with one CPU."""
    pytest.importorskip("ray", reason="needs ray: pip install 'fl-bench[ray]'")
    from ray.cluster_utils import Cluster

    started = []

    def start() -> Any:
        started.append(Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}))
        started[-1].add_node(num_cpus=1, include_dashboard=False)
        return started[-1]

    usage, os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ.get("RAY_USAGE_STATS_ENABLED"), "0"
    try:
        yield start
    finally:
        for cluster in started:
            cluster.shutdown()
        if usage is None:
            del os.environ["RAY_USAGE_STATS_ENABLED"]
        else:
            os.environ["RAY_USAGE_STATS_ENABLED"] = usage


@pytest.fixture(scope="module")
def cluster(clusters: Callable[[], Any]) -> Any:
    return clusters()


def running(cluster: Any, cells: Sequence[Cell], store: Store, plugin: str) -> Iterator[Event]:
    ray = read_executor(f"ray[address={cluster.address},kept_every=0]")
    return ray.run(cells, store, Options(plugins=(plugin,)))  # type: ignore[no-any-return]


def rounds_in(folder: Path) -> list[str]:
    return (folder / "rounds").read_text().split()


def test_killed_worker(
    cluster: Any, small_grid: Callable[..., Grid], store: Store, tmp_path: Path, plugin: str, request: Any
) -> None:
    (tmp_path / "sees").mkdir()
    dies = f"{name_of(request)}[how=die;folder={tmp_path / 'sees'};label=dies]"
    cells = small_grid(Overrides(methods=f"fedmd,{dies}", rounds=4)).cells
    events = list(running(cluster, cells, store, plugin))
    assert sorted(event.cell.label for event in events if event.kind == "started") == ["dies", "dies", "fedmd"]
    assert [event.ending.status for event in events if event.ending] == ["done"] * 2
    assert rounds_in(tmp_path / "sees") == ["0", "1", "2", "2", "3"]
    compare_with_local(store, cells, tmp_path / "local")
    assert not list(store.results.rglob("*.part"))
    assert not list(store.results.rglob("*.lock"))


def test_killed_node(
    cluster: Any, small_grid: Callable[..., Grid], store: Store, tmp_path: Path, plugin: str, request: Any
) -> None:
    (tmp_path / "sees").mkdir()
    waits = f"{name_of(request)}[how=wait;folder={tmp_path / 'sees'};label=waits]"
    cells = [cell for cell in small_grid(Overrides(methods=waits, rounds=4)).cells if cell.label == "waits"]
    events = []
    for event in running(cluster, cells, store, plugin):
        events.append(event)
        if event.kind == "round" and event.round == 1 and len(events) == 3:
            until = time.monotonic() + 60
            while len(rounds_in(tmp_path / "sees")) < 3 and time.monotonic() < until:
                time.sleep(0.05)  # round 1 and its checkpoint have been sent by then
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(num_cpus=1, include_dashboard=False)  # where the cell goes on
        if event.kind == "started" and len(events) > 1:  # a worker outlives its node for a moment, and must not go on
            (tmp_path / "sees" / "gate").touch()
    assert [event.kind for event in events].count("started") == 2
    assert events[-1].ending is not None
    assert events[-1].ending.status == "done"
    assert rounds_in(tmp_path / "sees")[:3] == ["0", "1", "2"]
    assert rounds_in(tmp_path / "sees")[-2:] == ["2", "3"]
    assert rounds_in(tmp_path / "sees").count("0") == 1
    compare_with_local(store, cells, tmp_path / "local")


def test_node_without_fl_bench(
    cluster: Any, small_grid: Callable[..., Grid], store: Store, tmp_path: Path, plugin: str
) -> None:
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['fl_bench'] = None\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    cells = small_grid(Overrides(seeds="0,1")).cells
    other = cluster.add_node(num_cpus=2, include_dashboard=False, env_vars={"PYTHONPATH": path})
    try:
        events = list(running(cluster, cells, store, plugin))
    finally:
        cluster.remove_node(other)
    (said,) = (event.reason for event in events if event.kind == "said")
    assert "is left out: " in said
    assert "fl_bench" in said
    assert [event.ending.status for event in events if event.ending] == ["done"] * 4
    compare_with_local(store, cells, tmp_path / "local")


def test_killed_head(
    cluster: Any,
    clusters: Callable[[], Any],
    tmp_path: Path,
    plugin: str,
    request: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "sees"
    folder.mkdir()
    (tmp_path / "small.yaml").write_text(
        "name: small\ndatasets: [digits]\nmethods: [local]\nseeds: [0]\n"
        "partition: {clients: 5, groups: 5, min_test: 5}\nmodels: [mlp-8]\ntraining: {rounds: 4}\n"
    )
    command = [
        *("run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--plugin", plugin),
        *("--executor", "ray[address=auto,kept_every=0]"),
        *("--methods", f"{name_of(request)}[how=wait;folder={folder};label=waits]"),
    ]
    monkeypatch.setattr(ray_link, "SILENCE_LIMIT", 15.0)
    words = Link.words

    def kill_in_round_2(link: Link, seconds: float) -> Any:
        if (folder / "rounds").exists() and len(rounds_in(folder)) == 3 and not killed:
            killed.append(time.monotonic())
            cluster.head_node.kill_gcs_server()
            cluster.head_node.kill_raylet()
        return words(link, min(seconds, 1.0))

    killed: list[float] = []
    monkeypatch.setattr(Link, "words", kill_in_round_2)
    address = cluster.address
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert run_command(command) == 1
    assert time.monotonic() - killed[0] < 240
    said = capfd.readouterr().err
    assert f"error: the head of the Ray cluster at {address} is gone" in said
    assert "run the same command again to continue" in said
    assert "Traceback" not in said
    monkeypatch.setattr(ray_link, "CONNECT_LIMIT", 3.0)
    with pytest.raises(ConfigError, match="no Ray cluster can be reached from here"):
        Link("auto", 1)
    monkeypatch.undo()
    monkeypatch.setenv("RAY_ADDRESS", clusters().address)
    (folder / "gate").touch()
    assert run_command(command) == 0
    assert rounds_in(folder).count("0") == 1
