"""Rankings under sampling (benchmarks room): which of them are decided by clients who never took part."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lines import Line

SHOWN = 3
"""Pairs of methods that a caution spells out."""


def decided_by_new(board: Sequence[Line]) -> dict[tuple[str, str], str]:
    """A caution for each data set and setting where clients who never took part decide the order of two methods.

    They do where the mean accuracy of one method is above that of another over all clients, but not over the clients
    that took part in at least one round; deployed views count, and a difference of any size. First come the pairs in
    which the smaller of the two differences is largest.

    Args:
        board: lines of leaderboards.

    Returns:
        (dataset, setting) to a sentence, for the blocks that need one.
    """
    blocks: dict[tuple[str, str], list[tuple[str, float, float]]] = defaultdict(list)
    for line in board:
        if line.deployed and line.acc_new is not None and line.acc_mean is not None and line.acc_drawn is not None:
            blocks[line.dataset, line.setting].append((line.method, line.acc_mean, line.acc_drawn))
    return {block: said for block, methods in sorted(blocks.items()) if (said := _caution(methods))}


def _caution(methods: Sequence[tuple[str, float, float]]) -> str:
    """The caution for one block, of (method, accuracy over all clients, over those drawn); nothing without a pair."""
    decided = [
        (all_one - all_other, drawn_other - drawn_one, one, other)
        for one, all_one, drawn_one in methods
        for other, all_other, drawn_other in methods
        if all_one > all_other and drawn_one <= drawn_other
    ]
    if not decided:
        return ""
    decided.sort(key=lambda pair: (-min(pair[:2]), pair[2:]))
    named = [
        f"{one} is {above:.2f} points above {other} over all clients and {below:.2f} below over those that took part"
        for above, below, one, other in decided[:SHOWN]
    ]
    rest = [f"and {len(decided) - SHOWN} more"] if len(decided) > SHOWN else []
    pairs = "one pair" if len(decided) == 1 else f"{len(decided)} pairs"
    return f"caution: clients who never took part decide the order of {pairs} of methods ({'; '.join([*named, *rest])})"
