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
from .command import kill
from .kills import CHANGES, kills_of, seeds_of, storm
from .seen import NotHereError, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def slurm_task_killed(place: Place) -> Seen:
    """SIGKILL to the worker of a task of SLURM, or to the task around it, at random moments.

    Expected: the cell goes on from its last checkpoint in this task or another; killed too often, its record is
    `failed` or the cell is left, and the exit code is 1.

    Recovery: none, or the same command with `--retry`.
    """
    with _slurm(place):
        hit = kills_of(MARK, PROCESSES)
        return storm(place, place.times(20), min(seeds_of(place), 6), hit, retry=True, executor=EXECUTOR)


def slurm_command_killed(place: Place) -> Seen:
    """SIGKILL to `fl-bench run` while its tasks run.

    Expected: the tasks go on; the same command follows them and submits nothing twice.

    Recovery: the same command again.
    """
    with _slurm(place):

        def hit(place: Place, command: Command, most: int) -> int:
            was_there = place.moment(command, CHANGES)
            kill(command.process.pid)
            return was_there

        return storm(place, place.times(5), 2, hit, executor=EXECUTOR)


def slurm_task_preempted(place: Place) -> Seen:
    """A job of a partition with priority takes the node; SLURM requeues the tasks.

    Expected: exit code 0; the cells go on from their last checkpoints when the tasks run again.

    Recovery: none.
    """
    with _slurm(place) as node:

        def hit(place: Place, command: Command, most: int) -> int:
            if not place.moment(command, CHANGES) or not node.ask("squeue", "--noheader", "--states=RUNNING"):
                return 0
            node.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
            while not command.ended():
                for job in node.ask(
                    "squeue", "--noheader", "--states=PENDING", "--partition=main", "--format=%i"
                ).split():
                    _start_now(job)
                time.sleep(1.0)
            return 1

        return storm(place, place.times(2), 2, hit, executor=EXECUTOR)


FAULTS = (slurm_task_killed, slurm_command_killed, slurm_task_preempted)
"""The faults of this family."""


def _start_now(job: str) -> None:
    """A requeued job would start two minutes later; it may have begun meanwhile."""
    command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
    subprocess.run(command, capture_output=True, timeout=60, check=False)


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
