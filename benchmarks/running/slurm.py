"""The executor `slurm` (benchmarks room): the tasks of a job array take cells from the results folder that all share.

A task takes one cell after the other until none is free. When its time limit is near, or when it is preempted, it is
requeued, and its cells go on from their checkpoints. The command that submitted the tasks follows them by what they say
in `<results>/.jobs/`; it may end at any moment, and the same command finds them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fl_bench.errors import ConfigError

from ..grid.executors import executor
from .array import Array
from .following import follow
from .handshake import data_of, setup
from .order import Order, Plugin
from .pulling import Pull
from .sbatch import Here, Slurm, check_commands, seconds_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .executor import Event
    from .runner import Options
    from .sbatch import Cluster

SHORTEST = 600
"""Seconds of the shortest time limit. A task needs minutes for its libraries and data; and below ten minutes submitit
takes every preemption for the end of the limit."""


@executor("slurm")
@dataclass(frozen=True)
class SlurmArray:
    """Runs cells in the tasks of a SLURM job array, on nodes that share the results folder with this machine."""

    keeps_models: ClassVar[bool] = True

    partition: str | None = None
    """The partition; null: the cluster's default."""
    tasks: int = 1
    """Tasks of the array; no more are submitted than there is work for."""
    time: str | int = "4:00:00"
    """Time limit of a task, as sbatch takes it: minutes, `4:00:00`, `1-12`. A task that reaches it is requeued."""
    cpus: int = 1
    """Cores of a task."""
    gpus: int = 0
    """GPUs of a task; its cells run on them where there are any."""
    memory: str | None = None
    """Memory of a task, such as `8G`; null: the cluster's default."""
    jobs: int | None = None
    """Cells at a time in a task (`--jobs`); null: one per GPU, or else per core."""
    account: str | None = None
    """The account that is charged."""
    qos: str | None = None
    """The quality of service."""
    constraint: str | None = None
    """Features that nodes must have."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """Further options of sbatch by their long names: `{reservation: mine}`."""
    before: tuple[str, ...] = ()
    """Shell commands before a task starts: `[module load cuda]`."""
    margin: int = 120
    """Seconds before the time limit at which a task stops and is requeued."""
    requeues: int = 20
    """How often a task may go on after its time limit."""
    instructions: str | None = None
    """The instruction set that all nodes must have, such as `AVX2`; null: that of this machine."""
    detach: bool = False
    """Whether to return once the tasks are submitted."""
    cluster: Literal["slurm", "local"] = "slurm"
    """`local`: tasks are processes of this machine, to try it out without SLURM."""

    def __post_init__(self) -> None:
        least = {"tasks": 1, "cpus": 1, "gpus": 0, "margin": 30, "requeues": 0, "jobs": 1}
        for name, fewest in least.items():
            value = getattr(self, name)
            if value is not None and value < fewest:
                raise ConfigError(f"slurm.{name} must be at least {fewest}, got {value}")
        seconds = seconds_of(self.time)
        if seconds < SHORTEST:
            raise ConfigError(
                f"slurm.time is {self.time}, which is {seconds} s; a task needs {SHORTEST} s at least, for it loads "
                "libraries and data first and is requeued before its limit: ask for 10 minutes or more"
            )
        if self.margin > seconds // 2:
            raise ConfigError(f"slurm.margin is {self.margin} s; half of the {seconds} s of slurm.time is the most")

    def slots(self) -> list[str]:
        """The device of each cell that runs at a time, once all tasks run."""
        if self.cluster == "slurm":
            check_commands()
        return [self._device] * (self.tasks * self._workers)

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Submit tasks for cells that no task will take, and follow all; see `Executor.run`.

        Closing the iterator leaves the tasks of SLURM as they are.
        """
        cluster: Cluster = (Slurm if self.cluster == "slurm" else Here)(self._parameters(), self.requeues)

        def submit(free: Sequence[Cell], spent: Mapping[str, float]) -> tuple[Array, list[str]]:
            order = self._order(free, store, options, timeout)
            array = Array.new(store.results.resolve(), order.text(), spent.items())
            tasks = min(self.tasks, -(-len(free) // self._workers))
            try:
                ids = cluster.submit(array, Pull(str(array.path), self._workers), tasks)
            except ConfigError:  # refused: nobody waits for them
                array.taken([])
                raise
            array.taken(ids)
            return array, ids

        return follow(cells, store, cluster, submit, retry=options.retry, detach=self.detach)

    @property
    def _workers(self) -> int:
        return self.jobs or self.gpus or self.cpus

    @property
    def _device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    def _order(self, cells: Sequence[Cell], store: Store, options: Options, timeout: float | None) -> Order:
        """What tasks are to do; loads torch and the data, to tell what nodes have to be equal to."""
        digests = {plugin.name: plugin.sha256 for plugin in map(Plugin.read, options.plugins)}
        expected = setup(digests, data_of(cells), options.data_dir)
        if self.instructions is not None:
            expected = replace(expected, instructions=self.instructions)
        threads = options.execution.threads or max(1, self.cpus // self._workers)
        return Order.of(
            cells,
            replace(options, device=self._device, execution=replace(options.execution, threads=threads)),
            expected,
            timeout=timeout,
            results=str(store.results.resolve()),
        )

    def _parameters(self) -> dict[str, Any]:
        """What submitit is told, beside the name."""
        minutes = -(-seconds_of(self.time) // 60)
        given = {
            "timeout_min": minutes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_constraint": self.constraint,
            "slurm_mem": self.memory,
            "slurm_setup": list(self.before) or None,
            "slurm_signal_delay_s": self.margin,
            "slurm_array_parallelism": self.tasks,
            "slurm_wckey": "",
            "slurm_additional_parameters": {"requeue": True, **self.sbatch},
        }
        return {name: value for name, value in given.items() if value is not None}
