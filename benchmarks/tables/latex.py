"""A comparison as a LaTeX table with booktabs (benchmarks room)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..statistics.per_dataset import t_interval
from ..statistics.population import observations
from ..statistics.power import number
from ..statistics.verdicts import many, repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..statistics.result import Comparison, MethodRank

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "[": "{[}",
    "*": "{*}",
}
"""What TeX reads as a command (at the start of a line `[` and `*` belong to the end of the line before), and characters
that its oldest fonts lack."""

LINE = 80
"""Characters of \\footnotesize in a line of the class article, 345 points wide; a wider table goes on in another."""
GAP = 3
"""Characters that the space between two columns is worth."""


@dataclass(frozen=True)
class Column:
    """A column below its heading."""

    heading: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters that it takes, without commands."""
        return max(len(re.sub(r"\\[a-z]+|[\\{}$]", "", text)) for text in (self.heading, *self.cells))


def latex(result: Comparison) -> str:
    """A table: a line per method, best mean first; a column per data set and setting; the mean with its interval.

    The best of a column is bold; a dagger marks methods that are not significantly worse than the best of all. Columns
    that do not fit on a page of the class article go on in further tables. Needs the package booktabs.
    """
    settings = len(result.table.settings) > 1
    headings = [condition.label if settings else condition.dataset for condition in result.table.conditions]
    order = sorted(result.ranks, key=lambda row: (-row.mean, row.method))
    best, names = order[0].method, [row.method for row in order]
    close = _not_worse(result, best)
    methods = Column("method", tuple(escape(name) + (r"$^{\dagger}$" if name in close else "") for name in names))
    columns = [
        *(Column(escape(heading), _accuracies(result, place, names)) for place, heading in enumerate(headings)),
        Column("mean", tuple(_mean(row, best=row.method == best) for row in order)),
    ]
    if order[0].mean_rank is not None:
        columns.append(Column("rank", tuple(f"{row.mean_rank:.2f}" for row in order)))
    parts = _parts(columns, LINE - methods.width)
    captions = [_caption(result, best)]
    if len(parts) > 1:
        captions = [f"{captions[0]} Part 1 of {len(parts)}."]
        captions += [f"Part {place} of {len(parts)}; part 1 says what it shows." for place in range(2, len(parts) + 1)]
    tables = [_table(caption, [methods, *part]) for caption, part in zip(captions, parts, strict=True)]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(tables)


def _parts(columns: Sequence[Column], room: int) -> list[list[Column]]:
    """As many columns side by side as there is room for, at least one."""
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and sum(GAP + other.width for other in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _table(caption: str, columns: Sequence[Column]) -> str:
    lines = [" & ".join(cells) + r" \\" for cells in zip(*(column.cells for column in columns), strict=True)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\smallskip",
            r"\footnotesize",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}",
            r"\toprule",
            " & ".join(column.heading for column in columns) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that TeX prints as it is."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda match: SPECIAL[match[0]], text)


def _accuracies(result: Comparison, place: int, methods: Sequence[str]) -> tuple[str, ...]:
    """Mean over seeds with the half width of Student's interval, the best in bold."""
    runs = dict(zip(result.table.methods, result.table.conditions[place].array(), strict=True))
    means = {method: float(runs[method].mean()) for method in methods}
    best = max((value for value in means.values() if np.isfinite(value)), default=np.nan)
    cells = []
    for method in methods:
        if not np.isfinite(means[method]):
            cells.append("--")
            continue
        text = f"{means[method]:.2f}"
        interval = t_interval(runs[method], result.options.alpha) if _has_spreads(result) else None
        text = rf"\textbf{{{text}}}" if text == f"{best:.2f}" else text
        cells.append(text if interval is None else rf"{text} $\pm$ {(interval[1] - interval[0]) / 2:.2f}")
    return tuple(cells)


def _has_spreads(result: Comparison) -> bool:
    """Whether means over seeds have an interval: not over a single seed, nor over repetitions that share seeds."""
    return result.counts.seeds_most > 1 and not result.table.factors


def _mean(row: MethodRank, *, best: bool) -> str:
    text = rf"\textbf{{{row.mean:.2f}}}" if best else f"{row.mean:.2f}"
    return text if row.low is None or row.high is None else f"{text} [{row.low:.2f}, {row.high:.2f}]"


def _not_worse(result: Comparison, best: str) -> set[str]:
    """Methods that the best one does not beat significantly, among all pairs."""
    beaten = {
        pair.other if pair.method == best else pair.method
        for pair in result.secondary
        if best in (pair.method, pair.other) and pair.significant
    }
    return set(result.methods) - beaten - {best}


def _caption(result: Comparison, best: str) -> str:
    counts, level = result.counts, f"{100 * (1 - result.options.alpha):g}"
    ranges = any(row.low is not None for row in result.ranks)
    sentences = [
        f"Accuracy in percent, mean over {repeats(result)}"
        + (f" ± half width of the {level} % interval of Student's t" if _has_spreads(result) else ""),
        f"Mean over {observations(result.table)}"
        + (f" with {level} % hierarchical bootstrap interval" if ranges else ""),
        f"Bold: best. Dagger: not significantly worse than {best} (exact two-sided signed-rank test over "
        f"{many(counts.blocks, 'block')}, Holm correction over {many(len(result.secondary), 'pair')}, level "
        f"{number(result.options.alpha)})",
        *(f"Power, {family.sentence}" for family in result.power if family.name == "all pairs" and family.sentence),
        f"Reported: {result.selection}. Tuning: {result.tuning}",
    ]
    return escape(". ".join(sentences) + ".")
