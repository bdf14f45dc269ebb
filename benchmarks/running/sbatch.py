"""SLURM, as an executor needs it (benchmarks room): arrays in, through submitit; what waits and runs out."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fl_bench.errors import ConfigError

from .executor import package_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .array import Array

PREFIX = "fl-bench-"
"""How the names of our jobs begin; the name of the array's folder follows."""

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
"""What has to be there to submit and follow."""

MOST_TASKS = 1001
"""`MaxArraySize` where the administrators of a cluster did not change it."""

LIMIT = re.compile(
    r"(?P<days>\d+)-(?P<day_hours>\d+)(:(?P<day_minutes>\d+)(:(?P<day_seconds>\d+))?)?"
    r"|(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"
    r"|(?P<only_minutes>\d+)(:(?P<minute_seconds>\d+))?"
)
"""Time limits as sbatch takes them."""


@dataclass(frozen=True)
class Task:
    """A task that SLURM knows of and that has not ended."""

    job: str
    """`12_0`, or `12` where the array has one task."""
    array: str
    """The name of the array's folder."""
    state: str
    """In SLURM's words."""
    reason: str
    """Why it waits, in SLURM's words."""


class Cluster(Protocol):
    """Where arrays run."""

    def submit(self, array: Array, task: Callable[[], None], tasks: int) -> list[str]:
        """Submit the tasks of an array; the ids of their jobs.

        Raises:
            ConfigError: they are refused.
        """

    def tasks(self) -> list[Task] | None:
        """The tasks that have not ended, of all arrays of this user; None where that cannot be known now."""

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Ask tasks to end that have nothing to do any more; some may have ended meanwhile."""

    def stop(self) -> None:
        """End what would not go on by itself after this process."""


def seconds_of(limit: str | int) -> int:
    """Seconds of a time limit: minutes, minutes:seconds, hours:minutes:seconds, days-hours, and so on, as for sbatch.

    Raises:
        ConfigError: it is none.
    """
    found = LIMIT.fullmatch(str(limit).strip())
    if found is None:
        raise ConfigError(
            f"slurm.time must be a time limit as sbatch takes it, such as 30 (minutes), 4:00:00 or 1-12, got {limit!r}"
        )
    parts = {name: int(text) for name, text in found.groupdict().items() if text is not None}
    units = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1, "minute_seconds": 1}
    return sum(amount * units[name.removeprefix("day_").removeprefix("only_")] for name, amount in parts.items())


def chunks(tasks: int, most: int) -> list[int]:
    """The sizes of the arrays that tasks are submitted as, where an array takes so many at most."""
    return [min(most, tasks - start) for start in range(0, tasks, most)]


@dataclass
class Slurm:
    """The cluster that `sbatch` submits to.

    Args:
        parameters: submitit's, beside the name of the job.
        requeues: how often a task may go on after its time limit.
    """

    parameters: Mapping[str, Any]
    requeues: int

    def submit(self, array: Array, task: Callable[[], None], tasks: int) -> list[str]:
        """Submit the tasks as few arrays; see `Cluster`."""
        ids: list[str] = []
        for size in chunks(tasks, _most_tasks()):
            ids += _submit(array, "slurm", task, size, self.parameters, slurm_max_num_timeout=self.requeues)
        return list(dict.fromkeys(job.partition("_")[0] for job in ids))

    def tasks(self) -> list[Task] | None:
        """What `squeue` says; see `Cluster`."""
        said = _output("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%j|%T|%r")
        if said is None:
            return None
        rows = [line.split("|", 3) for line in said.splitlines() if line.count("|") >= 3]
        return [
            Task(job, name.removeprefix(PREFIX), state, reason)
            for job, name, state, reason in rows
            if name.startswith(PREFIX)
        ]

    def cancel(self, tasks: Sequence[Task]) -> None:
        """`scancel` them; see `Cluster`."""
        _output("scancel", *(task.job for task in tasks))

    def stop(self) -> None:
        """Leave everything to SLURM."""


@dataclass
class Here:
    """Processes of this machine, by submitit's `local`: to try out what would happen on a cluster.

    They end with this process, for no queue would show them.
    """

    parameters: Mapping[str, Any]
    requeues: int
    _jobs: list[tuple[str, Any]] = field(default_factory=list)

    def submit(self, array: Array, task: Callable[[], None], tasks: int) -> list[str]:
        """Start the tasks; see `Cluster`."""
        jobs: list[Any] = []
        ids = _submit(array, "local", task, tasks, self.parameters, jobs, local_max_num_timeout=self.requeues)
        self._jobs += [(array.name, job) for job in jobs]
        return ids

    def tasks(self) -> list[Task] | None:
        """Those that this process started and that run."""
        return [Task(job.job_id, name, "RUNNING", "None") for name, job in self._jobs if not job.done()]

    def cancel(self, tasks: Sequence[Task]) -> None:
        """Ask them to end; see `Cluster`."""
        for task in tasks:
            with suppress(ProcessLookupError):
                os.kill(int(task.job), signal.SIGTERM)

    def stop(self) -> None:
        """Ask all to end, and wait until they have."""
        self.cancel(self.tasks() or ())
        while self.tasks():
            time.sleep(0.05)


def check_commands() -> None:
    """Make sure that this machine can submit.

    Raises:
        ConfigError: a package or one of SLURM's commands is missing.
    """
    package_of("slurm", "submitit")
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"--executor slurm needs {', '.join(COMMANDS)} here, and there is no {' and no '.join(missing)}; run it on "
            "a login node of the cluster, or try it on this machine with slurm[cluster=local]"
        )


def _submit(
    array: Array,
    cluster: str,
    task: Callable[[], None],
    tasks: int,
    parameters: Mapping[str, Any],
    jobs: list[Any] | None = None,
    **settings: int,
) -> list[str]:
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = AutoExecutor(folder=array.batch, cluster=cluster, **settings)
    executor.update_parameters(name=f"{PREFIX}{array.name}", **parameters)
    try:
        made = executor.submit_array([task] * tasks)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{cluster} refused {counted(tasks, 'task')}: {reason}; the script is in {array.batch}"
        ) from None
    if jobs is not None:
        jobs += made
    return [str(job.job_id) for job in made]


def _most_tasks() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _output("scontrol", "show", "config") or "", re.MULTILINE)
    return max(1, int(found[1]) if found else MOST_TASKS)


def _output(*command: str) -> str | None:
    """What a command of SLURM says; None where its controller does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def ids_to_cancel(tasks: Sequence[Task]) -> str:
    """The jobs of tasks, as scancel takes them."""
    return " ".join(dict.fromkeys(task.job.partition("_")[0] for task in tasks))


def counted(count: int, what: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
