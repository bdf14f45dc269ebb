"""SLURM (benchmarks room): tasks of a job array are killed and preempted, on a real SLURM of this machine alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..grid.executors import EXECUTORS
from .command import kill, marked
from .kills import CHANGES, kills_of, seeds_of, storm
from .seen import BrokenError, NotHereError, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .command import Command
    from .place import Place

NODE = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "running" / "slurm_node.py"
"""The cluster that tests start, too."""

MARK = "FAULTS_SLURM"
"""The variable that tasks inherit."""

PROCESSES = (b"fl_bench.benchmarks.running.worker", b"submitit.core._submit")
"""What runs cells in a task: the worker of the worker protocol, and the task around it."""

EXECUTOR = "slurm[partition=main;tasks=2;time=30]"
"""`--executor`."""


NODE_PROCESSES = (b"slurmd", b"slurmstepd", b"slurm_script", b"srun", *PROCESSES)
"""What dies with a node: its daemons, and all of its tasks."""


def slurm_task_killed(place: Place) -> Seen:
    """SIGKILL to the worker of a task of SLURM, or to the task around it, at random moments of a grid of 60 cells.

    Expected: the cell goes on from its last checkpoint in this task or another; killed too often, its record is
    `failed` or the cell is left, and the exit code is 1.

    Recovery: none, or the same command with `--retry`.
    """
    with _slurm(place):
        hit = kills_of(MARK, PROCESSES)
        return storm(place, place.times(24), seeds_of(place), hit, retry=True, executor=EXECUTOR)


def slurm_node_killed(place: Place) -> Seen:
    """SIGKILL to all that runs on the node of SLURM, its daemon and the tasks, at random moments of a grid of 60 cells;
    then the node comes back.

    Expected: exit code 0; SLURM requeues the tasks, or others are submitted; cells go on from their last checkpoints.

    Recovery: none.
    """
    with _slurm(place) as node:

        def fail(place: Place) -> None:
            for process in marked(MARK, str(place.folder), NODE_PROCESSES):
                kill(process)
            node.start_daemon()

        return storm(place, place.times(4), seeds_of(place), _taken(node, fail), retry=True, executor=EXECUTOR)


def slurm_command_killed(place: Place) -> Seen:
    """SIGKILL to `fl-bench run` while its tasks run.

    Expected: the tasks go on; the same command follows them and submits nothing twice.

    Recovery: the same command again.
    """
    with _slurm(place) as node:

        def hit(place: Place, command: Command, most: int) -> int:
            was_there = place.moment(command, CHANGES)
            kill(command.process.pid)
            names = set(node.ask("squeue", "--noheader", "--format=%j").split())
            if len(names) > 1:
                raise BrokenError(f"{len(names)} jobs take the same cells: {', '.join(sorted(names))}")
            return was_there

        return storm(place, place.times(5), 2, hit, executor=EXECUTOR)


def slurm_task_preempted(place: Place) -> Seen:
    """A job of a partition with priority takes the node, or `scontrol requeue` takes a task away, at random moments of
    a grid of 60 cells.

    Expected: exit code 0; the cells go on from their last checkpoints when the tasks run again.

    Recovery: none.
    """
    with _slurm(place) as node:

        def take(place: Place) -> None:
            tasks = _tasks(node, "RUNNING")
            if tasks and place.random.random() < 0.5:
                _scontrol("requeue", place.random.choice(tasks))
            else:
                node.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")

        seen = storm(place, place.times(8), seeds_of(place), _taken(node, take), executor=EXECUTOR, kills=False)
        if seen.exits != {0}:
            raise BrokenError(f"it ended with {seen.exits}")
        return seen


FAULTS = (slurm_task_killed, slurm_node_killed, slurm_task_preempted, slurm_command_killed)
"""The faults of this family."""


def _taken(node: Any, take: Callable[[Place], None]) -> Callable[[Place, Command, int], int]:
    """Take the tasks of a running command away, again and again.

    Args:
        node: the cluster.
        take: does it.
    """

    def hit(place: Place, command: Command, most: int) -> int:
        times = 0
        while times < most and place.moment(command, 2 * CHANGES):
            take(place)
            times += 1
            time.sleep(2.0)  # SLURM notices
            while not command.ended() and (waiting := _tasks(node, "PENDING")):
                for task in waiting:  # a requeued one would start two minutes later; it may have begun meanwhile
                    _scontrol("update", f"JobId={task}", "StartTime=now")
                time.sleep(1.0)
        return times

    return hit


def _tasks(node: Any, state: str) -> list[str]:
    """Our tasks that are in a state, by their numbers."""
    asked = ("squeue", "--noheader", "--array", "--partition=main", f"--states={state}", "--format=%i")
    return list(node.ask(*asked).split())


def _scontrol(*words: str) -> None:
    """Ask for something that may have become impossible meanwhile."""
    subprocess.run(["scontrol", *words], capture_output=True, timeout=60, check=False)


@contextmanager
def _slurm(place: Place) -> Iterator[Any]:
    """A running SLURM, which commands find.

    Raises:
        NotHereError: it cannot be started here.
    """
    if "slurm" not in EXECUTORS.names():
        raise NotHereError("this fl-bench has no executor `slurm`")
    spec = importlib.util.spec_from_file_location("slurm_node", NODE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slurm_node"] = module
    spec.loader.exec_module(module)
    if reason := module.why_not():
        raise NotHereError(f"no SLURM can be started here: {reason}")
    node = module.SlurmNode(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))  # a socket's path has to be short
    added = {MARK: str(place.folder), "SLURM_CONF": str(node.config)}
    os.environ.update(added)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        for name in added:
            del os.environ[name]
        shutil.rmtree(node.folder, ignore_errors=True)
