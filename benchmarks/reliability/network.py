"""The network between two nodes of a Ray cluster (benchmarks room): it is cut, in a network namespace of Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .cluster import WORKER, cluster_of
from .command import line_of
from .kills import CHANGES
from .seen import BrokenError, NotHereError, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cluster import Cluster
    from .command import Command
    from .place import Place

MOMENT = 10.0
"""Seconds that a cut takes which nobody should notice."""

JOINING = 300.0
"""Seconds that a node may take to join, on a machine that is busy."""


def network_cut(place: Place) -> Seen:
    """One of two nodes of a Ray cluster is in a network of its own, and the way to it is cut in the middle of its cell,
    until the command has ended.

    Expected: exit code 0; the head gives the node up within two minutes, and its cell goes on elsewhere from its last
    checkpoint; what the node says late is not heard.

    Recovery: none.
    """
    return _cut(place, None)


def network_cut_for_a_moment(place: Place) -> Seen:
    """The same way is cut for ten seconds.

    Expected: exit code 0; cells go on where they are, or elsewhere from their last checkpoints.

    Recovery: none.
    """
    return _cut(place, MOMENT)


FAULTS = (network_cut, network_cut_for_a_moment)
"""The faults of this family."""


def _cut(place: Place, seconds: float | None) -> Seen:
    seen, results = Seen(times=1), place.results(6)
    with cluster_of(place, nodes=1) as cluster, _far_node(cluster) as far:
        command = place.start(results, executor=cluster.executor)
        _until_busy(far, command)
        place.moment(command, CHANGES // 2)
        if command.ended():
            raise BrokenError(f"the command ended before it was hit: {command.said[-500:]}")
        far.cut()
        began = time.monotonic()
        if seconds is not None:
            time.sleep(seconds)
            far.mend()
        seen.exits.add(command.wait())
        seen.notes.append(f"the command ended {time.monotonic() - began:.0f} s after the cut")
        far.mend()
        if seen.exits != {0}:
            raise BrokenError(f"it ended with {seen.exits}: {command.said[-500:]}")
        seen.cells = results.complete()
    return seen


def _until_busy(far: _Far, command: Command) -> None:
    """Wait until a cell runs on the far node."""
    while not command.ended() and not any(WORKER in line_of(process) for process in far.processes()):
        time.sleep(0.1)


@dataclass
class _Far:
    """A network namespace with one way to it.

    Args:
        name: of the namespace, and the beginning of the names of both ends of the way.
        subnet: the first three numbers of its addresses.
    """

    name: str
    subnet: str

    @property
    def address(self) -> str:
        """Its address."""
        return f"{self.subnet}.2"

    def make(self) -> None:
        """Make it.

        Raises:
            NotHereError: that takes root, or the system has none.
        """
        here, there = f"{self.name}a", f"{self.name}b"
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
            _ip("address", "add", f"{self.subnet}.1/30", "dev", here)
            _ip("link", "set", here, "up")
            _ip("-n", self.name, "address", "add", f"{self.address}/30", "dev", there)
            for device in ("lo", there):
                _ip("-n", self.name, "link", "set", device, "up")
            _ip("-n", self.name, "route", "add", "default", "via", f"{self.subnet}.1")
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise NotHereError(f"a network namespace cannot be made, which takes root and iproute2: {said}") from None

    def remove(self) -> None:
        """Remove what there is of it."""
        for words in (("link", "delete", f"{self.name}a"), ("netns", "delete", self.name)):
            with suppress(OSError, subprocess.CalledProcessError):
                _ip(*words)

    def processes(self) -> list[int]:
        """What runs in it."""
        return list(map(int, _ip("netns", "pids", self.name).split()))

    def cut(self) -> None:
        """Let nothing through any more: the far end goes down, and who sends to it is told nothing."""
        _ip("-n", self.name, "link", "set", f"{self.name}b", "down")

    def mend(self) -> None:
        """Let everything through again."""
        _ip("-n", self.name, "link", "set", f"{self.name}b", "up")
        with suppress(subprocess.CalledProcessError):  # it is there
            _ip("-n", self.name, "route", "add", "default", "via", f"{self.subnet}.1")


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60, check=True).stdout


@contextmanager
def _far_node(cluster: Cluster) -> Iterator[_Far]:
    """A node with one CPU in a network of its own."""
    if shutil.which("ip") is None:
        raise NotHereError("there is no `ip` (iproute2), which makes network namespaces")
    number = os.getpid() % 65536
    far = _Far(f"flb{number}", f"10.{200 + number // 256 % 50}.{number % 256}")
    nodes = cluster.count()
    try:
        far.make()
        ray = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--block"]
        node = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                far.name,
                *ray,
                f"--address={cluster.ray.address}",
                f"--node-ip-address={far.address}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + JOINING
            while cluster.count() == nodes:  # else the grid may be over before it takes a cell
                if time.monotonic() > until:
                    raise NotHereError(f"a node in a network namespace had not joined the cluster after {JOINING:g} s")
                time.sleep(0.5)
            yield far
        finally:
            node.kill()
            node.wait()
    finally:
        far.remove()
