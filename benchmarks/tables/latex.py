"""A comparison as a LaTeX table with booktabs (benchmarks room)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..statistics.per_dataset import t_interval
from ..statistics.population import observations
from ..statistics.power import number
from ..statistics.verdicts import basis, many, points, repeats, where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..statistics.result import Comparison, Family, MethodRank

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

MARKS = {"better": "$^{+}$", "worse": "$^{-}$", "equivalent": "$^{=}$"}
"""Behind a method's name, by how it stands against the one that all are compared with."""

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

    The best of a column is bold. A mark says which verdict a method has against the control, or against the best of all
    where there is no control; the undecided have none. Columns that do not fit on a page of the class article go on in
    further tables. Needs the package booktabs.
    """
    settings = len(result.table.settings) > 1
    headings = [condition.label if settings else condition.dataset for condition in result.table.conditions]
    order = sorted(result.ranks, key=lambda row: (-row.mean, row.method))
    best, names = order[0].method, [row.method for row in order]
    standing = _standing(result, best)
    methods = Column("method", tuple(escape(name) + MARKS.get(standing.get(name, ""), "") for name in names))
    columns = [
        *(Column(escape(heading), _accuracies(result, place, names)) for place, heading in enumerate(headings)),
        Column("mean", tuple(_mean(row, best=row.method == best) for row in order)),
    ]
    if any(row.mean_rank is not None for row in order):
        ranks = tuple("--" if row.mean_rank is None else f"{row.mean_rank:.2f}" for row in order)
        columns.append(Column("rank", ranks))
    parts = _parts(columns, LINE - methods.width)
    captions = [_caption(result, best, standing)]
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


def _standing(result: Comparison, best: str) -> dict[str, str]:
    """How methods stand against the control, or the best where there is no control; without the undecided."""
    if result.control is not None:
        return {one.method: one.verdict for one in result.decisions if one.verdict != "undecided"}
    found = {}
    for pair in result.secondary:
        if best in (pair.method, pair.other) and pair.significant:
            ahead = pair.method if pair.w_plus > pair.w_minus else pair.other
            other = pair.other if pair.method == best else pair.method
            found[other] = "worse" if ahead == best else "better"
    return found


def _caption(result: Comparison, best: str, standing: Mapping[str, str]) -> str:
    level = f"{100 * (1 - result.options.alpha):g}"
    ranges = any(row.low is not None for row in result.ranks)
    sentences = [
        f"Accuracy in percent, mean over {repeats(result)}"
        + (f" ± half width of the {level} % interval of Student's t" if _has_spreads(result) else ""),
        f"Mean over {observations(result.table)}"
        + (f" with {level} % hierarchical bootstrap interval" if ranges else ""),
        "Bold: best",
        _tests(result, best, standing),
        *(f"Floor, {family.sentence}" for family in _floors(result)),
        *([f"{result.declared[0].upper()}{result.declared[1:]}"] if result.declared else []),
        *([f"Not as declared: {'; '.join(result.departures)}"] if result.departures else []),
        f"Reported: {result.selection}. Tuning: {result.tuning}",
    ]
    return escape(". ".join(sentences) + ".")


def _tests(result: Comparison, best: str, standing: Mapping[str, str]) -> str:
    """What the marks say, and by which test; the marks are those that the table has."""
    reference = result.control or best
    used = [word for word in ("better", "worse", "equivalent") if word in standing.values()]
    signs = {"better": "+", "worse": "-", "equivalent": "="}
    said = ", ".join([*(f"{signs[word]} {word}" for word in used), "no mark undecided" if used else "all undecided"])
    if "equivalent" in used:
        said += f" (equivalent: within {points(result.options.rope)})"
    if result.control is not None:
        families = {one.family: f"{where(result, one)}, {basis(result, one, family=True)}" for one in result.decisions}
        test = "; ".join(f"{name}: {text}" if len(families) > 1 else text for name, text in families.items())
    else:
        test = (
            f"signed rank over {many(result.counts.blocks, 'block')}, Holm over {many(len(result.secondary), 'pair')}"
        )
    return f"Against {reference}: {said} ({test}, level {number(result.options.alpha)})"


def _floors(result: Comparison) -> list[Family]:
    """The families that the marks belong to and in which nothing could be shown."""
    if result.counts.datasets == 1 and result.control is not None:
        return []
    pairs = result.control is None
    return [family for family in result.power if family.sentence and (family.name == "all pairs") == pairs]
