"""Disks (benchmarks room): full, out of inodes, or with errors at each kind of write and read."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .seen import BrokenError, NotHereError, Seen
from .shim import failing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from .place import Place

WRITES = (
    ("open", "/.probe-", 0),
    ("mkdir", ".part", 0),
    ("open", ".claim", 0),
    ("write", ".claim", 0),
    ("open", ".rounds", 0),
    ("write", ".rounds", 0),
    ("fsync", ".rounds", 1),
    ("write", ".rounds", 1),
    ("open", ".pt", 0),
    ("write", ".pt", 0),
    ("write", ".pt", 40),
    ("fsync", ".pt", 1),
    ("rename", ".pt", 2),
    ("mkdir", ".record", 0),
    ("open", "run.json", 0),
    ("write", "rounds.csv", 0),
    ("write", "run.json", 0),
    ("fsync", "clients.csv", 0),
    ("rename", "-0-", 0),
)
"""Every kind of write of a run: the call, what its path has, and how many such calls go well before."""

READS = (("read", ".claim", 1), ("read", ".pt", 2), ("read", ".rounds", 0))
"""Kinds of reads of what processes leave to each other."""

PAGE = 4096
"""Bytes by which a tmpfs fills."""


def full_at_each_kind_of_write(place: Place) -> Seen:
    """Each kind of write of a run (claim, checkpoint, record; create, write, fsync, rename) fails with ENOSPC in turn,
    on the same folder.

    Expected: exit code 1 with the system's words (2 where the folder takes nothing from the start); no record says
    `failed`, what is finished and checkpointed stays.

    Recovery: the same command, when there is room.
    """
    return _fail(place, WRITES, "ENOSPC", times=-1)


def input_output_error(place: Place) -> Seen:
    """The same kinds of writes fail once with EIO, and reads of claims and checkpoints.

    Expected: exit code 1 or 2 with the system's words, or 0 where the run can do without; no record says `failed`.

    Recovery: the same command.
    """
    return _fail(place, WRITES + READS, "EIO")


def stale_file_handle(place: Place) -> Seen:
    """The same kinds of writes and reads fail once with ESTALE, as NFS says of what another client has replaced.

    Expected: exit code 1 or 2 with the system's words, or 0 where the run can do without; no record says `failed`.

    Recovery: the same command.
    """
    return _fail(place, WRITES + READS, "ESTALE")


def full_disk(place: Place) -> Seen:
    """A real tmpfs of 8 MiB is full but for 0, 1, 2, 4, ... pages, more in each run on the same folder.

    Expected: exit code 1 or 2 and `No space left on device` until there is enough; no record says `failed`.

    Recovery: the same command, when there is room.
    """
    return _fill(place, "size=8m", _leave_pages)


def no_inodes(place: Place) -> Seen:
    """A real tmpfs has no inodes left but 0, 1, 2, 4, ..., more in each run on the same folder.

    Expected: exit code 1 or 2 and `No space left on device` until there are enough; no record says `failed`.

    Recovery: the same command, when there is room.
    """
    return _fill(place, "size=64m,nr_inodes=300", _leave_inodes)


FAULTS = (full_at_each_kind_of_write, full_disk, no_inodes, input_output_error, stale_file_handle)
"""The faults of this family."""


def _fail(place: Place, kinds: Sequence[tuple[str, str, int]], error: str, *, times: int = 1) -> Seen:
    """Let one kind of call after the other fail on the same folder; what is left is finished without."""
    seen, words = Seen(), os.strerror(getattr(errno, error))
    results = place.results(1)
    survived, missed = [], []
    for call, match, after in kinds[: place.times(len(kinds))]:
        environment = failing(place, results.folder, call, error, match=match, after=after, times=times)
        code, said = place.run(results, jobs=1, environment=environment)
        if not Path(environment["FAULTS_HIT"]).exists():
            missed.append(f"{call} of {match}")
            if code != 0:
                raise BrokenError(f"a run without a fault ended with {code}: {said[-500:]}")
        else:
            seen.times += 1
            seen.exits.add(code)
            if code not in (0, 1, 2) or "Traceback" in said or (code and words not in said):
                raise BrokenError(f"{call} of {match} failed with {error}, and the run with {code}: {said[-500:]}")
            if code == 0:
                survived.append(f"{call} of {match}")
        results.check()
        if code == 0:  # nothing is left to fail on
            seen.cells += results.complete()
            results = place.results(1)
    if results.folder.exists():
        seen.cells += place.finish(results, jobs=1)
    if survived:
        seen.notes.append(f"the run went on after {', '.join(survived)}")
    if missed:
        seen.notes.append(f"the run has no {', '.join(missed)}, which was not hit")
    return seen


def _fill(place: Place, options: str, leave: Callable[[Path, int], AbstractContextManager[None]]) -> Seen:
    seen = Seen()
    with _tmpfs(place, options) as disk:
        results = place.results(1, disk / "results")
        left = 0
        while True:
            with leave(disk, left):
                code, said = place.run(results, jobs=1)
            if code == 0:
                seen.cells += results.complete()
                break
            if code not in (1, 2) or os.strerror(errno.ENOSPC) not in said or "Traceback" in said:
                raise BrokenError(f"with {left} left it ended with {code}: {said[-500:]}")
            seen.times += 1
            seen.exits.add(code)
            results.check()
            left = max(1, 2 * left)
    return seen


@contextmanager
def _tmpfs(place: Place, options: str) -> Iterator[Path]:
    """A small disk of its own.

    Raises:
        NotHereError: it cannot be mounted.
    """
    disk = place.new_folder("disk")
    disk.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True)
    except FileNotFoundError:
        raise NotHereError("there is no `mount`") from None
    if done.returncode != 0:
        raise NotHereError(f"a tmpfs cannot be mounted, which takes root: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


@contextmanager
def _leave_pages(disk: Path, pages: int) -> Iterator[None]:
    """Fill a disk but for some pages."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * PAGE):
            pass
    os.truncate(filler, max(0, filler.stat().st_size // PAGE - pages) * PAGE)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _leave_inodes(disk: Path, inodes: int) -> Iterator[None]:
    """Fill a disk with empty files but for some inodes."""
    made: list[Path] = []
    with suppress(OSError):
        while True:
            made.append(disk / f"filler-{len(made)}")
            made[-1].touch()
    for path in made[max(0, len(made) - 1 - inodes) :]:
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)
