"""Why runs have no number (benchmarks room): each reason once, with the runs that it holds for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..records.record import Record

NAMED = 3
"""Further methods that are named beside the first run of a reason."""


def say_reasons(records: Iterable[Record], more: Callable[[Record], str] = lambda _: "") -> None:
    """Say on standard error why runs are not `done`; nothing where all are.

    Args:
        records: any, of whatever status.
        more: what there is to say of the first run of a reason beside.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status != "done":
            groups.setdefault((record.status, record.reason or "no reason is on record"), []).append(record)
    for (status, reason), (first, *others) in groups.items():
        say(f"{status}: {first.folder}: {reason}{more(first)}{_others(others)}")


def _others(records: list[Record]) -> str:
    """Further runs that ended alike, in words."""
    if not records:
        return ""
    names = list(dict.fromkeys(f"{one.label} on {one.cell['dataset']}" for one in records))
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" (and so {len(records)} more: {', '.join(names[:NAMED])}{rest})"
