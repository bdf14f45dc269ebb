"""The process that talks to a Ray cluster (benchmarks room): tasks in, what they say out, over a pipe of this machine.

Ray ends a process without a word a minute after the head of its cluster is gone, and prints what it likes. So it has a
process of its own, which `ray_link.Link` starts, hears and outlives.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fl_bench.errors import ConfigError

from .executor import package_of
from .parent import end_with_parent
from .ray_tasks import attend

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

BEAT = 2.0
"""Seconds between two words on the cluster, which are a sign of life as well."""

AHEAD = 64
"""Lines that a task may be ahead of us."""

GRACE = 5.0
"""Seconds that a cancelled task has to remove what it wrote."""

FETCH = 15.0
"""Seconds that a line may take to come from the node that has it; one that hangs would hold all others up."""

ANSWER = 60.0
"""Seconds that nodes have to answer whether they have fl-bench."""

CRASHES = ("WorkerCrashedError", "OutOfMemoryError")
"""Ray's errors for a task whose process died; `OutOfMemoryError` is the node's memory, not a GPU's."""

GONE = ("LocalRayletDiedError",)
"""Ray's error where its node on this machine has died, so that no task can be submitted from here any more."""

BROKEN = ("RayTaskError", "RuntimeEnvSetupError")
"""Ray's errors for a task that cannot work there, on whatever node."""

LONGEST = 300
"""Characters of Ray's words in a reason."""


@dataclass(frozen=True)
class Node:
    """What a node of the cluster has, whether it is in use or not."""

    cpus: float
    gpus: float
    name: str = ""
    """Ray's name for it, which no other node has or had."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of the cluster that are there."""

    head: str
    """Its address, HOST:PORT."""
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Submit:
    """Run orders on a node that has room."""

    task: int
    orders: tuple[bytes, ...]
    cpus: float
    gpus: float
    without: tuple[str, ...] = ()
    """Names of nodes that must not have it."""


@dataclass(frozen=True)
class Cancel:
    """End a task; nothing more is said of it."""

    task: int
    lost: bool = False
    """Whether its node is gone, so that whoever waits for its end waits for ever."""


@dataclass(frozen=True)
class Said:
    """A line of a task."""

    task: int
    line: bytes


@dataclass(frozen=True)
class Over:
    """A task has ended."""

    task: int
    cause: Literal["node", "crash", "broken", "gone"] | None = None
    """Why it ended too early."""
    reason: str = ""
    unfit: tuple[tuple[str, str], ...] = ()
    """Where `broken`: the nodes on which no task of ours can begin, each with Ray's name for it and the machine's."""


@dataclass(frozen=True)
class Unable:
    """There is no cluster to talk to."""

    reason: str


Word: TypeAlias = "Nodes | Said | Over | Unable"


def cause_of(error: BaseException) -> tuple[Literal["node", "crash", "broken", "gone"], str]:
    """What an error of Ray means for a cell, and in words; what nobody knows counts as a lost node."""
    names = [kind.__name__ for kind in type(error).__mro__]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = names[0].partition("(")[0]
    if any(known in names for known in BROKEN):
        return "broken", f"a task cannot work on a node of the cluster: {_short(lines[-1:])}"
    if any(known in names for known in GONE):
        return "gone", f"the Ray node that this command is connected to has died ({name})"
    if any(known in names for known in CRASHES):
        return "crash", f"the process of the task died ({name}): {_short(lines[:1])}"
    return "node", f"a node, or the way to it, is lost ({name}): {_short(lines[:1])}"


def _short(lines: list[str]) -> str:
    text = " ".join(lines)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def talk(pipe: Connection, log: str, address: str, cpus: int) -> None:
    """The life of the process: until the pipe or the parent ends.

    Args:
        pipe: commands in, words out.
        log: the file for whatever Ray prints.
        address: of the cluster; `local` starts one that ends with this process.
        cpus: how many CPUs one has that is started here.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which stops us
    printed = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    end_with_parent()
    try:
        ray: Any = package_of("ray")
        local: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
        if address not in ("auto", "local"):
            _reach(address)
        os.chdir(os.path.dirname(log))  # Ray has nodes import from the folder that a driver works in
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except ConfigError as error:
        pipe.send(Unable(str(error)))
        return
    except Exception as error:
        pipe.send(Unable(f"{type(error).__name__}: {_short(str(error).splitlines()[:1])}"))
        return
    try:
        _Tasks(ray, pipe.send).serve(pipe)
    except (EOFError, OSError):  # the parent has closed the pipe
        pass
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Notice at once that nobody listens there; Ray would try for a minute."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
        pass


@dataclass
class _Tasks:
    """The tasks of this process, by the numbers that the driver gives them."""

    ray: Any
    say: Callable[[Word], None]
    streams: dict[Any, int] = field(default_factory=dict)
    leaving: dict[Any, float] = field(default_factory=dict)
    """Those that were cancelled, with when they have to be gone."""
    broken: list[Over] = field(default_factory=list)
    """What is to be said once the nodes have answered."""
    asked: dict[Any, tuple[str, str]] = field(default_factory=dict)
    """Tasks without orders, with the nodes that they are to begin on."""
    until: float = 0.0
    """When these nodes have to have answered."""
    unfit: dict[str, str] = field(default_factory=dict)
    """The machines of those that have no fl-bench, by Ray's names for the nodes."""

    def serve(self, pipe: Connection) -> None:
        """Take commands and pass on lines until the pipe ends."""
        remote = self.ray.remote(attend)
        beat = 0.0
        try:
            while True:
                if time.monotonic() - beat > BEAT:
                    self.say(self._nodes())
                    beat = time.monotonic()
                while pipe.poll(0.0 if self.streams else 0.2):
                    command = pipe.recv()
                    if isinstance(command, Submit):
                        self._submit(remote, command)
                    else:
                        self._cancel(command.task, lost=command.lost)
                self._insist()
                self._pass_on()
                self._hear_nodes(remote)
        finally:
            for number in list(self.streams.values()):
                self._cancel(number)
            until = time.monotonic() + GRACE
            while self.leaving and time.monotonic() < until:
                self._insist()
                time.sleep(0.1)

    def _nodes(self) -> Nodes:
        there = [(node["Resources"], node["NodeID"]) for node in self.ray.nodes() if node["Alive"]]
        found = tuple(Node(float(has.get("CPU", 0)), float(has.get("GPU", 0)), name) for has, name in there)
        return Nodes(self.ray.get_runtime_context().gcs_address, found)

    def _submit(self, remote: Any, command: Submit) -> None:
        options = {
            "num_returns": "streaming",
            "max_retries": 0,  # retries are ours
            "num_cpus": command.cpus,
            "num_gpus": command.gpus,
            "scheduling_strategy": "SPREAD",
            "_generator_backpressure_num_objects": AHEAD,
        }
        if command.without:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(command.without)})"}
        stream = remote.options(**options).remote(list(command.orders))
        self.streams[stream] = command.task

    def _cancel(self, number: int, *, lost: bool = False) -> None:
        """Ask a task to end; `_insist` makes sure that it does."""
        for stream in [stream for stream, task in self.streams.items() if task == number]:
            del self.streams[stream]
            self.ray.cancel(stream, force=False)
            if not lost:
                self.leaving[stream] = time.monotonic() + GRACE

    def _insist(self) -> None:
        """Forget the cancelled tasks that are gone, and kill those that had time enough to go."""
        for stream, until in list(self.leaving.items()):
            if self._drained(stream):
                del self.leaving[stream]
            elif time.monotonic() > until:
                self.ray.cancel(stream, force=True)
                del self.leaving[stream]

    def _drained(self, stream: Any) -> bool:
        """Read what a cancelled task still says; whether it has ended."""
        while self.ray.wait([stream], timeout=0)[0]:
            try:
                self.ray.get(next(stream), timeout=GRACE)
            except StopIteration:
                return True
            except self.ray.exceptions.RayError:
                return True
        return False

    def _pass_on(self) -> None:
        """Wait a moment for lines, and pass on one of each task that has some."""
        if not self.streams:
            return
        self.ray.wait(list(self.streams), num_returns=1, timeout=0.2)
        ready, _ = self.ray.wait(list(self.streams), num_returns=len(self.streams), timeout=0)
        for stream in ready:
            number = self.streams[stream]
            try:
                self.say(Said(number, self.ray.get(next(stream), timeout=FETCH)))
            except StopIteration:
                del self.streams[stream]
                self.say(Over(number))
            except self.ray.exceptions.RayError as error:
                del self.streams[stream]
                over = Over(number, *cause_of(error))
                if over.cause == "broken":  # Ray says on which machine, and not on which node
                    self.broken.append(over)
                else:
                    self.say(over)

    def _hear_nodes(self, remote: Any) -> None:
        """Where tasks are broken, ask each node whether one can begin there at all; then say of them what was found."""
        if self.broken and not self.asked:
            affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            self.until = time.monotonic() + ANSWER
            for node in self.ray.nodes():
                name = node["NodeID"]
                if node["Alive"] and name not in self.unfit:
                    options = {"num_returns": "streaming", "max_retries": 0, "num_cpus": 0}
                    there = remote.options(**options, scheduling_strategy=affinity(name, soft=False)).remote([])
                    self.asked[there] = (name, node["NodeManagerHostname"])
        for there, (name, machine) in list(self.asked.items()):
            try:
                if not self.ray.wait([there], timeout=0)[0] and time.monotonic() < self.until:
                    continue
                self.ray.get(next(there), timeout=FETCH)
            except StopIteration:
                pass
            except self.ray.exceptions.RayError as error:
                if cause_of(error)[0] == "broken":
                    self.unfit[name] = machine
            del self.asked[there]
        if not self.asked:
            for over in self.broken:
                self.say(replace(over, unfit=tuple(self.unfit.items())))
            self.broken.clear()
