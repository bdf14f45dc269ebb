"""What the parts of a comparison work on (benchmarks room): a table that may be compared, and the question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from .effects import DRAWS, bootstrap_means
from .signed_rank import signed_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .result import Options
    from .signed_rank import SignedRank
    from .table import Table

    Array = NDArray[np.float64]

SEED = 0
"""Of all draws; a comparison is a pure function of the table."""


@dataclass(frozen=True)
class Study:
    """A table without gaps, or (`skillings-mack`) one in which methods lack whole conditions."""

    table: Table
    options: Options
    control: str | None

    @cached_property
    def scores(self) -> Array:
        """Shape (blocks, methods), NaN where a block lacks a method."""
        return self.table.block_means(self.options.blocks)

    @cached_property
    def complete(self) -> bool:
        """Whether every block has every method."""
        return bool(np.isfinite(self.scores).all())

    @property
    def groups(self) -> tuple[str, ...]:
        """The family of every block."""
        if self.options.blocks == "setting":
            return tuple(condition.unit for condition in self.table.conditions)
        return tuple(self.table.families)

    def differences(self, method: str, other: str) -> Array:
        """Block differences of two methods, where both have a number."""
        first, second = (self.table.methods.index(name) for name in (method, other))
        differences: Array = self.scores[:, first] - self.scores[:, second]
        return differences[np.isfinite(differences)]

    def sign_test(self, method: str, other: str) -> SignedRank:
        """The exact test of two methods: over blocks, or over data sets whose signs turn by family (`cluster`).

        Raises:
            ValueError: they share no block.
        """
        return signed_rank(*self.observed(method, other))

    def observed(self, method: str, other: str) -> tuple[Array, list[str]]:
        """What the test of two methods sees: differences, and with `cluster` the family of each; else no families."""
        if self.options.blocks != "cluster":
            return self.differences(method, other), []
        both = self.common((method, other))
        means = both.block_means("dataset")
        families = {name: unit for unit, names in both.families.items() for name in names}
        sign = 1 if both.methods[0] == method else -1
        return sign * (means[:, 0] - means[:, 1]), [families[name] for name in both.datasets]

    def common(self, methods: Sequence[str]) -> Table:
        """What some methods share: complete."""
        return self.table.take_methods(methods).full_blocks(self.options.blocks)

    def bootstrap(self, methods: Sequence[str]) -> dict[str, Array]:
        """Resampled means over families of some methods, paired draw by draw, each of shape (draws,)."""
        if self.complete:
            return {method: self._draws[method] for method in methods}
        return _bootstrap(self.common(methods))

    @cached_property
    def _draws(self) -> dict[str, Array]:
        return _bootstrap(self.table)


def _bootstrap(table: Table) -> dict[str, Array]:
    draws = bootstrap_means(table, DRAWS, numpy_stream(SEED, "bootstrap"))
    return dict(zip(table.methods, draws.T, strict=True))
