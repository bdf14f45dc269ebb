"""Families of data sets in a comparison (benchmarks room): which belong together, and what a reader must know."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ...datasets.overlap import known_overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...datasets.overlap import Overlap
    from .table import Blocks, Table


def regrouped(table: Table, asked: Sequence[str]) -> Table:
    """The table with other families than its data sets declare.

    Args:
        table: the table.
        asked: `name=family` for a data set, or a word for all data sets whose names begin with it.
    Raises:
        ConfigError: something asked names no data set of the table, or a data set is put into two families.
    """
    families = {at.dataset: at.family for at in table.conditions}
    placed: Counter[str] = Counter()
    for part in asked:
        name, mark, family = part.partition("=")
        members = [one for one in table.datasets if (one == name if mark else one.startswith(name))]
        if not members or (mark and not family):
            raise ConfigError(
                f"--families: {part!r} names no data set of this table; write name=family, or how the names of "
                f"a family begin (data sets here: {', '.join(table.datasets)})"
            )
        families |= dict.fromkeys(members, family or name)
        placed.update(members)
    if twice := [name for name, count in placed.items() if count > 1]:
        raise ConfigError(f"--families puts {twice[0]} into two families; name each data set once")
    return table.with_families(families)


def together(table: Table, blocks: Blocks) -> list[str]:
    """What counts as one observation, and why; and known overlaps between data sets that count apart."""
    how = "their signs turn together" if blocks == "cluster" else "averaged first"
    notes = []
    for unit, members in table.families.items():
        if len(members) > 1 and blocks in ("family", "cluster"):
            shared = [str(found) for found in _overlaps(table, members)]
            why = f"; {'; '.join(shared)}" if shared else ""
            notes.append(f"{_listed(members)} are one family, {unit}: one observation, {how}{why}")
    inside = {frozenset((one, other)) for names in table.families.values() for one in names for other in names}
    for found in _overlaps(table, table.datasets):
        if frozenset((found.first, found.second)) not in inside:
            notes.append(f"{found}: they count as two observations here and are not independent")
    return notes


def _overlaps(table: Table, names: Sequence[str]) -> list[Overlap]:
    """What is known of rows that some data sets of the table share."""
    found = [one for one in table.overlaps if {one.first, one.second} <= set(names)]
    return [*known_overlaps(names), *found]


def apart(table: Table) -> list[str]:
    """The caution of a comparison that takes data sets of one family for independent; nothing where there are none."""
    families = [f"{_listed(names)} ({unit})" for unit, names in table.families.items() if len(names) > 1]
    if not families:
        return []
    return [
        f"data sets of one family count as independent observations, which they are not: {'; '.join(families)}; tests "
        "over them reject too often (docs/statistics.md), and intervals are too short"
    ]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
