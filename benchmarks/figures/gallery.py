"""What can be drawn of a results folder (benchmarks room, figures): file names to figures, drawn when asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ..grid.cell import safe_name
from ..leaderboard.naming import in_setting
from ..statistics.costs import costs_of
from ..statistics.power import number
from ..statistics.verdicts import basis, many, points, size
from . import clusters, costs, critical_difference, curves, deciles, effects, leakage, matrix, profiles, sweep, tradeoff
from .blocks import read_blocks
from .sheet import SCREEN, Sheet, ordered
from .varied import read_sweeps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..statistics.costs import Cost
    from ..statistics.result import Comparison, Effect, Pair
    from .blocks import Block

KINDS = {
    "ranks": "critical-difference diagram of mean ranks",
    "effects": "every method against the control, with intervals",
    "matrix": "multi-comparison matrix",
    "profiles": "performance profiles",
    "tradeoff": "points against bytes and seconds over all data sets, with intervals",
    "curves": "accuracy per round with seed bands",
    "costs": "accuracy against bytes, seconds and samples, with the Pareto front",
    "deciles": "per-client accuracy in deciles",
    "clusters": "who is in which cluster, per round",
    "leakage": "accuracy against what messages tell a curious server",
    "sweep": "accuracy, bytes and seconds against the one setting that varies, with seed bands",
}
"""Kinds of figures, in the order in which a reader wants them."""

OF_COMPARISON = ("ranks", "effects", "matrix", "profiles", "tradeoff")
"""Kinds that a comparison has; the others need records only."""

SWEPT = ("bytes", "seconds")
"""Costs that are drawn against a setting."""


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn."""

    kind: str
    """One of `KINDS`."""
    name: str
    """File name without its suffix, the same for the same records."""
    title: str
    """What it shows, and of what; also the text for who cannot see it."""
    draw: Callable[[], Figure]
    data: object = None
    """All that it is drawn of, with a `repr` that differs where the figures do."""


def from_records(
    records: Sequence[Record],
    comparison: Comparison | None,
    selection: Selection,
    first: Sequence[str] = (),
    width: float | None = None,
) -> tuple[list[Drawing], list[str]]:
    """What can be drawn of records, and for each data set without a sweep, why.

    Args:
        records: the records.
        comparison: of them; None where nothing can be compared.
        selection: the round that is reported.
        first: methods that stand out, after the control (or COSMOS) and before the best.
        width: inches of a figure for a paper; None: for screens.
    """
    blocks = read_blocks(records)
    control = None if comparison is None else comparison.control
    sheet = Sheet(width, ordered(blocks, [control or "cosmos", *first]))
    sweeps, no_sweep = from_sweeps(blocks, sheet)
    compared: list[Drawing] = []
    if comparison is not None:
        compared = [
            *from_comparison(comparison, sheet),
            *from_costs(costs_of(comparison, records, selection), comparison, sheet),
        ]
    return [*compared, *from_blocks(blocks, sheet), *sweeps], no_sweep


def from_blocks(blocks: Sequence[Block], sheet: Sheet = SCREEN) -> list[Drawing]:
    """The figures that need records only, of every block with a done run."""
    found = []
    for block in blocks:
        if not block.courses:
            continue
        where = block.label
        name = safe_name(block.dataset)
        if block.setting_name:
            name += f"-{safe_name(block.setting_name.replace(', ', '-'))}"
        draws: dict[str, Callable[[Block, str], Figure]] = {
            "curves": lambda block, where: curves.draw(block.courses, title=where, sheet=sheet),
            "costs": lambda block, where: costs.draw(block.courses, title=where, sheet=sheet),
            "deciles": lambda block, where: deciles.draw(deciles.read_deciles(block), title=where, sheet=sheet),
        }
        if any(clusters.has_clusters(runs[0]) for runs in block.records.values()):
            draws["clusters"] = lambda block, where: clusters.draw(
                clusters.read_memberships(block), title=where, sheet=sheet
            )
        if leaks := leakage.read_leaks(block):
            draws["leakage"] = lambda block, where, leaks=leaks: leakage.draw(leaks, title=where, sheet=sheet)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        data = (block.courses, [run.run for runs in block.records.values() for run in runs], leaks, sheet)
        for kind, draw in draws.items():
            title = f"{where}: {KINDS[kind]}"
            found.append(Drawing(kind, f"{kind}-{name}", title, partial(draw, block, where), data))
    return found


def from_sweeps(blocks: Sequence[Block], sheet: Sheet = SCREEN) -> tuple[list[Drawing], list[str]]:
    """The figures of settings that vary, and for each data set without one, why."""
    sweeps, reasons = read_sweeps(blocks)
    found = []
    for accuracy in sweeps:
        for one in (accuracy, *(accuracy.measured(cost) for cost in SWEPT)):
            if not one.lines:
                continue
            parts = [*([] if one is accuracy else [one.measure]), safe_name(one.dataset), safe_name(one.setting)]
            parts += [safe_name(one.where.replace(", ", "-"))] if one.where else []
            title = f"{in_setting(one.dataset, one.where)}: {one.measure} against {one.setting}"
            draw = partial(sweep.draw, one, title=title, sheet=sheet)
            found.append(Drawing("sweep", "-".join(["sweep", *parts]), title, draw, (one, sheet)))
    return found, reasons


def from_comparison(result: Comparison, sheet: Sheet = SCREEN) -> list[Drawing]:
    """The figures of a comparison that its numbers allow; a sheet without an order puts the control first."""
    found = []
    differences, control = result.rank_differences, result.control
    methods = [row.method for row in result.ranks]
    sheet = sheet.of(methods if control is None else [control, *(name for name in methods if name != control)])
    if differences is not None:
        text = (
            f"mean ranks over {size(result)}, 1 is best; bars join methods that Nemenyi's test does not tell apart at "
            f"{number(differences.alpha)}"
        )
        if _impossible(result):
            text += "; so few blocks that the exact signed-rank test tells no two apart, whatever their differences"
        ranks = {row.method: row.mean_rank for row in result.ranks if row.mean_rank is not None}
        found.append(
            _drawing(
                "ranks",
                lambda title: critical_difference.draw(
                    ranks,
                    differences.groups,
                    differences.critical_difference,
                    title=title,
                    text=text,
                    control=control,
                    sheet=sheet,
                ),
            )
        )
    if control is not None and result.effects:
        found.append(_drawing("effects", lambda title: _effects(result, control, title, sheet)))
    found.append(_drawing("matrix", lambda title: _matrix(result, title, sheet)))
    scores = _whole(result)
    if len(result.blocks) > 1 and scores:
        found.append(
            _drawing("profiles", lambda title: profiles.draw(profiles.profiles(scores), title=title, sheet=sheet))
        )
    return [replace(drawing, data=(result, sheet)) for drawing in found]


def from_costs(found: Sequence[Cost], result: Comparison, sheet: Sheet = SCREEN) -> list[Drawing]:
    """The figure of what accuracy costs over several families of data sets; nothing of one, which has its own.

    Args:
        found: of the control against each other method.
        result: the comparison that they belong to.
        sheet: its width, and how methods look.
    """
    if result.counts.families < 2 or not any(cost.bytes or cost.seconds for cost in found):
        return []
    level = f"{100 * (1 - result.options.alpha):g} %"
    interval = f"crosses: {level} intervals, the same bootstrap draws of families for both"
    if found[0].points.low is None:
        interval = "too few of them for intervals"
    text = (
        f"mean difference and geometric mean of ratios over {size(result)}; {interval}; shaded: within "
        f"{points(result.options.rope)}; bytes of whole runs, both ways, public inputs once; seconds as measured"
    )
    rope = result.options.rope
    drawing = _drawing("tradeoff", lambda title: tradeoff.draw(found, rope=rope, title=title, text=text, sheet=sheet))
    return [replace(drawing, data=(found, rope, text, sheet))]


def _drawing(kind: str, draw: Callable[[str], Figure]) -> Drawing:
    title = KINDS[kind][0].upper() + KINDS[kind][1:]
    return Drawing(kind, kind, title, partial(draw, title))


def _impossible(result: Comparison) -> bool:
    """Whether the exact test can tell no two methods apart with these blocks, whatever the numbers: the power floor."""
    return any(family.name == "all pairs" and not family.attainable for family in result.power)


def _effects(result: Comparison, control: str, title: str, sheet: Sheet) -> Figure:
    shown, spread = _forest(result)
    impossible = {one.method for one in result.joint if not one.attainable}
    if impossible and result.counts.blocks > 1:
        spread += "; dotted: with so few blocks no difference can be significant"
    tests = "; ".join(dict.fromkeys(basis(result, one, family=True) for one in result.decisions))
    return effects.draw(
        shown,
        control=control,
        rope=result.options.rope,
        significant={one.method for one in result.decisions if one.verdict in ("better", "worse")},
        impossible=impossible,
        families={one.method: one.family for one in result.decisions},
        title=title,
        text=f"over {size(result)}: {spread}; filled: better or worse ({tests}); shaded: within "
        f"{points(result.options.rope)}; at the right: wins, "
        f"ties and losses against {control}",
        sheet=sheet,
    )


def _forest(result: Comparison) -> tuple[list[Effect], str]:
    """The effects with the intervals to draw, and these in words: such as hold for all methods of a family at once."""
    level = f"{100 * (1 - result.options.alpha):g} %"
    if result.counts.datasets == 1:
        found = {one.method: (one.estimate, one.low, one.high) for one in result.decisions}
        spread = "mean difference; lines: what the test of the verdict does not reject at its step of Holm"
    else:
        found = {one.method: (one.shift, one.low, one.high) for one in result.joint}
        spread = f"Hodges-Lehmann shift; lines: its {level} intervals, which hold for all methods of a family at once"
    if all(low is None for _, low, _ in found.values()):
        spread = f"{spread.partition(';')[0]}; no intervals over so few data sets"
    shown = []
    for effect in result.effects:
        mean, low, high = found[effect.method]
        shown.append(replace(effect, difference=mean, low=low, high=high))
    return shown, spread


def _matrix(result: Comparison, title: str, sheet: Sheet) -> Figure:
    ordered = [row.method for row in result.ranks]
    always = [name for name in (result.control, "local", "fedavg") if name is not None]
    names = matrix.fitting(ordered, always, sheet)
    columns = dict(zip(result.methods, zip(*result.scores, strict=True), strict=True))
    pairs = {frozenset((pair.method, pair.other)): pair for pair in result.secondary}
    cells = {
        (row, column): _versus(columns[row], columns[column], pairs[frozenset((row, column))], result.options.rope)
        for row in names
        for column in names
        if row != column and frozenset((row, column)) in pairs
    }
    rest = "" if len(names) == len(ordered) else f"; {len(names)} of {len(ordered)} methods"
    return matrix.draw(
        names,
        cells,
        {row.method: row.mean for row in result.ranks},
        title=title,
        text=f"row minus column, points; wins, ties and losses of the row by more than {points(result.options.rope)}; "
        f"p of the signed rank, Holm over all {many(len(result.secondary), 'pair')}; bold, framed: significant; over "
        f"{size(result)}{rest}",
        sheet=sheet,
    )


def _versus(row: Sequence[float | None], column: Sequence[float | None], pair: Pair, margin: float) -> matrix.Versus:
    return matrix.Versus(*matrix.versus(row, column, margin), pair.p_holm, pair.significant)


def _whole(result: Comparison) -> dict[str, list[float]]:
    """Scores of the methods that have one on every block."""
    columns = dict(zip(result.methods, zip(*result.scores, strict=True), strict=True))
    return {
        name: [value for value in column if value is not None] for name, column in columns.items() if None not in column
    }
