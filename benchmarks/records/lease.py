"""Leases of cells (benchmarks room): who runs a cell, among processes and machines that share a folder.

A cell that has begun and not ended has a folder. Whoever wants to run it makes a claim, and claims have numbers:

    <n>.claim            who made claim n; the file's time is renewed while the holder lives
    <n>-<token>.pt       the last checkpoint that was written under claim n
    <n>-<token>.rounds   the finished rounds that belong to it
    <n>-<token>.record   a record that is being written under claim n

A claim is a file that must not exist when it is created, so one process makes claim n. It is over when its process is
gone from this machine, or when nothing has renewed it for `LEASE` seconds; then the next process makes claim n + 1 and
removes it. A holder whose claim is not there any more has lost the cell: it notices after its round, or before its
record gets a name, and stops. This takes a file system that creates and renames files in one step, and no `flock`.

A claim's age is the difference of two times from the file system, which on a file server are the server's. Where they
are those of clients, clocks that disagree by longer than the lease end it too early or too late. That, or a process
that was stopped for longer than its lease, makes two processes run one cell for a while. It costs time and no truth:
each writes files that are named after its own claim, and one record gets the name that must not exist before.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import secrets
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

from .processes import is_gone, this_process
from .record import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LEASE = 120.0
"""Seconds for which a claim holds without being renewed: what a dead machine costs those that wait for its cell."""

HEARTBEAT = 20.0
"""Seconds between renewals; six may fail before the lease is over."""

EMPTY = 5.0
"""Seconds for which an empty claim holds: whoever made it says at once whose it is, unless it is killed in between. One
that was held up for longer finds the next claim, and steps back."""

TRIES = 20
"""How often a process tries to claim a cell that others claim at the same moment, before it says that they have it."""

FULL_CLAIM = 4096
"""Bytes that are read of a claim; one has about 300."""

NOT_OURS = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says of a folder that this process may not write to."""

CONTINUED = (".pt", ".rounds")
"""What a claim leaves to the next one, which goes on from it."""


_held: list[Claim] = []
"""What this process holds."""


class Held(FLBenchError):
    """Another process is running the cell; says which, since when, and when its lease ends."""


class Lost(Held):
    """This process held the cell, but was stopped for longer than its lease, and another has taken it over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a cell."""

    number: int
    """Of the claim."""
    age: float
    """Seconds since it was renewed, by the file system's clock."""
    about: Mapping[str, Any] | None
    """What the claim says: `token`, `since` and the process; None where it was not written to its end."""
    empty: bool = False
    """Whether it says nothing at all."""

    def is_over(self) -> bool:
        """Whether another process may take the cell."""
        limit = EMPTY if self.empty else LEASE
        return self.age >= limit or (self.about is not None and is_gone(self.about))

    def __str__(self) -> str:
        ends = datetime.now(UTC) + timedelta(seconds=(EMPTY if self.empty else LEASE) - self.age)
        lease = f"its lease ends at {ends:%H:%M:%S} UTC unless it is renewed"
        if self.about is None:
            return f"a process that has not said its name has it; {lease}"
        who = f"process {self.about['pid']} on {self.about['host']}"
        return f"{who} has been running it since {self.about['since']}; {lease}"


@dataclass(frozen=True)
class Claim:
    """This process's claim to a cell."""

    folder: Path
    number: int
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells it from a later claim of the same number."""

    @property
    def path(self) -> Path:
        """The file that says so."""
        return self.folder / f"{self.number}.claim"

    @property
    def checkpoint(self) -> Path:
        """Where to keep the run's checkpoint; nobody else writes there."""
        return self.folder / f"{self.number}-{self.token}.pt"

    @property
    def record(self) -> Path:
        """Where to write the record before it gets its name; nobody else writes there."""
        return self.folder / f"{self.number}-{self.token}.record"

    def check(self) -> None:
        """Make sure that the cell is still held.

        Raises:
            Lost: another process has taken it over.
            RecordError: the file system does not say.
        """
        try:
            lost = not self._is_there()
        except OSError as error:
            raise RecordError(f"cannot read the claim {self.path}: {error.strerror}") from error
        if lost:
            now = holder(self.folder)
            raise Lost(
                f"this process was stopped, or cut off from the disk, for longer than its lease of {LEASE:g} s; "
                + (f"now {now}" if now is not None else "another has taken the cell over meanwhile, and left it")
            )

    def clear(self) -> None:
        """Remove what this claim and earlier ones left, this claim too; what a later one wrote stays."""
        _remove(self.folder, lambda number, _: number <= self.number)

    def renew(self) -> bool:
        """Make the lease last `LEASE` seconds from now; False when the claim is gone."""
        with suppress(OSError):  # the next one may get through
            if not self._is_there():
                return False
            os.utime(self.path)
        return True

    def release(self) -> None:
        """Let others have the cell; where one has taken it over, take away what this process wrote since."""
        with suppress(OSError):  # a claim that stays is over after its lease
            if self._is_there():
                self.path.unlink()
            else:
                _remove(self.folder, lambda _, path: path.name.startswith(f"{self.number}-{self.token}."))
        with suppress(OSError):
            self.folder.rmdir()  # where nothing is left in it

    def _is_there(self) -> bool:
        try:
            about = _read(self.path)
        except FileNotFoundError:
            return False
        return about is not None and about["token"] == self.token


@contextmanager
def claiming(folder: Path) -> Iterator[Claim]:
    """Hold the cell of a folder; a thread renews the lease meanwhile.

    Raises:
        Held: another process holds it.
        RecordError: the claim cannot be written.
    """
    try:
        claim = _claim(folder)
    except OSError as error:
        raise RecordError(f"cannot claim {folder}: {error.strerror or error}") from error
    released = threading.Event()
    heart = threading.Thread(target=_beat, args=(claim, released), name=f"lease of {folder.name}", daemon=True)
    heart.start()
    _held.append(claim)
    try:
        yield claim
    finally:
        _held.remove(claim)
        released.set()
        heart.join(timeout=1.0)  # a file system that hangs keeps the thread, and not the run
        claim.release()


def release_all() -> None:
    """Let others have all that this process holds, which is about to end at once."""
    for claim in list(_held):
        claim.release()


def holder(folder: Path) -> Holder | None:
    """Who holds the cell of a folder; None when nobody does.

    Where this process may not write, the ages of claims are by the clock of this machine.

    Raises:
        RecordError: the file system does not say.
    """
    try:
        return max(_holders(folder, read_only=True), key=lambda held: held.number, default=None)
    except OSError as error:
        raise RecordError(f"cannot read the claims in {folder}: {error.strerror}") from error


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """What is in a folder, with the number of the claim that it belongs to; 0 for what belongs to none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [(int(found[1]) if (found := re.match(r"\.?(\d{1,9})[-.]", name)) else 0, folder / name) for name in names]


def _beat(claim: Claim, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT) and claim.renew():
        pass


def _claim(folder: Path) -> Claim:
    for attempt in range(TRIES):
        if others := _holders(folder):
            raise Held(str(others[-1]))
        claim = Claim(folder, _highest(folder) + 1)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = claim.path.open("x", encoding="utf-8")
        except (FileExistsError, FileNotFoundError):
            continue  # another was quicker, or has just cleaned up
        try:
            with file:
                since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
                json.dump({"token": claim.token, **this_process(), "since": since}, file)
            # One that looked before an earlier holder left may have taken another number. Each looks again when its
            # claim is there: of two such processes one sees the other at least, and who sees another steps back.
            others = [held for held in _holders(folder) if held.number != claim.number]
            if not others and claim.number == _highest(folder):
                _supersede(claim)
                return claim
        except BaseException:
            with suppress(OSError):
                claim.path.unlink()
            raise
        claim.release()
        time.sleep(random.uniform(0.0, 0.002 * 2 ** min(attempt, 6)))
    others = _holders(folder)
    raise Held(str(others[-1]) if others else "several processes want it at once")


def _supersede(claim: Claim) -> None:
    """Take away the claims before this one, which are over, and what their holders were writing."""
    _remove(claim.folder, lambda number, path: number < claim.number and path.suffix not in CONTINUED)
    left = [path for number, path in numbered(claim.folder) if number < claim.number and path.suffix == ".claim"]
    if left:
        raise PermissionError(errno.EACCES, f"{left[0].name}, which is over, cannot be removed")


def _holders(folder: Path, *, read_only: bool = False) -> list[Holder]:
    """The claims that are not over, by number.

    Args:
        folder: of the cell.
        read_only: whether a folder will do that takes no file.
    """
    found, now = [], None
    for number, path in sorted(numbered(folder)):
        if path.suffix != ".claim":
            continue
        try:
            about, stat = _read(path), path.stat()
            now = _now(folder, read_only=read_only) if now is None else now
        except FileNotFoundError:  # it has just been released
            continue
        held = Holder(number, now - stat.st_mtime, about, empty=stat.st_size == 0)
        if not held.is_over():
            found.append(held)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """What a claim says; None where that was not written to its end, or is no claim."""
    try:
        text = _content(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        text = _content(path)  # what was opened is gone from the file server; another look says what is there now
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(about, dict) or not all(isinstance(about.get(name), str) for name in ("token", "host", "since")):
        return None
    pid = about.get("pid")
    return about if type(pid) is int and 0 < pid < 2**31 else None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FULL_CLAIM)


def _now(folder: Path, *, read_only: bool) -> float:
    """The time, as the folder's file system has it."""
    probe = folder / f"{secrets.token_hex(8)}.now"
    try:
        with probe.open("wb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError as error:
        if read_only and error.errno in NOT_OURS:
            return time.time()
        raise
    finally:
        with suppress(OSError):
            probe.unlink()


def _highest(folder: Path) -> int:
    return max((number for number, _ in numbered(folder)), default=0)


def _remove(folder: Path, which: Callable[[int, Path], bool]) -> None:
    for number, path in numbered(folder):
        if which(number, path):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
