"""What an executor is (benchmarks room): it runs cells somewhere, says what happens, and leaves a record of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .runner import Ending, Options


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell."""

    kind: Literal["started", "round", "ended", "skipped", "waiting"]
    cell: Cell
    round: int = 0
    accuracy: float | None = None
    """Mean client accuracy of the deployed view after `round`, percent."""
    ending: Ending | None = None
    reason: str = ""
    """Why a cell was skipped or is waited for; of one that ended elsewhere, where."""
    seconds: float = 0.0
    """Wall seconds since the cell was started here."""


class Executor(Protocol):
    """Runs cells and says what happens; what it needs beside them (devices, a time limit) is bound to it before.

    Closing the iterator, or an exception in it, stops what is running, which continues from its checkpoints the next
    time.
    """

    def __call__(self, cells: Sequence[Cell], store: Store, options: Options, /) -> Generator[Event, None, None]:
        """Run the cells, in this order as far as possible.

        Args:
            cells: what to run.
            store: where records go.
            options: how to run them; an executor replaces `device` by its own.
        Raises:
            RecordError: a record cannot be written.
            ConfigError: what runs the cells cannot start.
        """
