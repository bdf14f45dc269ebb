"""What would run again since the code's numbers moved (benchmarks room): cells with a record of an older protocol."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..grid.cell import Cell
    from ..records.record import Record


def outdated(cells: Iterable[Cell], records: Iterable[Record]) -> dict[str, str]:
    """What moved since the newest older record of a cell (`rounds 1 -> 2`), by key; cells without one are left out.

    Args:
        cells: those that would run.
        records: where to look, in one pass.
    """
    waiting = {cell.identity: cell for cell in cells}
    older = superseded_by(waiting.values(), records)
    return {
        waiting[record.identity].key: record.protocol.until(waiting[record.identity].protocol)
        for record in sorted(older, key=lambda record: record.protocol)
    }


def superseded_by(cells: Iterable[Cell], records: Iterable[Record]) -> list[Record]:
    """The records of cells that are of an older protocol than the cells; what is left of such runs nobody continues."""
    waiting = {cell.identity: cell.protocol for cell in cells}
    return [record for record in records if record.identity in waiting and record.protocol < waiting[record.identity]]


def sentence(moved: Mapping[str, str], cells: Sequence[Cell]) -> str:
    """How many cells of a grid run again and what moved; nothing where it is none.

    Args:
        moved: what `outdated` says.
        cells: of the grid.
    """
    if not moved:
        return ""
    moves = Counter(moved.values()).most_common()
    words = "; ".join(move if len(moves) == 1 else f"{move} ({count})" for move, count in moves)
    return (
        f"{len(moved)} of {len(cells)} runs have records of an older protocol: {words}; "
        "they run again, the old records stay"
    )
