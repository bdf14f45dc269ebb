"""A cell that is with a worker (benchmarks room): what was heard of it, how long it may take, how often it is tried."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .local import START_LIMIT
from .unfinished import Heard

if TYPE_CHECKING:
    from ..grid.cell import Cell
    from ..records.lease import Claim


@dataclass(frozen=True)
class Retries:
    """How often a cell is tried again, by what ended it; from its newest checkpoint."""

    node: int = 5
    """Its node or the connection was lost, or what came over it was garbled."""
    crash: int = 1
    """Its worker process died: a crash of a library, or the kernel out of memory."""


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
    """When the cell's own work began; until then when the job was made. By the monotonic clock."""
    running: bool = False
    """Whether the cell's own work has begun."""
    over: bool = False
    """Whether nothing more is expected of the worker."""
    spoilt: bool = False
    """Whether the worker must be replaced."""
    heard: Heard = field(default_factory=Heard)
    parts: list[bytes] = field(default_factory=list)
    """Those that came of a checkpoint."""
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
