"""Accuracies of the contraction study at its last round (benchmarks room): COSMOS, what a client could download, arms.

Differences are paired by seed, mean over clients; intervals are Student's over seeds, at 95 % each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....cosmos.theory.steps import t_interval
from ..sections import listed, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...contraction.reading import Block
    from ...records.record import Record

    Array = NDArray[np.float64]

CLAIM = "cosmos"

ARMS = {
    "local": "Local-only",
    "local-public": "Local+U, as many steps",
    "own-past": "own past as teacher",
    "no-model": "no server model",
    "frozen": "server frozen after round 1",
    "one-cluster": "one cluster",
    "random-clusters": "random clusters \\*",
    "true-groups": "true groups \\*",
    "centralized-group": "pooled within true groups \\*",
}
"""The arms that COSMOS is compared with, in words; a star has who is told the true groups."""


def accuracies(blocks: Sequence[Block], records: Sequence[Record]) -> dict[str, str]:
    """Tables and lists of docs/cosmos.md.

    Args:
        blocks: one per data set.
        records: those that the blocks were read from.
    """
    names = [block.dataset for block in blocks]
    own, local = [last(block, CLAIM) for block in blocks], [last(block, "local") for block in blocks]
    served = [last(block, CLAIM, "server_assigned") for block in blocks]
    ceiling = [_ceiling(block, records) for block in blocks]
    gaps = {
        words: _minus(own, [last(block, label) for block in blocks])
        for label, words in ARMS.items()
        if all(label in block.arms for block in blocks)
    }
    signs = {words: {_sign(gap) for gap in of_arm} for words, of_arm in gaps.items()}
    return {
        "views": table(
            ["percent, or points (95 %)", *names, "mean"],
            [
                ["`client`, COSMOS", *_means(own)],
                ["`server_assigned`, COSMOS", *_means(served)],
                ["`client`, Local-only", *_means(local)],
                ["`server_assigned` - `client`", *_gaps(_minus(served, own))],
                ["`server_assigned` - Local-only", *_gaps(_minus(served, local))],
            ],
            right=True,
        ),
        "standing": _standing(_minus(served, own), names),
        "minus": table(
            ["COSMOS minus", *names, "mean"], [[words, *_gaps(gap)] for words, gap in gaps.items()], right=True
        ),
        "above": _semicolons([words for words, found in signs.items() if found == {1}]),
        "below": _semicolons([words for words, found in signs.items() if found == {-1}]),
        "undecided": _semicolons([words for words, found in signs.items() if found not in ({1}, {-1})]),
        "ceiling": listed(
            [
                f"{top.mean():.1f} % on {name} ({(mine - top).mean():+.1f})"
                for name, top, mine in zip(names, ceiling, own, strict=True)
            ]
        ),
    }


def last(block: Block, label: str, view: str = "client") -> Array:
    """Mean accuracy over clients after the last round, in percent, shape (seeds,)."""
    risks = block.arms[label].of(view, "zero-one")
    assert risks is not None  # every arm has the view that it deploys, and COSMOS's server models theirs
    return np.asarray(100 * (1 - risks[:, :, -1].mean(axis=1)))


def _ceiling(block: Block, records: Sequence[Record]) -> Array:
    """What who knows only its own group's classes can reach, percent of test samples, shape (seeds,)."""
    shares = {
        record.repetition: float(record.facts["heterogeneity"]["in_group_test"])
        for record in records
        if record.cell["dataset"] == block.dataset and record.status == "done"
    }
    return np.array([100 * shares[seed] for seed in block.seeds])


def _minus(ours: Sequence[Array], theirs: Sequence[Array]) -> list[Array]:
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]


def _means(values: Sequence[Array]) -> list[str]:
    means = [float(of_seeds.mean()) for of_seeds in values]
    return [f"{mean:.1f}" for mean in (*means, sum(means) / len(means))]


def _gaps(gaps: Sequence[Array]) -> list[str]:
    """Differences of each data set and of their mean; the latter's interval is over seeds, too: of these data sets."""
    paired = len({len(of_seeds) for of_seeds in gaps}) == 1
    mean = np.mean(gaps, axis=0) if paired else np.array([np.mean([of_seeds.mean() for of_seeds in gaps])])
    cells = []
    for values in (*gaps, mean):
        edges = "" if len(values) < 2 else " ({:+.1f} to {:+.1f})".format(*t_interval(values))
        cells.append(f"{values.mean():+.1f}{edges}")
    return cells


def _sign(gap: Array) -> int:
    """Where the interval lies: above 0, below, or on both sides; it takes two seeds to say."""
    if len(gap) < 2:
        return 0
    low, high = t_interval(gap)
    return int(low > 0) - int(high < 0)


def _standing(gaps: Sequence[Array], names: Sequence[str]) -> str:
    """Above, below or neither, with the data sets, as part of a sentence."""
    told = []
    for sign, words in ((1, "better"), (-1, "worse"), (0, "neither better nor worse, as far as can be told,")):
        where = [name for name, gap in zip(names, gaps, strict=True) if _sign(gap) == sign]
        told += [f"{words} on {listed(where)}"] if where else []
    return listed(told)


def _semicolons(words: Sequence[str]) -> str:
    """Arms in words, which hold commas, as part of a sentence."""
    return "; ".join(words) or "none"
