"""What the study of rules for the number of clusters compares, and on what (benchmarks room); fixed before it was run.

The constants of `cosmos/emergence.py` were chosen on the design sets alone, and which rule is the default too: the one
with the largest mean adjusted Rand index there. It is taken only if its mean on the judged sets is within `MARGIN` of
that of `auto`, or better; if not, the next best on the design sets that is; if none is, `auto`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from fl_bench.streams import numpy_stream

from ....cosmos.clustering import greedy_eps, greedy_k
from ....cosmos.distances import pairwise
from ....cosmos.emergence import by_silhouette, threshold
from ....methods.clustering import agglomerative

if TYPE_CHECKING:
    from torch import Tensor

    from ....cosmos.emergence import Emergence
    from ....methods.clustering import Labels

DESIGN = ("digits", "optdigits", "segment", "marketing")
"""Data sets on which constants were chosen; rows of `digits` are rows of `optdigits`, too."""

JUDGED = ("fashion-mnist", "penbased", "letter", "satimage", "texture", "vowel")
"""Data sets that no choice looked at."""

MARGIN = 0.05
"""How much smaller than that of `auto` a rule's mean adjusted Rand index may be."""

ROUNDS = 5
"""Rounds for accuracy; the index needs one."""

EMERGING: tuple[Emergence, ...] = ("silhouette", "gap", "quantile", "stability")
"""Rules that are a setting of COSMOS."""

RULES = ("auto", *EMERGING, "no floor", "groups")
"""All that is compared: `no floor` is `silhouette` where K is never 1, `groups` is told the true number."""

SETTINGS: dict[str, dict[str, str]] = {
    "auto": {"clusters": "auto"},
    **{rule: {"clusters": "emerges", "emergence": rule} for rule in EMERGING},
    "groups": {"clusters": "groups"},
}
"""The rules as settings of COSMOS, for accuracy."""


@dataclass(frozen=True)
class Case:
    """One dealing of a data set."""

    dataset: str
    groups: int
    clients: int
    alpha: float
    mixing: float
    seed: int


def cases(dataset: str) -> list[Case]:
    """Cases for the adjusted Rand index; with one group there is nothing to mix."""
    worlds = [(2, 10), (2, 24), (5, 10), (5, 25)]
    found = [Case(dataset, *world, a, m, s) for world, a, m, s in product(worlds, (0.5, 5.0), (0.0, 0.1), range(2))]
    return found + [Case(dataset, 1, n, a, 0.0, s) for n, a, s in product((10, 25), (0.5, 5.0), range(2))]


def longer(dataset: str) -> list[Case]:
    """Cases for accuracy."""
    return [Case(dataset, 5, 25, alpha, 0.1, 0) for alpha in (0.5, 5.0)]


def clusters(rule: str, predictions: Tensor, case: Case) -> Labels:
    """The clusters that COSMOS makes by a rule of first predictions, shape (clients, samples, classes)."""
    distances = pairwise(predictions, "l2")
    if rule == "groups":
        return greedy_k(distances, case.groups)[0]
    if rule == "auto":
        return greedy_k(distances, int(agglomerative(distances).max()) + 1)[0]
    if rule == "no floor":
        return greedy_eps(distances, by_silhouette(distances, floor=-1.0))
    named = next(name for name in EMERGING if name == rule)
    stream = numpy_stream(case.seed, "emergence", 0)
    return greedy_eps(distances, threshold(named, predictions, distances, "l2", stream))
