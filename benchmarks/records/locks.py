"""Locks of cells (benchmarks room): who runs one, across processes and across machines that share a folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Locked(FLBenchError):
    """Another process is running the cell."""


def take_lock(path: Path) -> None:
    """Write a lock that names this process; one whose process is gone from this machine is taken over.

    Raises:
        Locked: another process holds it, here or on another machine; says which, and how to break a lock that a dead
            machine left.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only processes of this machine judge a lock of this machine, one after the other under `flock`: so none
    # takes away a lock that another has just taken over.
    with _turn(path.parent):
        holder = _holder(path)
        if holder is not None and not _is_gone(holder):
            raise Locked(
                f"process {holder['pid']} on {holder['host']} is running it (if that is no more: remove {path})"
            )
        path.unlink(missing_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            raise Locked(f"another machine has just taken it ({path})") from None
        with os.fdopen(handle, "w") as file:
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "born": _birth(os.getpid())}, file)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock; None for no lock. An unreadable one is being written this moment: someone holds it."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        holder = None
    return holder if isinstance(holder, dict) and {"pid", "host"} <= holder.keys() else {"pid": "?", "host": "?"}


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder ran on this machine and does no more; a process number may have been given away again."""
    if holder["host"] != socket.gethostname():
        return False
    pid = holder["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return holder.get("born") != _birth(pid)


def _birth(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
