"""Where the variance over repetitions comes from (benchmarks room): partition, initial weights, draws, batches.

For grids that vary these separately (X. Bouthillier et al., "Accounting for variance in machine learning benchmarks",
MLSys 2021). The variance due to a factor is

    V_f = E[ Var(accuracy | all other factors) ]

the mean, over groups of runs that agree in all other factors, of the variance within a group. It needs no complete
design: one factor varied at a time serves as well as all crossed. It holds the factor's interactions with the others,
so shares of a crossed design may add up to more than the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .result import SeedVariance
from .table import settled

if TYPE_CHECKING:
    from .table import Condition, Table


def seed_variance(table: Table) -> tuple[SeedVariance, ...]:
    """The variance of every factor in every condition, pooled over methods; empty where a table names no factors.

    Args:
        table: complete; `factors` names the columns of each condition's `levels`.
    """
    return tuple(
        _part(condition, table.factors, place) for condition in table.conditions for place in range(len(table.factors))
    )


def _part(condition: Condition, factors: tuple[str, ...], place: int) -> SeedVariance:
    runs = settled(condition.array())
    groups: dict[tuple[str, ...], list[int]] = {}
    for column, levels in enumerate(condition.levels):
        groups.setdefault((*levels[:place], *levels[place + 1 :]), []).append(column)
    varied = [columns for columns in groups.values() if len(columns) > 1]
    squares = sum(
        float(((runs[:, columns] - runs[:, columns].mean(axis=1, keepdims=True)) ** 2).sum()) for columns in varied
    )
    degrees = sum(len(columns) - 1 for columns in varied) * len(runs)
    return SeedVariance(
        dataset=condition.dataset,
        setting=condition.setting,
        factor=factors[place],
        levels=len({levels[place] for levels in condition.levels}),
        degrees=degrees,
        std=float(np.sqrt(squares / degrees)) if degrees else None,
    )
