"""Records that cannot be read, as commands treat them (benchmarks room): named, left out, and told by the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables.terminal import say
from .options import FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..records.record import Record, Table

SHOWN = 10
"""Damaged records that are named one by one."""


def read_undamaged(results: Path, *tables: Table) -> tuple[list[Record], int]:
    """The records of a results folder or a bundle; damaged ones are named on standard error and left out.

    Args:
        results: the folder or the bundle.
        tables: which of their tables must be readable, too.
    Returns:
        The records, at least one, and the exit code that a command ends with when all else goes well.

    Raises:
        ConfigError: there are no records.
        DataError: the bundle cannot be read, or no record can.
    """
    from ..records.store import read_results
    from .progress import saying

    with saying(f"reading the records of {results}"):
        records, damaged = read_results(results, tables)
    say_damaged([one.problem for one in damaged])
    return records, FAILED if damaged else 0


def say_damaged(problems: Sequence[str]) -> None:
    """Name damaged records on standard error; nothing where there are none."""
    for problem in problems[:SHOWN]:
        say(f"left out, damaged: {problem}")
    if len(problems) > SHOWN:
        say(f"left out, damaged: {len(problems) - SHOWN} more; `fl-bench fsck RESULTS` names them all")
