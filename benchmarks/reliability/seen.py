"""What comes of a fault (benchmarks room): what was seen, or harm, or that it cannot be injected here."""

from __future__ import annotations

from dataclasses import dataclass, field


class NotHereError(Exception):
    """The fault cannot be injected on this machine; says what is missing."""


class BrokenError(Exception):
    """The fault did harm that it must not do; says what."""


@dataclass
class Seen:
    """What was seen while a fault was injected."""

    times: int = 0
    """How often it was injected."""
    kills: int = 0
    """How many of these were SIGKILL to a process, a group of processes or a node."""
    exits: set[int] = field(default_factory=set)
    """Exit codes of the commands that it hit; negative for a signal."""
    cells: int = 0
    """Records that were compared with those of an uninterrupted run, and equal."""
    notes: list[str] = field(default_factory=list)
    """What else the page says, in sentences."""
