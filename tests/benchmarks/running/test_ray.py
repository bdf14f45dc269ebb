"""The Ray executor's decisions: what a task takes, what becomes of cells that are lost, how shares of GPUs grow.

A link that runs orders in this process stands in for a cluster; clusters are in `test_ray_cluster.py`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from local_records import compare_with_local

from fl_bench.benchmarks.grid.executors import read_executor
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.running import job as jobs
from fl_bench.benchmarks.running import ray as executor
from fl_bench.benchmarks.running import ray_driver
from fl_bench.benchmarks.running.executor import ExecutorLost
from fl_bench.benchmarks.running.order import read_order
from fl_bench.benchmarks.running.protocol import Finished, Hello, Kept, Late, Recorded, message_line
from fl_bench.benchmarks.running.ray import Ray
from fl_bench.benchmarks.running.ray_cluster import Cancel, Node, Nodes, Over, Said, Submit, cause_of
from fl_bench.benchmarks.running.ray_driver import batch_size, room
from fl_bench.benchmarks.running.reporting import CONTEXT
from fl_bench.benchmarks.running.runner import Options
from fl_bench.benchmarks.running.shares import MARGIN, Shares, hold_to, ran_out
from fl_bench.benchmarks.running.worker import serve
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.running.executor import Event
    from fl_bench.benchmarks.running.protocol import Message
    from fl_bench.benchmarks.running.ray_cluster import Word


class Stop(BaseException):
    """A worker that is gone between two messages."""


@dataclass
class FakeLink:
    """A cluster that runs each task when it is submitted; a test says what it does instead."""

    scratch: Path
    nodes: tuple[Node, ...] = (Node(1.0, 0.0, "one"),)
    where: dict[int, str] = field(default_factory=dict)
    """The name of the node of each task; that of the first node by default."""
    instead: dict[int, Callable[[Submit], list[Word]]] = field(default_factory=dict)
    """What a task says, by its number."""
    change: Callable[[int, Message], Message] = lambda _, message: message
    """Puts another message in the place of one of a task's."""
    submitted: list[Submit] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    """Those of `cancelled` whose end nobody must wait for."""
    closed: bool = False
    _said: list[Word] = field(default_factory=list)

    def submit(self, command: Submit | Cancel) -> None:
        if isinstance(command, Cancel):
            self.cancelled.append(command.task)
            self.lost += [command.task] if command.lost else []
            return
        self.submitted.append(command)
        self._said += self.instead.get(command.task, self.work)(command)

    def work(self, command: Submit, until: Callable[[Message], bool] = lambda _: False) -> list[Word]:
        said: list[Word] = [Said(command.task, f"on {self.where.get(command.task, 'one')} far".encode())]

        def emit(message: Message) -> None:
            said.append(Said(command.task, message_line(self.change(command.task, message))))
            if until(message):
                raise Stop

        with suppress(Stop):
            for order in command.orders:
                on_cpu = read_order(order)
                on_cpu = replace(on_cpu, options=replace(on_cpu.options, device="cpu"))
                serve(on_cpu.text(), emit, self.scratch)
            said.append(Over(command.task))
        return said

    def words(self, seconds: float) -> list[Word]:
        said, self._said = self._said[:3], self._said[3:]
        return said or [Nodes("head:1", self.nodes)]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLink:
    made = FakeLink(tmp_path / "far")
    monkeypatch.setattr(executor, "Link", lambda *_: made)
    return made


@pytest.fixture
def cells(small_grid: Callable[..., Grid]) -> list[Cell]:
    return list(small_grid(Overrides(seeds="0,1", rounds=2)).cells)


def run(cells: list[Cell], store: Store, **settings: Any) -> list[Event]:
    timeout = settings.pop("timeout", None)
    return list(Ray(**{"kept_every": 0.0, **settings}).run(cells, store, Options(), timeout=timeout))


def statuses(events: list[Event]) -> list[str]:
    return [event.ending.status for event in events if event.ending is not None]


def test_cells_go_in_batches_and_come_back_as_the_records_of_this_machine(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    events = run(cells, store)
    assert [len(command.orders) for command in link.submitted] == [2, 1, 1]  # half of a fair share, at least one
    assert [(command.cpus, command.gpus) for command in link.submitted] == [(1, 0.0)] * 3
    assert statuses(events) == ["done"] * 4
    assert [event.round for event in events if event.kind == "round"] == [0, 1] * 4
    compare_with_local(store, cells, tmp_path / "local")
    assert (link.cancelled, link.closed) == ([], True)
    # Nothing that leaves this machine knows where records go.
    assert not any(str(tmp_path).encode() in order for command in link.submitted for order in command.orders)


def test_a_lost_node_costs_one_cell_an_attempt_and_the_rest_of_its_batch_nothing(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    gone = Over(1, "node", "a node is lost")
    link.instead[1] = lambda command: [
        *link.work(command, lambda m: isinstance(m, Kept) and m.part + 1 == m.parts),
        gone,
    ]
    events = run(cells, store)
    assert statuses(events) == ["done"] * 4
    first, again = (read_order(command.orders[0]) for command in link.submitted if cells[0].key in _keys(command))
    assert (first.checkpoints, list(again.checkpoints)) == ({}, [cells[0].key])
    compare_with_local(store, cells, tmp_path / "local")


def _keys(command: Submit) -> list[str]:
    from fl_bench.benchmarks.running.order import read_cell

    return [read_cell(read_order(order).cells[0]).key for order in command.orders]


def test_a_worker_that_dies_twice_fails_its_cell_alone(link: FakeLink, cells: list[Cell], store: Store) -> None:
    def dies(command: Submit) -> list[Word]:
        return [Said(command.task, b"on one far"), Said(command.task, b"exit -9")]

    link.instead = {1: dies, 2: dies}
    events = run(cells, store, jobs=1, batch=1)
    assert statuses(events) == ["failed", "done", "done", "done"]
    (failed,) = (event.ending for event in events if event.ending and event.ending.status == "failed")
    assert failed.reason == "the worker process was killed by SIGKILL (out of memory?)"
    assert link.cancelled == [1, 2]


def test_a_cell_that_is_late_ends_its_task_and_the_others_wait_again(
    link: FakeLink, cells: list[Cell], store: Store
) -> None:
    link.change = lambda task, message: (
        Late(message.key) if task == 1 and isinstance(message, Finished) and message.round == 1 else message
    )
    link.instead[1] = lambda command: link.work(command, lambda m: isinstance(m, Finished) and m.round == 1)
    events = run(cells, store, timeout=100.0)
    assert sorted(statuses(events)) == ["done", "done", "done", "timeout"]
    assert link.cancelled == [1]
    (late,) = (event.ending for event in events if event.ending and event.ending.status == "timeout")
    assert len(read_record(late.folder).rounds) == 1


def test_a_cell_that_hangs_is_ended_by_the_driver(link: FakeLink, cells: list[Cell], store: Store) -> None:
    link.instead[1] = lambda command: link.work(command, lambda m: isinstance(m, Finished))
    events = run(cells[:1], store, timeout=0.5)
    assert statuses(events) == ["timeout"]
    assert link.cancelled == [1]


def test_a_task_that_waits_for_a_node_is_never_late(
    link: FakeLink, cells: list[Cell], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "START_LIMIT", 0.0)
    link.instead[1] = lambda command: [*[Nodes("head:1", link.nodes)] * 9, *link.work(command)]
    assert statuses(run(cells[:1], store)) == ["done"]


def test_a_cluster_without_room_is_given_up_by_name(
    link: FakeLink, cells: list[Cell], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.nodes = ()
    link.instead[1] = lambda _: []
    monkeypatch.setattr(ray_driver, "START_LIMIT", 0.0)
    with pytest.raises(ConfigError, match="no node of the Ray cluster at head:1 has had room"):
        run(cells, store)
    assert link.closed


def other_torch(bad: Sequence[int]) -> Callable[[int, Message], Message]:
    """The tasks of some numbers run on a node with another torch."""

    def change(task: int, message: Message) -> Message:
        if task in bad and isinstance(message, Hello):
            return Hello(replace(message.setup, packages={**message.setup.packages, "torch": "2.0.0"}))
        return message

    return change


def test_a_node_that_differs_is_left_out_by_name_and_the_others_go_on(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    link.nodes = (Node(1.0, 0.0, "one"), Node(1.0, 0.0, "two"))
    link.where, link.change = {1: "two", 2: "two"}, other_torch([1, 2])
    events = run(cells, store)
    (said,) = (event.reason for event in events if event.kind == "said")
    assert "is left out: " in said
    assert "here and 2.0.0 on" in said
    assert "or leave it out" not in said
    assert statuses(events) == ["done"] * 4
    without = [command.without for command in link.submitted]
    assert without[0] == ()
    assert set(without[without.index(("two",)) :]) == {("two",)}
    assert 1 in link.cancelled
    compare_with_local(store, cells, tmp_path / "local")


def test_where_every_node_differs_the_run_ends_and_names_them(link: FakeLink, cells: list[Cell], store: Store) -> None:
    link.change = other_torch(range(9))
    with pytest.raises(ConfigError, match=r"here and 2\.0\.0 on .*; give every node the same versions"):
        run(cells, store)
    link.nodes = (Node(0.0, 0.0, "head"), Node(1.0, 0.0, "one"), Node(1.0, 0.0, "two"))
    link.where = {1: "one", 2: "two"}
    link.submitted.clear()
    with pytest.raises(ConfigError, match=r"no node of the Ray cluster can be used: .*2\.0\.0.* / .*2\.0\.0"):
        run(cells, store, jobs=2)
    assert store.folders() == []


def test_a_task_that_can_begin_nowhere_ends_the_run_and_says_what_to_install(
    link: FakeLink, cells: list[Cell], store: Store
) -> None:
    link.instead[1] = lambda _: [Over(1, "broken", "No module named 'fl_bench'")]
    with pytest.raises(ConfigError, match=r"No module named 'fl_bench'.*pip install 'fl-bench\[ray\]'"):
        run(cells, store)


def test_a_node_without_fl_bench_is_left_out_by_name_and_costs_no_cell_an_attempt(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    link.nodes = (Node(1.0, 0.0, "one"), Node(1.0, 0.0, "two"))

    def broken(command: Submit) -> list[Word]:
        return [Over(command.task, "broken", "No module named 'fl_bench'", (("two", "far-away"),))]

    link.instead = {1: broken, 2: broken}  # both were on their way there
    events = run(cells, store)
    (said,) = (event.reason for event in events if event.kind == "said")
    assert said.startswith("the node far-away is left out: No module named 'fl_bench'; every node needs")
    assert statuses(events) == ["done"] * 4
    assert [command.without for command in link.submitted][:2] == [(), ()]
    assert {command.without for command in link.submitted[2:]} == {("two",)}
    compare_with_local(store, cells, tmp_path / "local")


def test_a_task_that_cannot_work_elsewhere_ends_the_run_though_a_node_is_left_out(
    link: FakeLink, cells: list[Cell], store: Store
) -> None:
    link.nodes = (Node(1.0, 0.0, "one"), Node(1.0, 0.0, "two"))

    def broken(command: Submit) -> list[Word]:
        return [Over(command.task, "broken", "No module named 'fl_bench'", (("two", "far-away"),))]

    link.instead = dict.fromkeys(range(9), broken)
    with pytest.raises(ConfigError, match="No module named 'fl_bench'"):
        run(cells, store)
    assert len(link.submitted) <= 4
    link.nodes = (Node(1.0, 0.0, "two"),)
    with pytest.raises(ConfigError, match="every node needs the same fl-bench"):
        run(cells, store)


def test_a_node_that_hangs_is_lost_when_the_head_gives_it_up(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    one, two = link.nodes = (Node(1.0, 0.0, "one"), Node(1.0, 0.0, "two"))
    link.where[1] = "two"
    # The first task says no more, and the second was on its way to the same node; Ray would wait for both.
    link.instead[1] = lambda command: link.work(command)[:1]
    link.instead[2] = lambda _: [Nodes("head:1", (one, two)), Nodes("head:1", (one,))]
    assert statuses(run(cells, store, batch=1)) == ["done"] * 4
    assert sorted(link.cancelled) == sorted(link.lost) == [1, 2]
    # Ray asks the hung node for room once for all tasks that want the same, so later ones have to want another.
    assert [command.without for command in link.submitted] == [(), (), *[("two",)] * 4]
    compare_with_local(store, cells, tmp_path / "local")


def test_without_its_own_node_the_command_ends_and_no_cell_fails(
    link: FakeLink, cells: list[Cell], store: Store
) -> None:
    # Every further task would fail at once, and soon every cell of the grid.
    link.instead[2] = lambda _: [Over(2, "gone", "the Ray node that this command is connected to has died")]
    with pytest.raises(ExecutorLost, match="connected to has died"):
        run(cells, store, batch=1)
    assert {record.status for record in store.records()} <= {"done"}
    assert link.closed


def test_a_node_that_is_added_finds_a_task_waiting(link: FakeLink, cells: list[Cell], store: Store) -> None:
    rest: list[Word] = []

    def begins(command: Submit) -> list[Word]:
        first, *later = link.work(command)
        rest.extend(later)
        return [first]

    # The one CPU is taken by a task that says no more: another one waits for a new node, and with it the run goes on.
    link.instead = {1: begins, 2: lambda command: [*link.work(command), *rest]}
    assert statuses(run(cells, store, batch=1)) == ["done"] * 4


GIB = 2**30


def test_gpu_shares_come_from_measured_memory_and_double_once(
    link: FakeLink, cells: list[Cell], store: Store, tmp_path: Path
) -> None:
    link.nodes = (Node(8.0, 1.0),)
    local = [cell for cell in cells if cell.method == "local"]

    def measured(task: int, message: Message) -> Message:
        if isinstance(message, Finished):
            return replace(message, memory=(8 * GIB, 70 * GIB), capacity=80 * GIB)
        if task == 2 and isinstance(message, Recorded):  # the one with a share runs out of it
            run = json.loads(message.files["run.json"])
            run |= {"status": "failed", "reason": "OutOfMemoryError: CUDA out of memory"}
            return Recorded.of(message.key, {**message.files, "run.json": json.dumps(run, indent=1) + "\n"})
        return message

    link.change = measured
    events = run(local, store, jobs=1)
    assert [command.gpus for command in link.submitted] == [1.0, 0.12, 0.24]
    assert [read_order(command.orders[0]).gpu_share for command in link.submitted] == [1.0, 0.12, 0.24]
    assert {read_order(command.orders[0]).options.device for command in link.submitted} == {"cuda:0"}
    assert statuses(events) == ["done", "done"]
    compare_with_local(store, local, tmp_path / "local")


def test_a_cell_that_runs_out_of_a_doubled_share_has_failed(link: FakeLink, cells: list[Cell], store: Store) -> None:
    link.nodes = (Node(8.0, 1.0),)

    def measured(task: int, message: Message) -> Message:
        if isinstance(message, Finished):
            return replace(message, memory=(8 * GIB, 70 * GIB), capacity=80 * GIB)
        if task > 1 and isinstance(message, Recorded):
            run = json.loads(message.files["run.json"])
            run |= {"status": "failed", "reason": "OutOfMemoryError: CUDA out of memory"}
            return Recorded.of(message.key, {**message.files, "run.json": json.dumps(run, indent=1) + "\n"})
        return message

    link.change = measured
    assert statuses(run([cell for cell in cells if cell.method == "local"], store, jobs=1)) == ["done", "failed"]
    assert [command.gpus for command in link.submitted] == [1.0, 0.12, 0.24]


def test_shares_are_by_kind_of_cell_and_fit_the_smallest_gpu(cells: list[Cell]) -> None:
    local, fedmd, local_again, _ = cells
    shares = Shares()
    assert shares.of(local) == 1.0
    shares.measured(local, 10 * GIB, 80 * GIB)
    shares.measured(local, 4 * GIB, 80 * GIB)
    assert MARGIN == 1.2
    assert (shares.of(local), shares.of(local_again), shares.of(fedmd)) == (0.15, 0.15, 1.0)
    shares.measured(fedmd, 1, 40 * GIB)
    assert (shares.of(local), shares.of(fedmd)) == (0.3, 0.02)
    shares.measured(fedmd, 60 * GIB, 80 * GIB)
    assert shares.of(fedmd) == 1.0


def test_a_process_is_held_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Properties:
        total_memory: int = 10 * CONTEXT

    held: ClassVar[list[tuple[float, str]]] = []  # type: ignore[misc]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties())
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: held.append((share, device))
    )
    hold_to("cpu", 0.5)
    hold_to("cuda:0", 0.5)  # a tenth is CUDA's own
    assert held == [(pytest.approx(0.4), "cuda:0")]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"run.json": "["},
        {"run.json": "[]"},
        {"run.json": '{"status": "failed", "reason": "ValueError: OutOfMemoryError: "}'},
    ],
)
def test_what_is_no_lack_of_memory(files: dict[str, str]) -> None:
    assert not ran_out(files)


def test_room_is_counted_node_by_node() -> None:
    assert room([Node(3.0, 0.0), Node(1.0, 0.0), Node(0.0, 0.0)], 2, 0.0) == 1
    assert room([Node(8.0, 2.0), Node(8.0, 0.0), Node(1.0, 1.0)], 1, 0.25) == 8 + 1
    assert room([], 1, 0.0) == 0


def test_batches_shrink_towards_the_end_and_for_long_cells() -> None:
    assert [batch_size(waiting, 2, [], 8) for waiting in (100, 32, 12, 4, 1)] == [8, 8, 3, 1, 1]
    assert batch_size(100, 2, [50.0, 70.0], 8) == 2
    assert batch_size(100, 2, [3600.0], 8) == 1
    assert batch_size(100, 0, [0.0], 8) == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ray[address=ray://host:10001]", "Ray Client"),
        ("ray[address=head]", "HOST:PORT of a head, got 'head'"),
        ("ray[jobs=0]", "ray.jobs must be at least 1"),
        ("ray[cpus=0]", "ray.cpus must be at least 1"),
        ("ray[batch=0]", "ray.batch must be at least 1"),
        ("ray[device=cuda:1]", "Ray decides which GPU"),
        ("ray[kept_every=-1]", "not be below 0"),
        ("ray[adress=auto]", "did you mean 'address'"),
    ],
)
def test_settings_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_executor(text)


@pytest.mark.parametrize(
    ("settings", "nodes", "says"),
    [
        ({"device": "cuda"}, [Node(4.0, 0.0)], "none of the cluster's 1 nodes has a GPU"),
        ({"cpus": 5}, [Node(4.0, 0.0), Node(1.0, 0.0)], "no node of the cluster has as many"),
    ],
)
def test_a_cluster_that_lacks_what_is_asked(
    link: FakeLink, cells: list[Cell], store: Store, settings: dict[str, Any], nodes: list[Node], says: str
) -> None:
    link.nodes = tuple(nodes)
    with pytest.raises(ConfigError, match=says):
        run(cells, store, **settings)


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    pytest.importorskip("ray", reason="needs ray")
    with pytest.raises(ConfigError, match=r"Ray cluster at localhost:1 cannot be reached \(ConnectionRefusedError"):
        Ray(address="localhost:1").slots()


def test_errors_of_ray_are_lost_nodes_crashes_or_broken_nodes() -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="needs ray")
    for error, cause in [
        (exceptions.NodeDiedError("the node is dead"), "node"),
        (exceptions.LocalRayletDiedError(), "gone"),
        (exceptions.WorkerCrashedError(), "crash"),
        (exceptions.OutOfMemoryError("killed"), "crash"),
        (exceptions.ObjectLostError("a" * 56, None, ""), "node"),
        (exceptions.TaskCancelledError(), "node"),
        (exceptions.RuntimeEnvSetupError("no"), "broken"),
        (exceptions.RayTaskError("attend", "first\nImportError: no fl_bench", ImportError("no fl_bench")), "broken"),
        (RuntimeError("x" * 5000), "node"),
    ]:
        found, reason = cause_of(error)
        assert (type(error).__name__, found) == (type(error).__name__, cause)
        assert len(reason) < 500
