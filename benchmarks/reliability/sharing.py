"""Several commands on one results folder (benchmarks room): each cell is recorded once, whatever clocks say."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

from ..records.lease import LEASE
from .command import gone
from .kills import seeds_of
from .seen import BrokenError, Seen
from .shim import ahead, late

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .place import Place, Results

SKEW = 300
"""Seconds by which two clocks disagree."""

OWN = re.compile(r"^\[\d+/\d+\] (\S+ \S+ seed \d+): done, (?!by another process)", re.MULTILINE)
"""A line of a cell that the command recorded itself."""


def two_commands(place: Place) -> Seen:
    """Two `fl-bench run --wait` at once on one folder with 60 cells.

    Expected: both end with exit code 0; each cell is recorded by exactly one of them.

    Recovery: none.
    """
    results = place.results(seeds_of(place))
    return together(place, results, [{}, {}])


def late_visibility(place: Place) -> Seen:
    """Two `fl-bench run --wait` at once; each sees what the other creates two seconds late, as NFS clients may.

    Expected: both end with exit code 0; each cell is recorded once; a cell may be run twice, which costs time.

    Recovery: none.
    """
    results = place.results(4)
    return together(place, results, [late(place, results.folder, 2) for _ in range(2)], once=False)


def clocks_five_minutes_apart(place: Place) -> Seen:
    """Two `fl-bench run --wait` at once; the clock of one is five minutes ahead, and so are the times of its files.

    Expected: both end with exit code 0; each cell is recorded once; a cell may be run twice, which costs time.

    Recovery: none.
    """
    results = place.results(4)
    return together(place, results, [ahead(place, results.folder, SKEW), {}], once=False)


def host_dead(place: Place) -> Seen:
    """The claim of a process of a machine that is gone lies in the folder: fresh at first, then past its lease.

    Expected: exit code 1, and the line of the cell names the machine and when its lease ends; nothing else is held up.

    Recovery: the same command when the lease has ended; nobody removes anything.
    """
    seen, results = Seen(times=1), place.results(1)
    place.finish(results, jobs=1)
    record = next(folder for folder in sorted((results.folder / "runs").glob("*/*")) if "-0-" in folder.name)
    part = record.with_name(f".{'-'.join(record.name.rsplit('-', 2)[1:])}.part")
    other = place.results(1)
    claim = other.folder / part.relative_to(results.folder) / "1.claim"
    claim.parent.mkdir(parents=True)
    holder = {"pid": os.getpid(), "host": "far-away", "table": "of far-away", "born": "1", "since": "yesterday"}
    claim.write_text(json.dumps({"token": "0" * 16, **holder}))
    code, said = place.run(other, jobs=1)
    seen.exits.add(code)
    if code != 1 or "far-away" not in said or other.check() != other.size - 1:
        raise BrokenError(f"beside the claim of another machine it ended with {code}: {said[-500:]}")
    os.utime(claim, (time.time() - LEASE - 1,) * 2)
    seen.cells = place.finish(other, jobs=1)
    return seen


def stopped_beyond_its_lease(place: Place) -> Seen:
    """SIGSTOP to a command and its workers in the middle of cells, for longer than the lease; then SIGCONT.

    Expected: a second command with `--wait` takes its cells over when the lease has ended; the first notices and leaves
    them, and its late records never replace others.

    Recovery: none.
    """
    seen, results = Seen(times=1), place.results(4)
    first = place.start(results)
    while not first.ended() and not list(results.folder.glob("runs/*/*.part/*.pt")):
        time.sleep(0.01)
    os.killpg(first.process.pid, signal.SIGSTOP)
    held = len(list(results.folder.glob("runs/*/*.part/*.claim")))
    second = place.start(results, "--wait")
    if (code := second.wait()) != 0:
        os.killpg(first.process.pid, signal.SIGKILL)
        raise BrokenError(f"the one that waited ended with {code}: {second.said[-500:]}")
    results.check()
    os.killpg(first.process.pid, signal.SIGCONT)
    seen.exits = {code, first.wait()}
    if "Traceback" in first.said or not gone([first.process.pid]):
        raise BrokenError(f"the one that was stopped ended so: {first.said[-500:]}")
    seen.cells = results.complete()
    seen.notes.append(f"{held} cells were held when it was stopped; the lease is {LEASE:g} s")
    return seen


FAULTS = (two_commands, late_visibility, clocks_five_minutes_apart, host_dead, stopped_beyond_its_lease)
"""The faults of this family."""


def together(
    place: Place,
    results: Results,
    environments: Sequence[dict[str, str]],
    *,
    executors: Sequence[str | None] = (None, None),
    once: bool = True,
) -> Seen:
    """Run commands with `--wait` at once; between them they record each cell.

    Args:
        place: where.
        results: the folder.
        environments: of each command.
        executors: of each command; None is one local worker.
        once: whether no two commands may say of one cell that they recorded it.
    """
    commands = [
        place.start(results, "--wait", jobs=1, environment=environment, executor=executor)
        for environment, executor in zip(environments, executors, strict=True)
    ]
    codes = {command.wait() for command in commands}
    if codes != {0}:
        raise BrokenError(f"they ended with {sorted(codes)}: {' / '.join(command.said[-300:] for command in commands)}")
    seen = Seen(times=1, exits=codes, cells=results.complete())
    own = [OWN.findall(command.said) for command in commands]
    cells = [cell for part in own for cell in part]
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if len(set(cells)) != results.size or (once and twice):
        raise BrokenError(f"of {results.size} cells {list(map(len, own))} were recorded, twice: {twice}")
    seen.notes.append(f"they recorded {' and '.join(str(len(part)) for part in own)} cells")
    return seen
