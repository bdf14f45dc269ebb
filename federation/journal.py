"""The finished rounds of a run, in a file beside its checkpoint that only grows (federation room).

    <name>.pt        the state after a round, and its `Mark`: how much of the rounds belongs to it
    <name>.rounds    a line of JSON per finished round: its values, its clients' rows, the seconds of the save before it

A round is added before the state that follows it takes its place. So what lies behind the mark is of a round whose
state was never written: the next round overwrites it. What lies before the mark has to be what was written.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fl_bench.errors import StorageError
from fl_bench.files import put_at, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

CLOCK = "seconds_checkpoint"
"""The value of a round that is known only after the round was saved; it travels with the next one."""

PIECE = 2**20
"""Bytes that are copied at a time."""


@dataclass(frozen=True)
class Mark:
    """How much of a file of rounds belongs to a state."""

    rounds: int = 0
    bytes: int = 0
    """From the beginning of the file."""
    sha256: str = hashlib.sha256().hexdigest()
    """Of these bytes; in hex."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Mark | None:
        """The mark of a checkpoint's state; None where it has none, or one that cannot be."""
        found = state.get("rounds")
        if not isinstance(found, dict) or found.keys() != asdict(cls()).keys():
            return None
        mark = cls(**found)
        counts = (mark.rounds, mark.bytes)
        return mark if all(type(count) is int and count >= 0 for count in counts) else None


def beside(checkpoint: Path) -> Path:
    """Where the finished rounds of a checkpoint are."""
    return checkpoint.with_suffix(".rounds")


class Journal:
    """The file of rounds of one run.

    Args:
        path: the file; it is made with the first round.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rounds = self._bytes = 0
        self._digest = hashlib.sha256()
        self._before: float | None = None

    @property
    def mark(self) -> Mark:
        """What belongs to the state after the last round that was added or read."""
        return Mark(self._rounds, self._bytes, self._digest.hexdigest())

    def add(self, values: Mapping[str, Any], clients: list[Any]) -> None:
        """Add a finished round; what lies behind the last one is cut off.

        Raises:
            StorageError: the disk does not take it; the next try overwrites what it took.
        """
        line = json.dumps([values, clients, self._before], separators=(",", ":")).encode() + b"\n"
        put_at(self._path, line, self._bytes)
        self._rounds += 1
        self._bytes += len(line)
        self._digest.update(line)

    def saved(self, seconds: float) -> None:
        """Keep what saving the last round took, to be written with the next."""
        self._before = seconds

    def read(self, mark: Mark) -> list[tuple[dict[str, Any], list[Any]]] | None:
        """The values and clients of the rounds up to a mark, to go on behind them; None where they are not whole.

        Raises:
            StorageError: the file is there and cannot be opened.
        """
        content = b"".join(_pieces(self._path, mark))
        digest = hashlib.sha256(content)
        if len(content) != mark.bytes or digest.hexdigest() != mark.sha256:
            return None
        try:
            rows = [_row(line) for line in content.splitlines()]
        except (ValueError, RecursionError):
            return None
        if len(rows) != mark.rounds:
            return None
        for (values, _, _), (_, _, seconds) in pairwise(rows):
            values[CLOCK] = seconds
        self._rounds, self._bytes, self._digest, self._before = mark.rounds, mark.bytes, digest, None
        return [(values, clients) for values, clients, _ in rows]


def copy_rounds(source: Path, target: Path, mark: Mark) -> bool:
    """Copy what belongs to a mark into a file of its own; False, and no copy, where it is not whole.

    Raises:
        StorageError: the source cannot be opened, or the disk does not take the copy.
    """
    digest, count = hashlib.sha256(), 0
    with replacing(target) as temporary, temporary.open("wb") as file:
        for piece in _pieces(source, mark):
            file.write(piece)
            digest.update(piece)
            count += len(piece)
    if count == mark.bytes and digest.hexdigest() == mark.sha256:
        return True
    target.unlink()
    return False


def _pieces(path: Path, mark: Mark) -> Iterator[bytes]:
    """The bytes up to a mark, as far as there are any."""
    file: BinaryIO
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    with file:
        left = mark.bytes
        while piece := file.read(min(PIECE, left)):
            left -= len(piece)
            yield piece


def _row(line: bytes) -> tuple[dict[str, Any], list[Any], float | None]:
    """One round.

    Raises:
        ValueError: it is none.
    """
    read = json.loads(line)
    match read:
        case [dict(values), list(clients), None | int() | float() as seconds]:
            return values, clients, seconds
    raise ValueError("no round")
