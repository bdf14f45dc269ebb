"""Kills (benchmarks room): SIGKILL to workers, to the driver and to both, at random moments of a small grid."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from .command import gone, kill, marked
from .place import METHODS
from .seen import BrokenError, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .command import Command
    from .place import Place

SEEDS = 20
"""Seeds of the grid in a storm: 60 cells."""

CHANGES = 24
"""A command is hit at the latest after so many changes in its results folder; a cell makes about ten."""

KILLED = ("was killed by SIGKILL", "the process of the task died")
"""What a record says whose cell was killed too often; the second where Ray's own process was."""

LOST = 2
"""The most rounds that a kill may cost a cell: the one in flight and one before."""


def worker_killed(place: Place) -> Seen:
    """SIGKILL to a random worker of `local`, again and again, at random moments.

    Expected: exit code 1; the record is `failed`, names the signal and has the finished rounds; other cells go on.

    Recovery: the same command with `--retry` goes on from the checkpoint.
    """
    times, seeds = place.times(100), seeds_of(place)
    return storm(place, times, seeds, kill_worker, retry=True)


def driver_killed(place: Place) -> Seen:
    """SIGKILL to `fl-bench run` itself at a random moment between its start and the first dozen records.

    Expected: its workers end by themselves; finished records stay as they are, and no other record is written.

    Recovery: the same command again, at once.
    """
    return storm(place, place.times(60), seeds_of(place), kill_driver)


def group_killed(place: Place) -> Seen:
    """SIGKILL to `fl-bench run` and its workers in one moment, as a node that goes down does.

    Expected: finished records stay as they are, and no other record is written.

    Recovery: the same command again, at once.
    """
    return storm(place, place.times(60), seeds_of(place), kill_group)


def rounds_lost(place: Place) -> Seen:
    """SIGKILL to command and workers in one moment, where a method notes every round that it trains.

    Expected: a cell trains two rounds again at most: the one in flight and one before.

    Recovery: the same command again, at once.
    """
    return storm(place, place.times(30), seeds_of(place), kill_group, methods=("noted",))


def driver_interrupted(place: Place) -> Seen:
    """SIGINT or SIGTERM to `fl-bench run` at a random moment.

    Expected: exit code 130, or the signal's where it came before the program was loaded; no worker is left.

    Recovery: the same command again.
    """
    return storm(place, place.times(12), min(seeds_of(place), 4), _interrupt, kills=False)


def worker_without_folder_killed(place: Place) -> Seen:
    """SIGKILL to a random worker of `subprocess`, whose checkpoints and records travel through a pipe.

    Expected: the cell is tried again once from the last checkpoint that was sent; killed twice, its record is `failed`.

    Recovery: none, or the same command with `--retry`.
    """
    executor = "subprocess[jobs=2,device=cpu,kept_every=0]"
    return storm(place, place.times(120), seeds_of(place), kill_worker, retry=True, executor=executor)


FAULTS = (worker_killed, driver_killed, group_killed, rounds_lost, driver_interrupted, worker_without_folder_killed)
"""The faults of this family."""


def seeds_of(place: Place) -> int:
    """The seeds of a storm's grid: 60 cells; a small storm takes a small one."""
    return SEEDS if place.times(SEEDS) == SEEDS else 2


def storm(
    place: Place,
    times: int,
    seeds: int,
    hit: Callable[[Place, Command, int], int],
    *,
    retry: bool = False,
    executor: str | None = None,
    methods: Sequence[str] = METHODS,
    kills: bool = True,
) -> Seen:
    """Run the grid over and over, hit it, and check all records after each hit; then let it end and compare.

    Args:
        place: where.
        times: how often.
        seeds: of the grid.
        hit: injects the fault into a command, at most so many times, until it has ended; says how often.
        retry: whether the command has `--retry`.
        executor: `--executor`.
        methods: of the grid.
        kills: whether what is injected are kills.
    """
    seen = Seen()
    results = place.results(seeds, methods=methods)
    until = time.monotonic() + place.limit
    more = ["--retry"] if retry else []
    lost: list[int] = []
    while seen.times < times and time.monotonic() < until:
        place.lost()
        done = 0
        while done < results.size and seen.times < times and time.monotonic() < until:
            command = place.start(results, *more, executor=executor)
            seen.times += hit(place, command, times - seen.times)
            seen.exits.add(command.wait())
            done = results.check(failed=KILLED if retry else None)
        seen.cells += place.finish(results, *more, executor=executor)
        lost += place.lost()
        results = place.results(seeds, methods=methods)
    if max(lost, default=0) > LOST:
        raise BrokenError(f"a restart lost {max(lost)} rounds, more than the one in flight and one before")
    seen.kills = seen.times if kills else 0
    if lost:
        seen.notes.append(f"{len(lost)} cells trained a round again that was lost, at most {max(lost)} of them")
    return seen


def kills_of(name: str, words: Sequence[bytes]) -> Callable[[Place, Command, int], int]:
    """SIGKILL to random processes that carry the folder in a variable of their environment, as workers elsewhere do.

    Args:
        name: of the variable.
        words: what the command line of such a process holds, one of them.
    """

    def hit(place: Place, command: Command, most: int) -> int:
        kills = 0
        while kills < most and place.moment(command, CHANGES // 2):
            processes = marked(name, str(place.folder), words)
            kills += bool(processes) and kill(place.random.choice(processes))
        return kills

    return hit


def kill_worker(place: Place, command: Command, most: int) -> int:
    """SIGKILL to random workers at random moments, until the command has ended; how often."""
    kills = 0
    while kills < most and place.moment(command, CHANGES // 2):
        workers = command.workers()
        kills += bool(workers) and kill(place.random.choice(workers))
    return kills


def kill_driver(place: Place, command: Command, most: int) -> int:
    """SIGKILL to the command at a random moment, whose workers have to end by themselves; how often.

    Raises:
        BrokenError: a worker lives on.
    """
    hit = place.moment(command, CHANGES)
    workers = command.workers()
    kill(command.process.pid)
    if not gone(workers):
        command.kill_group()
        raise BrokenError("a worker lived on for 30 s after its driver was killed")
    return hit


def kill_group(place: Place, command: Command, most: int) -> int:
    """SIGKILL to the command and all that it started at a random moment; how often."""
    hit = place.moment(command, CHANGES)
    command.kill_group()
    return hit


def _interrupt(place: Place, command: Command, most: int) -> int:
    hit = place.moment(command, CHANGES)
    workers = command.workers()
    number = place.random.choice([signal.SIGINT, signal.SIGTERM])
    command.signal(number)
    if command.wait() not in (0, 130, -number) or not gone(workers):
        raise BrokenError(f"{signal.Signals(number).name} ended it with {command.wait()}: {command.said[-500:]}")
    return hit
