"""A Ray cluster loses workers, drivers, nodes and its head, or gets nodes that are new or differ (benchmarks room)."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .cluster import MARK, WORKER, cluster_of
from .command import gone, kill, marked
from .kills import CHANGES, kills_of, seeds_of, storm
from .seen import BrokenError, Seen
from .sharing import together

if TYPE_CHECKING:
    from .command import Command
    from .place import Place

PROCESSES = (WORKER, b"ray::attend")
"""What runs cells on a node: the worker of the worker protocol, and Ray's process around it."""


def ray_worker_killed(place: Place) -> Seen:
    """SIGKILL to the worker of a Ray task, or to Ray's process around it, at random moments, on two nodes.

    Expected: the cell is tried again from its last checkpoint; where it is killed too often, its record is `failed`.

    Recovery: none, or the same command with `--retry`.
    """
    with cluster_of(place) as cluster:
        hit = kills_of(MARK, PROCESSES)
        return storm(place, place.times(40), seeds_of(place), hit, retry=True, executor=cluster.executor)


def ray_driver_killed(place: Place) -> Seen:
    """SIGKILL to `fl-bench run` on a Ray cluster at a random moment.

    Expected: its connection ends by itself; finished records stay as they are, and no other record is written.

    Recovery: the same command again, at once.
    """
    with cluster_of(place) as cluster:

        def hit(place: Place, command: Command, most: int) -> int:
            was_there = place.moment(command, CHANGES)
            helpers = command.workers()
            kill(command.process.pid)
            if not gone(helpers):
                raise BrokenError("the driver's connection lived on for 30 s")
            return was_there

        return storm(place, place.times(15), seeds_of(place), hit, executor=cluster.executor)


def ray_node_killed(place: Place) -> Seen:
    """A node of two is killed at a random moment, raylet and all, and another is added.

    Expected: its cell goes on elsewhere from its last checkpoint; the new node is used.

    Recovery: none, or the same command with `--retry`.
    """
    with cluster_of(place) as cluster:

        def hit(place: Place, command: Command, most: int) -> int:
            kills = 0
            while kills < most and place.moment(command, 2 * CHANGES):
                cluster.lose_node()
                cluster.add_node()
                kills += 1
            return kills

        return storm(place, place.times(8), seeds_of(place), hit, retry=True, executor=cluster.executor)


def ray_node_frozen(place: Place) -> Seen:
    """SIGSTOP to one of two nodes, raylet, tasks and workers, until the command has ended; then SIGCONT.

    Expected: exit code 0; the head gives the node up, and its cell goes on elsewhere from its last checkpoint; what the
    node says late is not heard.

    Recovery: none.
    """
    seen, results = Seen(times=1), place.results(4)
    with cluster_of(place) as cluster:
        command = place.start(results, executor=cluster.executor)
        if not place.moment(command, CHANGES):
            raise BrokenError(f"the command ended before it was hit: {command.said[-500:]}")
        frozen = cluster.processes_of_a_node()
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        began = time.monotonic()
        try:
            seen.exits.add(command.wait())
            seen.notes.append(f"it ended {time.monotonic() - began:.0f} s after")
        finally:
            for process in frozen:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        if seen.exits != {0}:
            raise BrokenError(f"it ended with {seen.exits}: {command.said[-500:]}")
        seen.cells = results.complete()
    return seen


def ray_head_killed(place: Place) -> Seen:
    """The head of the cluster is killed at a random moment, its control store and its raylet.

    Expected: the command ends with exit code 1 and says that the head is gone.

    Recovery: the same command with a new head.
    """
    seen, results = Seen(times=1, kills=1), place.results(2)
    with cluster_of(place) as cluster:
        command = place.start(results, executor=cluster.executor)
        if not place.moment(command, CHANGES):
            raise BrokenError(f"the command ended before it was hit: {command.said[-500:]}")
        cluster.kill_head()
        began = time.monotonic()
        seen.exits.add(command.wait())
        seen.notes.append(f"it ended {time.monotonic() - began:.0f} s after")
        if seen.exits != {1} or "Traceback" in command.said or "head" not in command.said:
            raise BrokenError(f"it ended with {seen.exits}: {command.said[-500:]}")
        results.check()
    with cluster_of(place) as cluster:
        seen.cells = place.finish(results, executor=cluster.executor)
    return seen


def ray_node_of_the_command_killed(place: Place) -> Seen:
    """The node that the command is connected to is killed at a random moment; the cluster goes on without it.

    Expected: the command ends with exit code 1 and says that its node is gone, or with 0 where all of its tasks ran
    elsewhere already; no record says `failed`.

    Recovery: the same command with a new cluster, or on another node.
    """
    seen, results = Seen(times=1, kills=1), place.results(2)
    with cluster_of(place) as cluster:
        command = place.start(results, executor=cluster.executor)
        if not place.moment(command, CHANGES):
            raise BrokenError(f"the command ended before it was hit: {command.said[-500:]}")
        cluster.kill_head(only_node=True)
        began = time.monotonic()
        seen.exits.add(command.wait())
        seen.notes.append(f"it ended {time.monotonic() - began:.0f} s after")
        ended_by_name = seen.exits == {1} and " has died" in command.said
        if not (ended_by_name or seen.exits == {0}) or "Traceback" in command.said:
            raise BrokenError(f"it ended with {seen.exits}: {command.said[-500:]}")
        results.check()
    with cluster_of(place) as cluster:
        seen.cells = place.finish(results, executor=cluster.executor)
    return seen


def ray_node_added(place: Place) -> Seen:
    """A cluster with one node of one CPU gets a second while a grid runs.

    Expected: exit code 0; two cells run at a time from then on.

    Recovery: none.
    """
    seen, results = Seen(times=1), place.results(6)
    with cluster_of(place, nodes=1) as cluster:
        command = place.start(results, executor=cluster.executor)
        place.moment(command, CHANGES)
        cluster.add_node()
        most = 0
        while not command.ended():
            most = max(most, len(marked(MARK, str(place.folder), PROCESSES[:1])))
            time.sleep(0.05)
        seen.exits.add(command.wait())
    if seen.exits != {0} or most < 2:
        raise BrokenError(f"it ended with {seen.exits}, with {most} workers at most: {command.said[-500:]}")
    seen.cells = results.complete()
    return seen


def ray_node_differs(place: Place) -> Seen:
    """One of two nodes has another version of fl-bench; a file that Python reads at its start makes it so.

    Expected: exit code 0; the node is left out, and the command names it and what differs; the other node does all.

    Recovery: none.
    """
    results, folder = place.results(2), place.new_folder("another")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import fl_bench\nfl_bench.__version__ = '0.0.1'\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with cluster_of(place, nodes=1) as cluster:
        cluster.add_node(PYTHONPATH=path)
        code, said = place.run(results, executor=cluster.executor)
    if code != 0 or "is left out: " not in said or "and 0.0.1 on" not in said:
        raise BrokenError(f"it ended with {code}: {said[-500:]}")
    return Seen(times=1, exits={code}, cells=results.complete())


def two_commands_and_a_cluster(place: Place) -> Seen:
    """Two `fl-bench run --wait` with local workers and one on a Ray cluster, at once on one folder with 60 cells.

    Expected: all end with exit code 0; each cell is recorded by exactly one of them.

    Recovery: none.
    """
    results = place.results(seeds_of(place))
    with cluster_of(place) as cluster:
        return together(place, results, [{}, {}, {}], executors=[None, None, cluster.executor])


FAULTS = (
    ray_worker_killed,
    ray_driver_killed,
    ray_node_killed,
    ray_node_frozen,
    ray_head_killed,
    ray_node_of_the_command_killed,
    ray_node_added,
    ray_node_differs,
    two_commands_and_a_cluster,
)
"""The faults of this family."""
