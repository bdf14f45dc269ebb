"""The floor below which a design shows nothing, whatever is run (benchmarks room); imports nothing that takes long.

The exact two-sided signed-rank test over N blocks has no p value below 2^(1 - N), reached when all blocks point the
same way. Holm first holds the least of m p values against alpha / m. So nothing can be rejected unless
2^(1 - N) <= alpha / m. More blocks than that are no promise: the chance to detect a difference is in `detection.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .result import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .table import Blocks

BLOCK_WORDS = {
    "family": ("family", "families"),
    "cluster": ("family", "families"),
    "dataset": ("data set", "data sets"),
    "setting": ("block", "blocks"),
}
"""What a block is called, one and several."""


def smallest_p(blocks: int) -> float:
    """The least two-sided p value of the exact signed-rank test over so many blocks."""
    return 2.0 ** (1 - blocks) if blocks else 1.0


def blocks_needed(tests: int, alpha: float) -> int:
    """The number of blocks from which on a family of tests can reject anything after Holm."""
    blocks = 1
    while smallest_p(blocks) > alpha / tests:
        blocks += 1
    return blocks


def families(sizes: Mapping[str, int], blocks: int, alpha: float, unit: Blocks) -> tuple[Family, ...]:
    """Whether families of tests can reject anything.

    Args:
        sizes: how many tests each has, by name.
        blocks: independent blocks, N.
        alpha: the level.
        unit: what a block is.
    """
    return tuple(_family(name, tests, blocks, alpha, unit) for name, tests in sizes.items() if tests)


def one_dataset(tests: int, alpha: float) -> str:
    """What a single data set allows, without a full stop."""
    return (
        f"one data set: only its seeds are compared; a claim over data sets needs at least "
        f"{blocks_needed(tests, alpha)} of them"
    )


def _family(name: str, tests: int, blocks: int, alpha: float, unit: Blocks) -> Family:
    needed, least = blocks_needed(tests, alpha), smallest_p(blocks)
    attainable = blocks >= needed
    one, many = BLOCK_WORDS[unit]
    correction = f" after Holm over {tests} tests" if tests > 1 else ""
    times = f", times {tests}" if tests > 1 else ""
    sentence = (
        f"{name}: with {blocks} {one if blocks == 1 else many}, no signed-rank test can reach {number(alpha)}"
        f"{correction}, however large the differences (the smallest possible p is {number(least)}{times}); "
        f"at least {needed} are needed"
    )
    return Family(name, tests, least, attainable, needed, "" if attainable else sentence)


def number(value: float) -> str:
    """A probability as text: `.05`, `.016`, `< .001`."""
    if value < 0.001:
        return "< .001"
    text = f"{value:.{3 if value < 0.1 else 2}f}"
    short = text.rstrip("0").rstrip(".") if float(text) == value else text
    return short.removeprefix("0")
