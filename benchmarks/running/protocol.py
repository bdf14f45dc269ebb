"""The worker protocol (benchmarks room): what goes to a node and what comes back, as JSON, every part of it checked.

A worker (`worker.py`) reads one order a line and writes one message a line:

    Order       cells, plugins as text, options, what the node has to be equal to, checkpoints to go on from (order.py)
    Hello       what the node is (`handshake.Setup`)
    Refused     the node differs from what the order expects; nothing was run
    Started     libraries and data are loaded, the cell's own work begins
    Finished    a finished round, those of a restored checkpoint first
    Kept        a part of the newest checkpoint
    Recorded    the files of a record, where the node shares no results folder with us; the cell has ended
    Ended       the cell has ended, and its record is in the folder that we share
    Late        the cell reached its time limit; the worker ends
    Skipped     another process is running the cell
    Broken      the worker can do nothing: an order that it cannot read, a plugin that fails, a disk that is full

Nothing that a node says is trusted, and nothing is executed: lines are bounded, types are strict, an unknown key or
version is an error, and no name is a path. Python code travels in one direction only: plugins, to the nodes, which run
it with the rights of whoever started them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..grid.configure import show_value
from .handshake import Setup  # noqa: TC001 - messages are read by their annotations
from .wire import PROTOCOL, ProtocolError, check_version, encoded, from_line, read_as, to_line

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_CHECKPOINT = 2**29
"""Bytes of the largest checkpoint that travels. A larger one stays there; a run whose node is lost then starts anew."""

PART = 2**22
"""Bytes of a checkpoint in one message."""


@dataclass(frozen=True)
class Hello:
    """What the node is."""

    setup: Setup
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Refused:
    """The node runs nothing of the order, because its numbers would be others."""

    node: str
    """The name of the machine."""
    reasons: tuple[str, ...]
    """Every difference, in words."""


@dataclass(frozen=True)
class Started:
    """The cell's own work begins."""

    key: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A finished round."""

    key: str
    round: int
    accuracy: float | None
    """Mean client accuracy of the deployed view, percent."""
    memory: tuple[int, int] | None
    """On a GPU: the most bytes that the worker has taken, and those that are free."""
    capacity: int | None
    """On a GPU: the bytes of memory that it has."""
    facts: dict[str, Any]
    """What a record would say beside its rounds."""
    values: dict[str, float | int | None]
    """The row of the round."""
    clients: tuple[dict[str, float | int | str | None], ...]
    """The rows of its clients."""


@dataclass(frozen=True)
class Kept:
    """A part of the newest checkpoint."""

    key: str
    sha256: str
    """Of the whole, and of `place` and `rounds`."""
    place: int
    """Bytes of finished rounds that came before in this attempt."""
    rounds: int
    """Bytes of the whole, its first, that are finished rounds; the others are the state after them."""
    part: int
    """Which part it is, from 0; they come in order."""
    parts: int
    content: str
    """Base64."""

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts <= MOST_CHECKPOINT // PART or self.place < 0 or self.rounds < 0:
            raise ProtocolError(f"part {self.part} of {self.parts} of a checkpoint cannot be")

    def is_of(self, content: bytes) -> bool:
        """Whether this is the whole that was sent."""
        return self.rounds <= len(content) <= MOST_CHECKPOINT and _digest_of_kept(self.place, self.rounds, content) == (
            self.sha256
        )


@dataclass(frozen=True)
class Recorded:
    """The record of a cell."""

    key: str
    files: dict[str, str]
    """The texts of `run.json`, `rounds.csv` and `clients.csv`."""
    sha256: str
    """Of the texts, in this order."""

    @classmethod
    def of(cls, key: str, files: Mapping[str, str]) -> Recorded:
        """The message for the files of a record."""
        return cls(key, dict(files), _digest_of(files))

    def __post_init__(self) -> None:
        if _digest_of(self.files) != self.sha256:
            raise ProtocolError("a record is not the one that was sent")


@dataclass(frozen=True)
class Ended:
    """The cell's record is in the folder that we share."""

    key: str


@dataclass(frozen=True)
class Late:
    """The cell reached its time limit."""

    key: str


@dataclass(frozen=True)
class Skipped:
    """Another process is running the cell."""

    key: str
    reason: str


@dataclass(frozen=True)
class Broken:
    """The node can work no more."""

    reason: str
    storage: bool = False
    """Whether its disk takes no checkpoint or record."""


Message: TypeAlias = "Hello | Refused | Started | Finished | Kept | Recorded | Ended | Late | Skipped | Broken"

MESSAGES: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Hello, Refused, Started, Finished, Kept, Recorded, Ended, Late, Skipped, Broken)
}
"""What `kind` may say."""


LAST = (Recorded, Ended, Skipped, Late, Refused, Broken)
"""Messages after which a worker says no more about an order of one cell."""


def message_line(message: Message) -> bytes:
    """A message as a line of JSON, with its end."""
    return to_line({"kind": type(message).__name__.lower(), **asdict(message)})


def read_message(line: bytes) -> Message:
    """What a worker said.

    Raises:
        ProtocolError: it is no message of this version.
    """
    values = from_line(line, "a message")
    kind = MESSAGES.get(str(values.pop("kind", None)))
    if kind is None:
        raise ProtocolError(f"no message begins like {show_value(line[:80])}")
    check_version(values, "the node")
    message: Message = read_as(kind, values, f"message {kind.__name__.lower()}", nested=kind is Hello)
    return message


def parts_of(key: str, state: bytes, rounds: bytes, place: int) -> list[Kept]:
    """A checkpoint as messages; none where it is too large to travel.

    Args:
        key: of the cell.
        state: the state after a round.
        rounds: the rounds that were finished since the last time.
        place: bytes of rounds that were sent before.
    """
    content = rounds + state
    if not 0 < len(content) <= MOST_CHECKPOINT:
        return []
    digest, starts = _digest_of_kept(place, len(rounds), content), range(0, len(content), PART)
    return [
        Kept(key, digest, place, len(rounds), part, len(starts), encoded(content[start : start + PART]))
        for part, start in enumerate(starts)
    ]


def _digest_of_kept(place: int, rounds: int, content: bytes) -> str:
    digest = hashlib.sha256(f"{place} {rounds} ".encode())
    digest.update(content)
    return digest.hexdigest()


def _digest_of(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for text in files.values():
        digest.update(text.encode())
    return digest.hexdigest()
