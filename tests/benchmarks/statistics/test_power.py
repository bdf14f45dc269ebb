"""The power guard: the numbers of blocks that no claim comes without."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.benchmarks.statistics.multiple import holm
from fl_bench.benchmarks.statistics.power import blocks_needed, families, number, one_dataset
from fl_bench.benchmarks.statistics.signed_rank import signed_rank


@pytest.mark.parametrize(("methods", "control", "pairs"), [(2, 6, 6), (5, 8, 9), (12, 9, 12)])
def test_blocks_needed(methods: int, control: int, pairs: int) -> None:
    assert blocks_needed(methods - 1, 0.05) == control
    assert blocks_needed(methods * (methods - 1) // 2, 0.05) == pairs


@pytest.mark.parametrize("tests", [1, 4, 11, 66])
def test_one_block_less_rejects_nothing_and_one_more_does(tests: int) -> None:
    # the clearest outcome there is: one method wins every block, the others lead to p = 1
    needed = blocks_needed(tests, 0.05)
    for blocks, rejected in ((needed - 1, False), (needed, True)):
        p = [signed_rank(np.arange(1, blocks + 1)).p, *[1.0] * (tests - 1)]
        assert (holm(p)[0] <= 0.05) == rejected


def test_sentences() -> None:
    control, pairs = families({"against the control": 4, "all pairs": 10}, 3, 0.05, "dataset")
    assert control.sentence == (
        "against the control: with 3 data sets, no signed-rank test can reach .05 after Holm over 4 tests, however "
        "large the differences (the smallest possible p is .25, times 4); at least 8 are needed"
    )
    assert (pairs.tests, pairs.blocks_needed, pairs.attainable) == (10, 9, False)
    assert [family.sentence for family in families({"all pairs": 10}, 9, 0.05, "dataset")] == [""]
    assert families({"bounds": 0}, 9, 0.05, "dataset") == ()
    assert one_dataset(4, 0.05).endswith("a claim over data sets needs at least 8 of them")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, ".05"), (0.25, ".25"), (0.0312, ".031"), (0.0004, "< .001"), (1.0, "1"), (0.999, "1.00"), (0.5, ".5")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
