"""A Ray cluster of several nodes on this machine (benchmarks room), whose processes can be found and killed."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..grid.executors import EXECUTORS
from .command import children, marked
from .seen import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .place import Place

MARK = "FAULTS_CLUSTER"
"""The variable that all processes of the cluster have."""

WORKER = b"fl_bench.benchmarks.running.worker"
"""What the command line of a worker of the worker protocol holds."""


@dataclass
class Cluster:
    """A Ray cluster of this machine: a head that runs nothing, and nodes with a CPU each."""

    ray: Any
    nodes: list[Any] = field(default_factory=list)

    @property
    def executor(self) -> str:
        """`--executor` for it."""
        return f"ray[address={self.ray.address},kept_every=0]"

    def add_node(self, **environment: str) -> None:
        """Add a node with one CPU, and variables of its own."""
        self.nodes.append(self.ray.add_node(num_cpus=1, include_dashboard=False, env_vars=environment))

    def count(self) -> int:
        """How many nodes the head knows of and has not given up, the head and those that others added included."""
        return sum(bool(node["Alive"]) for node in self.ray.global_state.node_table())

    def lose_node(self) -> None:
        """Kill the oldest node."""
        self.ray.remove_node(self.nodes.pop(0), allow_graceful=False)

    def processes_of_a_node(self) -> list[int]:
        """The raylet of the oldest node and all that it started."""
        found = [self.nodes[0].all_processes["raylet"][0].process.pid]
        for process in found:  # grows
            found += children(process)
        return found

    def kill_head(self, *, only_node: bool = False) -> None:
        """Kill the head: the control store of the cluster and its node, or the node alone."""
        if not only_node:
            self.ray.head_node.kill_gcs_server()
        self.ray.head_node.kill_raylet()


@contextmanager
def cluster_of(place: Place, nodes: int = 2) -> Iterator[Cluster]:
    """A cluster whose processes are marked, so that they can be found and do not outlive it.

    Raises:
        NotHereError: Ray is not installed.
    """
    try:
        from ray import cluster_utils
    except ImportError:
        raise NotHereError("Ray is not installed: pip install 'fl-bench[ray]'") from None
    if "ray" not in EXECUTORS.names():
        raise NotHereError("this fl-bench has no executor `ray`")
    added = {MARK: str(place.folder), "FAULTS_ROUNDS": str(place.rounds), "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        head = {"num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(cluster_utils.Cluster(initialize_head=True, head_node_args=head))
        try:
            for _ in range(nodes):
                cluster.add_node()
            yield cluster
        finally:
            with suppress(Exception):  # parts of it are dead, as they should be
                cluster.ray.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        for process in marked(MARK, str(place.folder)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
