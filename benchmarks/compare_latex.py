"""A comparison as a LaTeX table with booktabs (benchmarks room)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .statistics.per_dataset import t_interval
from .statistics.power import number
from .statistics.verdicts import many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .statistics.result import Comparison, MethodRank

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
    "·": r"\textperiodcentered{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
}
"""What TeX reads as a command, and characters that old fonts lack."""


def latex(result: Comparison) -> str:
    """A table: a line per method, best mean first; a column per data set and setting; the mean with its interval.

    The best of a column is bold; a dagger marks methods that are not significantly worse than the best of all. Needs
    the package booktabs.
    """
    settings = len(result.table.settings) > 1
    headings = [condition.label if settings else condition.dataset for condition in result.table.conditions]
    order = sorted(result.ranks, key=lambda row: (-row.mean, row.method))
    columns = [_column(result, place, [row.method for row in order]) for place in range(len(headings))]
    close = _not_worse(result, order[0].method)
    lines = []
    for place, row in enumerate(order):
        mark = r"\rlap{\textsuperscript{\dag}}" if row.method in close else ""
        cells = [escape(row.method), *(column[place] for column in columns), _mean(row, best=place == 0) + mark]
        if row.mean_rank is not None:
            cells.append(f"{row.mean_rank:.2f}")
        lines.append(" & ".join(cells) + r" \\")
    ranked = order[0].mean_rank is not None
    titles = ["method", *map(escape, headings), "mean", *(["rank"] if ranked else [])]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_caption(result, order[0].method)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
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


def _column(result: Comparison, place: int, methods: Sequence[str]) -> list[str]:
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
        interval = t_interval(runs[method], result.options.alpha)
        text = rf"\textbf{{{text}}}" if text == f"{best:.2f}" else text
        cells.append(text if interval is None else rf"{text} $\pm$ {(interval[1] - interval[0]) / 2:.2f}")
    return cells


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
    seeds = (
        many(counts.seeds_least, "seed")
        if counts.seeds_least == counts.seeds_most
        else f"{counts.seeds_least} to {counts.seeds_most} seeds"
    )
    ranges = any(row.low is not None for row in result.ranks)
    sentences = [
        f"Accuracy in percent, mean over {seeds}"
        + (f" ± half width of the {level} % interval of Student's t" if counts.seeds_most > 1 else ""),
        f"Mean over {many(counts.datasets, 'data set')}"
        + (f" with {level} % hierarchical bootstrap interval" if ranges else ""),
        f"Bold: best. Dagger: not significantly worse than {best} (exact two-sided signed-rank test over "
        f"{many(counts.blocks, 'block')}, Holm correction over {many(len(result.secondary), 'pair')}, level "
        f"{number(result.options.alpha)})",
        *(f"Power, {family.sentence}" for family in result.power if family.name == "all pairs" and family.sentence),
        f"Reported: {result.selection}. Tuning: {result.tuning}",
    ]
    return escape(". ".join(sentences) + ".")
