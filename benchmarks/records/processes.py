"""Which process is which (benchmarks room): told apart across containers, reboots and numbers that are given again."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def this_process() -> dict[str, Any]:
    """What names this process: `pid`, `host`, `table` (whose process numbers these are) and `born` (when it started).

    On Linux the table is a boot of a machine and a PID namespace, so that containers with one host name differ; it is
    None where the system hides either. Elsewhere host names are taken to tell machines apart.
    """
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "table": _table(), "born": _state_and_birth(pid)[1]}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process has ended, as far as that can be seen from here; False for one of another process table."""
    table = _table()
    if table is None or process.get("table") != table:
        return False
    if not _exists(process["pid"]):
        return True
    state, born = _state_and_birth(process["pid"])
    return state in ("Z", "X") or (born is not None and process.get("born") not in (None, born))


def _table() -> str | None:
    if sys.platform != "linux":
        return socket.gethostname()
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None  # another namespace's /proc: its numbers are not ours
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _state_and_birth(pid: int) -> tuple[str | None, str | None]:
    """A process's state and when it started, as the kernel writes them; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None


if sys.platform == "win32":

    def _exists(pid: int) -> bool:
        import ctypes

        synchronize, no_such_process, still_running = 0x100000, 87, 0x102
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(synchronize, False, pid))
        if not handle:
            return ctypes.get_last_error() != no_such_process
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == still_running)
        finally:
            kernel.CloseHandle(handle)

else:

    def _exists(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
