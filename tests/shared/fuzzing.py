"""What fuzzing has in common: how many examples, hostile values, and a guard that nothing but a refusal gets past.

In CI examples are few and always the same. `make fuzz SECONDS=600` draws other ones for so long: $FUZZ is by how much
more of them a test then takes at a time.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

FUZZ = int(os.environ.get("FUZZ", "0"))

SECONDS = 20
"""Processor seconds that no input may take."""

numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**20, 10**400, float("inf"), float("-inf"), float("nan")]),
    st.sampled_from([1e308, -1e308, 5e-324, 0.5, 1e-300, 1e18]),
    st.integers(),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        ["", "n" * 300, "n" * 5000, "9" * 5000, "..", "~nobody", "a\x00b", "\x1b[31m", "\n", "é·", "-", "?"]
    ),
    st.sampled_from(
        ["all", "none", "auto", "local", "fedmd", "digits", "npz:x", "csv:t.csv?target=a", "planted:clients=2"]
    ),
    st.text(max_size=20),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""What a value of a setting may be instead of what it should be."""


def budget(examples: int) -> settings:
    """So many examples, the same in every run; more and other ones under `make fuzz`."""
    return settings(
        max_examples=examples * max(FUZZ, 1),
        derandomize=not FUZZ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file of which some bytes are others, gone, or too many."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        what = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if what == "flip" and content:
            content[place] = draw(st.integers(0, 255))
        elif what == "cut":
            del content[place : place + draw(st.integers(1, 2000))]
        elif what == "insert":
            content[place:place] = draw(st.binary(max_size=8))
        else:
            content[place:place] = content[place : place + 16] * draw(st.integers(1, 50))
    return bytes(content)


class Hang(BaseException):
    """An input took longer than any may."""


class Escape(BaseException):
    """An input led to a write outside its folder, to a program, or to an object that data named."""


_folder: list[Path] = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
OBJECTS = {"pickle.find_class"}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folder:
        return
    if event in PROGRAMS | OBJECTS:
        raise Escape(f"{event} {arguments}")
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if (writing or event in CHANGES) and isinstance(arguments[0], str | bytes | os.PathLike):
        path = Path(os.fsdecode(arguments[0])).absolute()
        inside = Path(os.path.normpath(path)).is_relative_to(_folder[0])
        if not inside and "__pycache__" not in path.parts and str(path) != os.devnull:
            raise Escape(f"{event} {path}")


sys.addaudithook(_watch)


@contextmanager
def guarded(folder: Path, seconds: float = SECONDS) -> Iterator[None]:
    """A block that must not hang, fill the memory, run programs, or write outside the folder."""

    def ring(*_: object) -> None:
        raise Hang(f"more than {seconds} processor seconds")

    with _memory(8 * 2**30):
        if hasattr(signal, "setitimer"):
            before = signal.signal(signal.SIGVTALRM, ring)
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        _folder.append(folder.resolve())
        try:
            yield
        finally:
            _folder.pop()
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _memory(most: int) -> Iterator[None]:
    """Let the process have so much more address space at most, where that can be said."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
