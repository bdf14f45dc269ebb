"""A cell that is with a worker (benchmarks room): what was heard of it, how long it may take, how often it is tried."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .local import START_LIMIT
from .unfinished import Heard
from .wire import ProtocolError, decoded

if TYPE_CHECKING:
    from ..grid.cell import Cell
    from ..records.lease import Claim
    from .protocol import Kept


@dataclass(frozen=True)
class Retries:
    """How often a cell is tried again, by what ended it; from its newest checkpoint."""

    node: int = 5
    """Its node or the connection was lost, or what came over it was garbled."""
    crash: int = 1
    """Its worker process died: a crash of a library, or the kernel out of memory."""
    memory: int = 1
    """It ran out of GPU memory within its share, which is doubled."""


@dataclass
class Job:
    """A cell that is with a worker."""

    cell: Cell
    order: bytes
    """The line to send."""
    timeout: float | None
    """Seconds that it may take from when it has started."""
    node: str = ""
    """The worker's machine, once it said so."""
    began: float = field(default_factory=time.monotonic)
    """When the cell's own work began; until then when the job was made, or reached its worker. By the monotonic
    clock."""
    running: bool = False
    """Whether the cell's own work has begun."""
    over: bool = False
    """Whether nothing more is expected of the worker."""
    spoilt: bool = False
    """Whether the worker must be replaced."""
    share: float | None = None
    """How much of a GPU's memory the worker may take; None: all that there is."""
    memory: tuple[int, int] | None = None
    """On a GPU: the most bytes that the worker has taken so far, and the bytes of the GPU."""
    heard: Heard = field(default_factory=Heard)
    parts: list[bytes] = field(default_factory=list)
    """Those that came of a checkpoint."""
    rounds: int = 0
    """Bytes of finished rounds that came, all in all."""
    claim: Claim | None = None
    """The claim to the cell; None where the worker makes it."""
    held: ExitStack = field(default_factory=ExitStack)
    """Lets go of the cell."""

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def limit(self) -> float | None:
        """When it is late, by the monotonic clock; None for never."""
        seconds = self.timeout if self.running else START_LIMIT
        return None if seconds is None else self.began + seconds

    def put_together(self, part: Kept) -> tuple[bytes, bytes] | None:
        """The state and the new rounds of a checkpoint, when its last part has come; None until then.

        Raises:
            ProtocolError: parts come in another order, or make another checkpoint than the one that was sent.
        """
        if part.part == 0:
            self.parts.clear()
        if part.part != len(self.parts):
            raise ProtocolError(f"part {part.part} of a checkpoint came as number {len(self.parts)}")
        if part.place != self.rounds:
            raise ProtocolError(f"finished rounds came from byte {part.place} on, and {self.rounds} bytes had come")
        self.parts.append(decoded(part.content, "a part of a checkpoint"))
        if len(self.parts) < part.parts:
            return None
        content = b"".join(self.parts)
        self.parts.clear()
        if not part.is_of(content):
            raise ProtocolError("a checkpoint is not the one that was sent")
        self.rounds += part.rounds
        return content[part.rounds :], content[: part.rounds]
