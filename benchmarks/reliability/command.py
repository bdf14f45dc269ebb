"""`fl-bench run` as a process that faults are injected into (benchmarks room): started in a group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .seen import BrokenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE = 420.0
"""Seconds without a word after which a command counts as hanging, however busy the machine is."""

WORKERS = (b"spawn_main", b"fl_bench.benchmarks.running.worker")
"""Words in the command line of a process that runs cells."""


class Command:
    """A running `fl-bench` command.

    Args:
        arguments: of the command line, after `fl-bench`.
        results: the results folder that it writes to.
        log: the file that its output goes to.
        environment: variables on top of those of this process.
        before: words in front of the command (`unshare`, say).
    """

    def __init__(
        self,
        arguments: Sequence[str],
        results: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self._log = log
        self.results = results
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-P", "-m", "fl_bench.benchmarks", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until it ends: its exit code, negative for a signal.

        Raises:
            BrokenError: it hangs; then it is killed.
        """
        heard = 0
        while True:
            try:
                return self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                said = self.said
            if len(said) == heard:
                self.kill_group()
                raise BrokenError(f"the command has not said a word for {seconds:g} s; its last ones: {said[-500:]}")
            heard = len(said)

    def workers(self) -> list[int]:
        """Its processes that run cells now."""
        return [process for process in children(self.process.pid) if any(word in line_of(process) for word in WORKERS)]

    def signal(self, number: int) -> None:
        """Send a signal to the command itself."""
        self.process.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL to the command and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def children(process: int) -> list[int]:
    """The processes that a process started and that live."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def marked(name: str, value: str, words: Sequence[bytes] = (b"",)) -> list[int]:
    """Processes that have a variable, and one of some words in their command line."""
    found, mark = [], f"{name}={value}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            process = int(folder.name)
            ours = process != os.getpid() and mark in (folder / "environ").read_bytes() + b"\0"
            if ours and any(word in line_of(process) for word in words):
                found.append(process)
    return found


def kill(process: int) -> bool:
    """SIGKILL to a process; False when it had ended before."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def gone(processes: Sequence[int], seconds: float = 30.0) -> bool:
    """Whether processes end by themselves within some seconds."""
    until = time.monotonic() + seconds
    while left := [process for process in processes if alive(process)]:
        if time.monotonic() > until:
            return False
        processes = left
        time.sleep(0.05)
    return True


def alive(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def line_of(process: int) -> bytes:
    """The command line of a process; empty where there is none."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
