"""The driver's way to a Ray cluster (benchmarks room): a process that talks to Ray, and the notice that it is lost."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from .executor import ExecutorLost
from .ray_cluster import GRACE, Cancel, Nodes, Submit, Unable, talk
from .wire import shown

if TYPE_CHECKING:
    from .ray_cluster import Node, Word

CONNECT_LIMIT = 120.0
"""Seconds that connecting may take, or starting a cluster of one's own."""

SILENCE_LIMIT = 40.0
"""Seconds without a sign of life after which the head counts as lost; Ray gives up after 60, and then all at once."""


class Link:
    """A connection to a cluster. Closing it ends our tasks there, and a cluster that was started for it.

    Args:
        address: `auto`, `local`, or HOST:PORT of the head.
        cpus: how many CPUs a cluster has that is started here.
    Raises:
        ConfigError: there is no such cluster, or Ray is not installed.
    """

    def __init__(self, address: str, cpus: int) -> None:
        self._address = address
        self._folder = tempfile.TemporaryDirectory(prefix="fl-bench-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "ray.log"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=talk, args=(theirs, str(self._log), address, cpus), daemon=True)
        self._process.start()
        theirs.close()
        self.nodes: tuple[Node, ...] = ()
        """The nodes of the cluster, as far as is known."""
        self._head = address
        self._heard = time.monotonic()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def submit(self, command: Submit | Cancel) -> None:
        """Start a task, or end one.

        Raises:
            ExecutorLost: the cluster is gone.
        """
        try:
            self._pipe.send(command)
        except OSError:
            raise self._lost() from None

    def words(self, seconds: float) -> list[Word]:
        """Wait for what the cluster says, and return all that it has said.

        Args:
            seconds: how long to wait for the first word.
        Raises:
            ExecutorLost: the cluster is gone, or has not said a word for `SILENCE_LIMIT`.
        """
        said: list[Word] = []
        try:
            while self._pipe.poll(0.0 if said else min(seconds, SILENCE_LIMIT)):
                word = self._pipe.recv()
                self._heard = time.monotonic()
                if isinstance(word, Nodes):
                    self._head, self.nodes = word.head, word.nodes
                said.append(word)
                if len(said) >= 1000:
                    break
        except (EOFError, OSError):
            if not said:
                raise self._lost() from None
        if time.monotonic() - self._heard > SILENCE_LIMIT:
            raise self._lost()
        return said

    def close(self) -> None:
        """End our tasks and the process."""
        with suppress(OSError):
            self._pipe.close()
        self._process.join(timeout=2 * GRACE)
        self._process.kill()
        self._process.join()
        self._folder.cleanup()

    def _connect(self) -> None:
        """Wait for the first word of the cluster."""
        word: Word | None = None
        with suppress(EOFError, OSError):
            if self._pipe.poll(CONNECT_LIMIT):
                word = self._pipe.recv()
        if isinstance(word, Nodes):
            self._head, self.nodes, self._heard = word.head, word.nodes, time.monotonic()
            return
        reason = word.reason if isinstance(word, Unable) else self._last_line() or "it does not answer"
        wanted = {
            "auto": "no Ray cluster can be reached from here",
            "local": "a Ray cluster cannot be started on this machine",
        }.get(self._address, f"the Ray cluster at {self._address} cannot be reached")
        raise ConfigError(
            f"{wanted} ({shown(reason)}); start one with `ray start --head` and give its HOST:PORT as address, or "
            "address=local for one on this machine"
        )

    def _lost(self) -> ExecutorLost:
        said = self._last_line()
        return ExecutorLost(
            f"the head of the Ray cluster at {self._head} is gone, or cannot be reached any more"
            f"{f' ({shown(said)})' if said else ''}"
        )

    def _last_line(self) -> str:
        """The last thing that Ray printed."""
        try:
            lines = self._log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
