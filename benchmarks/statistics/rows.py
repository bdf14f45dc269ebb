"""Runs one by one, as records and tables of numbers give them, side by side in a table (benchmarks room)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .table import MISSING, Condition

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Row:
    """One run of one method."""

    dataset: str
    setting: str
    setting_text: str
    classes: int | None
    seed: int
    method: str
    accuracy: float | None
    status: str
    levels: tuple[str, ...] = ()
    """Of the table's factors."""
    family: str = ""
    network: str = ""
    partition: str = ""
    spread: float | None = None
    """What stands after ±, where the number has it."""
    setting_name: str = ""


def numbered(rows: Sequence[Row]) -> list[Row]:
    """The same with a number for each combination of levels in place of the seed: each is a repetition of its own."""
    numbers = {levels: number for number, levels in enumerate(sorted({row.levels for row in rows}))}
    return [replace(row, seed=numbers[row.levels]) for row in rows]


def conditions(rows: Sequence[Row]) -> tuple[Condition, ...]:
    """Rows side by side, gaps where there is none; what no method has a number for is no condition of the table."""
    methods = sorted({row.method for row in rows})
    places: dict[tuple[str, str], dict[tuple[str, int], Row]] = {}
    for row in rows:
        places.setdefault((row.dataset, row.setting), {})[row.method, row.seed] = row
    result = []
    for (dataset, setting), runs in sorted(places.items()):
        seeds = sorted({seed for _, seed in runs})
        grid = [[runs.get((method, seed)) for seed in seeds] for method in methods]
        some = next(iter(runs.values()))
        levels = {run.seed: run.levels for run in runs.values()}
        result.append(
            Condition(
                dataset=dataset,
                setting=setting,
                setting_text=some.setting_text,
                setting_name=some.setting_name,
                classes=some.classes,
                seeds=tuple(seeds),
                accuracy=tuple(tuple(run.accuracy if run else None for run in line) for line in grid),
                status=tuple(tuple(run.status if run else MISSING for run in line) for line in grid),
                levels=tuple(levels[seed] for seed in seeds) if some.levels else (),
                family="" if some.family == dataset else some.family,
                network=some.network,
                partition=some.partition,
                spreads=tuple(line[0].spread if line[0] else None for line in grid) if len(seeds) == 1 else (),
            )
        )
    return tuple(result)
