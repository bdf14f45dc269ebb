"""What a design can show at all, before anything is run (benchmarks room); imports nothing that takes long.

The exact two-sided signed-rank test over N blocks has no p value below 2^(1 - N), reached when all blocks point the
same way. Holm first holds the least of m p values against alpha / m. So nothing can be rejected unless
2^(1 - N) <= alpha / m.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .result import Family

if TYPE_CHECKING:
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


def families(methods: int, blocks: int, alpha: float, unit: Blocks, *, control: bool) -> tuple[Family, ...]:
    """Both families of tests of a comparison: against the control, and all pairs.

    Args:
        methods: how many are compared, the control among them.
        blocks: independent blocks, N.
        alpha: the level.
        unit: what a block is.
        control: whether there is a control; else all pairs are the only family, as the control is with two methods.
    """
    sizes = {"against the control": methods - 1, "all pairs": methods * (methods - 1) // 2}
    return tuple(
        _family(name, tests, blocks, alpha, unit)
        for name, tests in sizes.items()
        if tests and (name == "all pairs" if not control else name != "all pairs" or methods > 2)
    )


def _family(name: str, tests: int, blocks: int, alpha: float, unit: Blocks) -> Family:
    needed, least = blocks_needed(tests, alpha), smallest_p(blocks)
    attainable = blocks >= needed
    one, many = BLOCK_WORDS[unit]
    correction = f" after Holm over {tests} tests" if tests > 1 else ""
    times = f", times {tests}" if tests > 1 else ""
    sentence = (
        f"{name}: with {blocks} {one if blocks == 1 else many} no signed-rank test can reach {number(alpha)}"
        f"{correction} (the least possible p is {number(least)}{times}); {needed} are needed"
    )
    return Family(name, tests, least, attainable, needed, "" if attainable else sentence)


def number(value: float) -> str:
    """A probability as text: `.05`, `.016`, `< .001`."""
    if value < 0.001:
        return "< .001"
    text = f"{value:.{3 if value < 0.1 else 2}f}"
    short = text.rstrip("0").rstrip(".") if float(text) == value else text
    return short.removeprefix("0")
