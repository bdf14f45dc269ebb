"""A worker as a process of this machine (benchmarks room): started, given orders, heard line by line, killed.

Whoever attends a worker runs where the worker runs: the driver for `subprocess`, an actor or a batch job on a node. It
is the one that can end a cell at its time limit whatever the cell does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .local import WORKER
from .wire import MOST_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


GRACE = 2.0
"""Seconds that a worker has to let go of its cell; one that hangs uses them up."""


class Child:
    """A worker process, which ends when this process does.

    Args:
        heard: called from a thread with this child and each line that the worker says, and with None once it is gone. A
            line that is too long or cut off is the last.
        folder: where its scratch folder is made; the system's by default.
        environment: variables on top of those of this process.
    """

    def __init__(
        self,
        heard: Callable[[Child, bytes | None], None],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="fl-bench-", dir=folder, ignore_cleanup_errors=True)
        command = [sys.executable, "-m", f"{__package__}.worker", "--follow", "--scratch", self._scratch.name]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **WORKER, "PYTHONPATH": search_path(), "PYTHONSAFEPATH": "1", **(environment or {})},
        )
        self._heard = heard
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """How the process ended: negative for a signal; None while it lives."""
        return self._process.poll()

    def send(self, order: bytes) -> None:
        """Give it an order, a line; one that is gone is noticed by the None that is heard."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(order)
            self._process.stdin.flush()

    def ask(self) -> None:
        """Ask it to let go of its cell and end."""
        self._process.terminate()

    def end(self) -> None:
        """End it, by force where it takes longer than `GRACE`, and remove what it left."""
        self.ask()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE)
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=10)  # a grandchild may hold the pipe open
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError, ValueError):
                if stream is self._process.stdin or not self._reader.is_alive():
                    stream.close()
        self._scratch.cleanup()

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while line := stream.readline(MOST_LINE + 1):
            self._heard(self, line)
            if not line.endswith(b"\n"):  # too long, or cut off: what follows is no line
                break
        self._process.wait()
        self._heard(self, None)


def search_path() -> str:
    """Where a child process finds what this one finds, wherever it starts; relative folders and '' mean this one."""
    return os.pathsep.join(os.path.abspath(folder) for folder in sys.path if folder)
