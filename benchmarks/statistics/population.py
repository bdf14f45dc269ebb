"""What a claim is about (benchmarks room): which observations, which network, which partition, in one phrase."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .power import BLOCK_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .table import Blocks, Table

NAMED = 3
"""Up to so many networks or partitions are named; of more, their number."""


def population(table: Table, blocks: Blocks = "family", count: int | None = None) -> str:
    """The population of a claim: `9 families (10 data sets), mlp-64, latent-groups`.

    Args:
        table: what was compared.
        blocks: what counts as one observation.
        count: how many observations the claim rests on, where methods lack some; all of the table without it.
    """
    conditions = table.conditions
    said = [
        observations(table, blocks, count),
        _named({at.network for at in conditions}, "networks"),
        _named({at.partition for at in conditions}, "partitions"),
    ]
    several = averaged_settings(table, blocks)
    return ", ".join(filter(None, [*said, f"averaged over {several} settings" if several > 1 else ""]))


def averaged_settings(table: Table, blocks: Blocks = "family") -> int:
    """The most settings of a data set that a claim averages over; 1 where each stands for itself."""
    if blocks == "setting":
        return 1
    counts = Counter(at.dataset for at in table.conditions)
    return max(counts.values(), default=1)


def observations(table: Table, blocks: Blocks = "family", count: int | None = None) -> str:
    """How many independent observations, and of what: `10 data sets`, `9 families (10 data sets)`, `20 blocks`."""
    number = len(table.block_labels(blocks)) if count is None else count
    one, several = BLOCK_WORDS[unit(table, blocks)]
    text = f"{number} {one if number == 1 else several}"
    if several == "families" and number == len(table.families):
        text += f" ({len(table.datasets)} data sets)"
    return text


def unit(table: Table, blocks: Blocks) -> Blocks:
    """What to call a block: a family only where any has several data sets."""
    if blocks in ("family", "cluster") and len(table.families) == len(table.datasets):
        return "dataset"
    return blocks


def _named(values: Iterable[str], what: str) -> str:
    names = sorted(filter(None, values))
    return " and ".join(names) if len(names) <= NAMED else f"{len(names)} {what}"
