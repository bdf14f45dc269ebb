"""A SLURM cluster whose one node is this machine, for tests: Debian's daemons, without systemd and cgroups.

It says that it has two cores, whatever is there. It has two partitions, `main` and `urgent`; a job of `urgent` preempts
one of `main`, which is requeued.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")

PROGRAMS = (*DAEMONS, "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")

SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Where daemons are."""

CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
JobRequeue=1
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=1-0 State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=1-0 State=UP PriorityTier=10
"""


def why_not() -> str:
    """Why there can be no cluster here; empty where there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "the daemons of SLURM need root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    return f"there is no {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else ""


@dataclass
class SlurmNode:
    """The cluster; `start` it, and `stop` it whatever happens.

    Args:
        folder: for its files; a short path, for a socket is in it.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """What `SLURM_CONF` has to name."""
        return self.folder / "slurm.conf"

    def start(self) -> None:
        """Start the daemons, and wait until the node is idle."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        ports = [_free_port() for _ in range(2)]
        self.config.write_text(CONFIG.format(host=host, folder=self.folder, controller=ports[0], daemon=ports[1]))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        own = [f"--{option}={self.folder}/munge.{name}" for option, name in files.items()]
        self._start("munged", "--force", *own)
        self._start("slurmctld", "-f", str(self.config))
        self.start_daemon()
        self.wait_until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), "the node is idle")

    def start_daemon(self) -> None:
        """Start the daemon of the node, at first or after it was killed."""
        self._start("slurmd", "-f", str(self.config))

    def stop(self) -> None:
        """Cancel all jobs and end the daemons, by the numbers of their processes."""
        with suppress(subprocess.SubprocessError):
            self.ask("scancel", "--user=root")
            self.wait_until(lambda: not self.ask("squeue", "--noheader"), "no job is left")
        for name in ("slurmctld", "slurmd", "munge"):
            with suppress(OSError, ValueError):
                pid = int((self.folder / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                for _ in range(100):
                    os.kill(pid, 0)
                    time.sleep(0.1)
                os.kill(pid, signal.SIGKILL)

    def ask(self, *command: str) -> str:
        """What a command of SLURM says."""
        environment = {**os.environ, "SLURM_CONF": str(self.config)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"after {seconds:g} s not: {what}; see {self.folder}"
            time.sleep(0.2)

    def _start(self, name: str, *arguments: str) -> None:
        program = shutil.which(name, path=SEARCHED)
        assert program is not None
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
