"""The executor `ray` (benchmarks room): tasks of a Ray cluster, each with a worker of the worker protocol.

Tasks keep no state. Each takes a few small cells, so that libraries are loaded once for them, or one cell on its share
of a GPU; what workers say streams back, and the driver alone writes records and checkpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ..grid.executors import executor
from .executor import package_of
from .local import choose_devices
from .provenance import available_cores
from .ray_driver import GPU, Driver, gpus_of, room
from .ray_link import Link
from .remote import Remote

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .executor import Event
    from .ray_cluster import Node
    from .runner import Options

DEVICES = ("auto", "cpu", "cuda")


@executor("ray")
@dataclass(frozen=True)
class Ray:
    """Runs cells as tasks of a Ray cluster (`pip install 'fl-bench[ray]'`)."""

    address: str = "auto"
    """`auto`: the cluster that runs on this machine or that `RAY_ADDRESS` names; HOST:PORT of a head; `local`: start
    one on this machine for this command."""
    jobs: int | None = None
    """The most tasks at a time (`--jobs`); null: as many as there is room for. More than that wait for nodes."""
    device: str = "auto"
    """Where runs compute (`--device`): `cpu`, `cuda`, or `auto`, which is `cuda` where a node has a GPU."""
    cpus: int = 1
    """CPUs of a task, and threads of a run."""
    batch: int = 8
    """The most cells that a task on a CPU takes one after the other, so that libraries are loaded once for them."""
    kept_every: float = 60.0
    """Seconds between checkpoints that a run sends."""

    def __post_init__(self) -> None:
        if self.address not in ("auto", "local") and not re.fullmatch(r"\S+:[0-9]{1,5}", self.address):
            raise ConfigError(f"ray.address must be auto, local or HOST:PORT of a head, got {self.address!r}")
        if "://" in self.address:
            raise ConfigError(
                f"ray.address must be auto, local or HOST:PORT of a head, got {self.address!r}; Ray Client cannot pass "
                "on what tasks stream, so run the command on a node of the cluster"
            )
        if self.device not in DEVICES:
            raise ConfigError(
                f"ray.device must be one of {', '.join(DEVICES)}, got {self.device!r}; Ray decides which GPU"
            )
        for name, value in (("jobs", self.jobs), ("cpus", self.cpus), ("batch", self.batch)):
            if value is not None and value < 1:
                raise ConfigError(f"ray.{name} must be at least 1, got {value}")
        if not self.kept_every >= 0:
            raise ConfigError(f"ray.kept_every must not be below 0 seconds, got {self.kept_every:g}")

    def slots(self) -> list[str]:
        """The device of each task that there is room for now; connects to the cluster and asks."""
        package_of("ray")
        if self.address == "local":
            return choose_devices(self.device, self._tasks_here())
        link = self._link()
        try:
            device = self._device(link.nodes)
            return [device] * (self.jobs or max(1, room(link.nodes, self.cpus, gpus_of(device, 1.0))))
        finally:
            link.close()

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Run the cells; see `Executor.run`.

        Raises:
            ExecutorLost: the head of the cluster is gone.
        """
        if not cells:
            return
        if options.execution.threads is None:
            options = replace(options, execution=replace(options.execution, threads=self.cpus))
        link = self._link()
        try:
            device = self._device(link.nodes)
            remote = Remote(cells, store, options, timeout=timeout, kept_every=self.kept_every)
            try:
                yield from Driver(self, link, remote, device).run()
            finally:
                remote.close()
        finally:
            link.close()

    def _link(self) -> Link:
        return Link(self.address, self.cpus * self._tasks_here())

    def _tasks_here(self) -> int:
        """How many tasks a cluster is for that is started on this machine."""
        return self.jobs or max(1, available_cores() // self.cpus)

    def _device(self, nodes: Sequence[Node]) -> str:
        """The device of the workers."""
        gpus = sum(node.gpus for node in nodes)
        if self.device == "cuda" and not gpus:
            raise ConfigError(
                f"ray.device is cuda, and none of the cluster's {len(nodes)} nodes has a GPU; device=cpu always works"
            )
        device = "cpu" if self.device == "cpu" or not gpus else GPU
        if nodes and not room(nodes, self.cpus, gpus_of(device, 1.0)) and any(node.cpus for node in nodes):
            most = max(node.cpus for node in nodes)
            raise ConfigError(
                f"ray.cpus is {self.cpus}, and no node of the cluster has as many"
                f"{' beside a GPU' if device == GPU else f' (the largest has {most:g})'}; give fewer"
            )
        return device
