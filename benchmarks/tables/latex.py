"""A comparison as a LaTeX table with booktabs (benchmarks room)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..leaderboard.budgets import unequal
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

UNEQUAL = r"$^{\dagger}$"
"""Behind the name of a method whose tuning had another budget than that of the one it is compared with."""

LINE = 80
"""Characters of \\footnotesize in a line of the class article, 345 points wide; a wider table goes on in another."""
GAP = 3
"""Characters that the space between two columns is worth."""


@dataclass(frozen=True)
class Column:
    """A column below its heading; the cells after `rule` stand below a line."""

    heading: str
    cells: tuple[str, ...]
    rule: int = 0

    @property
    def width(self) -> int:
        """Characters that it takes, without commands."""
        return max(len(re.sub(r"\\[a-z]+|[\\{}$^]", "", text)) for text in (self.heading, *self.cells))


def latex(result: Comparison, label: str) -> str:
    """A table of accuracies, one of a page's width where that is possible.

    Data sets are in rows where the methods fit side by side and are fewer, else methods are. Where it does not fit
    otherwise, the half widths of intervals are left out; where it does not fit even then, it goes on in further
    tables. The best method on each data set is bold. A mark says which verdict a method has against the control, or
    against the best of all where there is no control; the undecided have none. What the caption has no room for stands
    in a comment above the table. Needs the package booktabs.

    Args:
        result: the comparison.
        label: of the table; further tables have a number behind it.
    """
    order = sorted(result.ranks, key=lambda row: (-row.mean, row.method))
    standing = _standing(result, order[0].method)
    names = [_name(result, row.method, standing) for row in order]
    spreads = [True, False] if _has_spreads(result) else [False]
    forms = [(form, spread) for spread in spreads for form in (_datasets_down, _methods_down)]
    if len(result.methods) > len(result.table.conditions):
        forms = [(form, spread) for form, spread in forms if form is _methods_down]
    found = [(form(result, order, names, spread=spread), spread) for form, spread in forms]
    one = next((each for each in found if _fits(each[0])), None)
    columns, spread = one or next(each for form, each in zip(forms, found, strict=True) if form[0] is _methods_down)
    parts = _parts(columns[1:], LINE - columns[0].width)
    captions = [_caption(result, order[0].method, standing, spread=spread)]
    if len(parts) > 1:
        captions = [f"{captions[0]} Part 1 of {len(parts)}."]
        captions += [f"Part {place} of {len(parts)}; part 1 says what it shows." for place in range(2, len(parts) + 1)]
    tables = [
        _table(caption, label if not place else f"{label}-{place + 1}", [columns[0], *part])
        for place, (caption, part) in enumerate(zip(captions, parts, strict=True))
    ]
    return "\n".join([*_comment(result, spread=spread), *tables])


def _methods_down(
    result: Comparison, order: Sequence[MethodRank], names: Sequence[str], *, spread: bool
) -> list[Column]:
    """A line per method, best mean first; a column per data set and setting; mean and mean rank."""
    methods = [row.method for row in order]
    columns = [
        Column("method", tuple(names)),
        *(
            Column(heading, _accuracies(result, place, methods, spread=spread))
            for place, heading in enumerate(_headings(result))
        ),
        Column("mean", tuple(_mean(row, best=row is order[0], interval=spread) for row in order)),
    ]
    if any(row.mean_rank is not None for row in order):
        columns.append(Column("rank", tuple(map(_rank, order))))
    return columns


def _datasets_down(
    result: Comparison, order: Sequence[MethodRank], names: Sequence[str], *, spread: bool
) -> list[Column]:
    """A line per data set and setting; a column per method, best mean first; mean and mean rank at the bottom."""
    methods, headings = [row.method for row in order], _headings(result)
    rows = [_accuracies(result, place, methods, spread=spread) for place in range(len(headings))]
    ranked = any(row.mean_rank is not None for row in order)
    last = ["mean", *(["rank"] if ranked else [])]
    columns = [Column("data set", (*headings, *last), rule=len(headings))]
    for place, (row, name) in enumerate(zip(order, names, strict=True)):
        mean = _mean(row, best=row is order[0], interval=False)
        columns.append(Column(name, (*(cells[place] for cells in rows), mean, *([_rank(row)] if ranked else []))))
    return columns


def _headings(result: Comparison) -> list[str]:
    several = len(result.table.settings) > 1
    return [escape(at.label if several else at.dataset) for at in result.table.conditions]


def _name(result: Comparison, method: str, standing: Mapping[str, str]) -> str:
    """A method's name with its marks."""
    tuned = unequal(dict(result.table.trials), method, result.control) if result.control else ""
    return escape(method) + MARKS.get(standing.get(method, ""), "") + (UNEQUAL if tuned else "")


def _rank(row: MethodRank) -> str:
    return "--" if row.mean_rank is None else f"{row.mean_rank:.2f}"


def _fits(columns: Sequence[Column]) -> bool:
    return columns[0].width + sum(GAP + column.width for column in columns[1:]) <= LINE


def _parts(columns: Sequence[Column], room: int) -> list[list[Column]]:
    """As many columns side by side as there is room for, at least one."""
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and sum(GAP + other.width for other in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _table(caption: str, label: str, columns: Sequence[Column]) -> str:
    lines = [" & ".join(cells) + r" \\" for cells in zip(*(column.cells for column in columns), strict=True)]
    rule = columns[0].rule
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{{re.sub(r'[^A-Za-z0-9:._-]', '-', label)}}}",
            r"\smallskip",
            r"\footnotesize",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) - 1)}@{{}}}}",
            r"\toprule",
            " & ".join(column.heading for column in columns) + r" \\",
            r"\midrule",
            *([*lines[:rule], r"\midrule", *lines[rule:]] if rule else lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that TeX prints as it is."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda match: SPECIAL[match[0]], text)


def _accuracies(result: Comparison, place: int, methods: Sequence[str], *, spread: bool) -> tuple[str, ...]:
    """Mean over seeds, with the half width of Student's interval where asked for, the best in bold."""
    runs = dict(zip(result.table.methods, result.table.conditions[place].array(), strict=True))
    means = {method: float(runs[method].mean()) for method in methods}
    best = max((value for value in means.values() if np.isfinite(value)), default=np.nan)
    cells = []
    for method in methods:
        if not np.isfinite(means[method]):
            cells.append("--")
            continue
        text = f"{means[method]:.2f}"
        interval = t_interval(runs[method], result.options.alpha) if spread else None
        text = rf"\textbf{{{text}}}" if text == f"{best:.2f}" else text
        cells.append(text if interval is None else rf"{text} $\pm$ {(interval[1] - interval[0]) / 2:.2f}")
    return tuple(cells)


def _has_spreads(result: Comparison) -> bool:
    """Whether means over seeds have an interval: not over a single seed, nor over repetitions that share seeds."""
    return result.counts.seeds_most > 1 and not result.table.factors


def _mean(row: MethodRank, *, best: bool, interval: bool) -> str:
    text = rf"\textbf{{{row.mean:.2f}}}" if best else f"{row.mean:.2f}"
    return text if not interval or row.low is None or row.high is None else f"{text} [{row.low:.2f}, {row.high:.2f}]"


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


def _caption(result: Comparison, best: str, standing: Mapping[str, str], *, spread: bool) -> str:
    """Two sentences: what the numbers are, and what the marks mean; a third where something was not as declared."""
    half = f" with half width of the {100 * (1 - result.options.alpha):g} % interval" if spread else ""
    sentences = [
        f"Accuracy in percent, mean over {repeats(result)}{half}; best in bold",
        _tests(result, best, standing),
        *(["Not as declared"] if result.departures else []),
    ]
    return escape(". ".join(sentences) + ".")


def _comment(result: Comparison, *, spread: bool) -> list[str]:
    """What a reader of the source should know, a line each."""
    level = f"{100 * (1 - result.options.alpha):g} %"
    said = [
        "needs \\usepackage{booktabs}",
        f"reported: {result.selection}; tuning: {result.tuning}",
        f"mean: over {observations(result.table)}; in brackets the {level} hierarchical bootstrap interval",
        *(
            ["half widths (Student's t) are left out so that the table fits; --format csv has all intervals"]
            if _has_spreads(result) and not spread
            else []
        ),
        *([result.declared] if result.declared else []),
        *([f"not as declared: {'; '.join(result.departures)}"] if result.departures else []),
        *(f"power guard, {family.sentence}" for family in _floors(result)),
    ]
    return [f"% {' '.join(line.split())}" for line in said]


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
    marked = "" if result.control is None or not _unequally_tuned(result) else "; a dagger: unequal tuning"
    return f"Against {reference}: {said} ({test}, level {number(result.options.alpha)}){marked}"


def _unequally_tuned(result: Comparison) -> bool:
    """Whether some method had another budget than the control."""
    found = dict(result.table.trials)
    return any(unequal(found, method, result.control or "") for method in result.methods)


def _floors(result: Comparison) -> list[Family]:
    """The families that the marks belong to and in which nothing could be shown."""
    if result.counts.datasets == 1 and result.control is not None:
        return []
    pairs = result.control is None
    return [family for family in result.power if family.sentence and (family.name == "all pairs") == pairs]
