"""How unequal clients are: per-client accuracy in deciles (benchmarks room, figures)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..leaderboard.reported import deployed_view
from .sheet import SCREEN
from .style import FAINT, INK, MUTED, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from .blocks import Block
    from .sheet import Sheet


@dataclass(frozen=True)
class Deciles:
    """Clients of one method after the last round, those of all seeds together."""

    label: str
    category: str
    clients: int
    mean: float
    values: tuple[float, ...]
    """Accuracy, percent: the worst client, the nine deciles, the best client; shape (11,)."""


def read_deciles(block: Block) -> list[Deciles]:
    """Deciles of every method of a block, in the order of its courses."""
    return [deciles(course.label, course.category, _last_accuracies(block, course.label)) for course in block.courses]


def deciles(label: str, category: str, accuracies: Sequence[float]) -> Deciles:
    """Minimum, deciles (linear between neighbours) and maximum of the clients' accuracies."""
    values = np.quantile(np.asarray(accuracies, dtype=np.float64), np.linspace(0, 1, 11))
    return Deciles(label, category, len(accuracies), float(np.mean(accuracies)), tuple(values.tolist()))


@styled
def draw(rows: Sequence[Deciles], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """A row per method, the highest mean on top: a tick per decile, darker towards the median, the mean as a mark.

    Args:
        rows: what `read_deciles` gives.
        title: what stands above.
        sheet: its width, and how methods look.
    """
    ordered = sorted(rows, key=lambda row: (row.mean, row.label))
    sheet = sheet.of([row.label for row in reversed(ordered)])
    figure = sheet.figure((9.4, 0.225 * len(ordered) + 1.3), 0.15 * len(ordered) + 0.6)
    axes = figure.subplots()
    for place, row in enumerate(ordered):
        look = sheet.mark(row.label)
        for inner, shade in enumerate((0.16, 0.28, 0.42, 0.58), 1):
            axes.barh(
                place,
                row.values[10 - inner] - row.values[inner],
                left=row.values[inner],
                height=0.62,
                color=look["color"],
                alpha=shade,
                linewidth=0,
            )
        axes.plot([row.values[0], row.values[10]], [place, place], color=MUTED, linewidth=0.6, zorder=1)
        axes.plot([row.values[5]] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.6, zorder=4)
        mark = "o" if look["marker"] == "." else look["marker"]
        axes.plot(row.mean, place, marker=mark, color="white", markeredgecolor=INK, markersize=4.5, zorder=5)
    axes.set_yticks(range(len(ordered)), [row.label for row in ordered], color=INK)
    axes.set(xlabel="accuracy of a client, %", ylim=(-0.7, len(ordered) - 0.3))
    axes.xaxis.grid(True, color=FAINT)
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    rest = sum(not sheet.highlights(row.label) for row in ordered)
    counts = sorted({row.clients for row in ordered})
    set_title(
        figure,
        title,
        f"accuracy of single clients after the last round ({' or '.join(map(str, counts))} clients, all seeds "
        f"together); shades: deciles 1 to 9; bar: median; mark: mean; thin line: worst to best client"
        f"{sheet.rule(rest)}",
        on_paper=sheet.on_paper,
    )
    return figure


def _last_accuracies(block: Block, label: str) -> list[float]:
    column = f"{deployed_view(block.records[label])}.acc"
    return [
        float(value)
        for run in block.records[label]
        for row in run.clients
        if row["round"] == run.rounds[-1]["round"] and isinstance(value := row.get(column), int | float)
    ]
