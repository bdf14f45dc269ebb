"""A comparison as text (benchmarks room): terminal, Markdown, JSON; LaTeX and CSV are in files of their own.

Everything is a pure function of the result: the same table gives the same bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..grid.names import in_order
from ..leaderboard.budgets import unequal
from ..statistics.plan import CONTROL
from ..statistics.population import observations, unit
from ..statistics.power import BLOCK_WORDS, number
from ..statistics.verdicts import basis, many, points, size
from .printing import print_table
from .terminal import PIPE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ..statistics.result import Comparison, Decision, OnDataset, Pair

FEW_METHODS = 6
"""Up to so many methods, all pairs are shown; of more, only those that differ."""

FEW_VERDICTS = 12
"""Up to so many methods against the control each has its sentence at the terminal; the other forms always have them."""

FEW_COLUMNS = 5
"""Up to so many columns, differences on single data sets stand with their intervals."""

FEW_FLIPS = 5
"""Pairs of unstable order that are named at the terminal."""


@dataclass(frozen=True)
class Section:
    """A table with what is needed to read it."""

    title: str
    rows: list[dict[str, Any]]
    caption: str = ""
    brief: str = ""
    """As much of the caption as nobody can do without; empty where that is all of it."""


def print_comparison(console: Console, result: Comparison, *, explain: bool = False) -> None:
    """The comparison at the terminal: what was compared, what may be said, and the tables behind it.

    Args:
        console: where to.
        result: what was found.
        explain: whether captions say what every column is.
    """
    for line in (*heading(result), ""):
        console.print(line, markup=False, highlight=False)
    sentences = [*result.summary, *(result.verdicts if len(result.verdicts) <= FEW_VERDICTS else ())]
    for sentence in sentences:
        console.print(f"- {sentence}", markup=False, highlight=False)
    for section in sections(result):
        console.print(f"\n{section.title}", markup=False, highlight=False, style="bold")
        print_table(console, section.rows)
        caption = section.caption if explain or not section.brief else f"{section.brief} (--explain)"
        if caption:
            console.print(caption, markup=False, highlight=False)
    if result.notes:
        console.print("\nnotes", markup=False, highlight=False, style="bold")
    for note in result.notes:
        console.print(f"- {note}", markup=False, highlight=False)


def plain(result: Comparison) -> str:
    """The same as text, for a file."""
    from rich.console import Console

    buffer = io.StringIO()
    print_comparison(Console(file=buffer, width=PIPE_WIDTH), result, explain=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def markdown(result: Comparison) -> str:
    """The same as Markdown, with a sentence per method."""
    parts = [*heading(result), "", *(f"- {sentence}" for sentence in (*result.summary, *result.verdicts))]
    for section in sections(result):
        columns = [name.replace("\n", " ") for name in section.rows[0]]
        parts += ["", f"## {section.title}", "", _bars(columns), _bars(["---"] * len(columns))]
        parts += [_bars(_show(value) for value in row.values()) for row in section.rows]
        parts += ["", *section.caption.splitlines()] if section.caption else []
    if result.notes:
        parts += ["", "## notes", "", *(f"- {note}" for note in result.notes)]
    return "\n".join(parts) + "\n"


def as_json(result: Comparison) -> str:
    """All of the result."""
    return json.dumps(result.as_dict(), indent=1, allow_nan=False) + "\n"


def heading(result: Comparison) -> list[str]:
    """What was compared, in which state."""
    lines = [f"{many(len(result.methods), 'method')} on {size(result)}"]
    unnamed = result.options.control is None and result.control not in (None, CONTROL)
    first = ", the first by name (--control names another)" if unnamed else ""
    lines.append(
        f"control {result.control or '(none)'}{first}, level {number(result.options.alpha)}, "
        f"ROPE and tie margin {points(result.options.rope)}"
    )
    lines.append(f"accuracies: {result.selection}; tuning: {result.tuning}")
    if result.declared:
        lines.append(result.declared)
    if result.departures:
        lines.append(f"not as declared: {'; '.join(result.departures)}")
    if result.missing:
        lines += ["missing:", *(f"  {line}" for line in result.missing)]
        left = "; ".join(result.dropped) or "nothing more"
        lines.append(f"left out because of it ({result.options.on_missing}): {left}")
    return lines


def sections(result: Comparison) -> list[Section]:
    """The tables, in the order in which they are read."""
    if result.counts.datasets == 1 and result.primary:
        several = [_datasets(result)] if result.per_dataset and len(result.table.conditions) > 1 else []
        found = [_on_one(result), *several, _standing(result)]
    elif result.primary:
        found = [
            _standing(result),
            _primary(result),
            *filter(lambda section: section.rows, [_predictions(result)]),
            _datasets(result),
        ]
    else:
        found = [_standing(result)]
    if result.with_chance:
        found.append(
            Section(
                "With diverged runs at the accuracy of guessing",
                [{"method": pair.method, **_test(pair)} for pair in result.with_chance],
            )
        )
    rest = (_pairs(result), _stability(result), _variance(result))
    found += [section for section in rest[result.counts.blocks == 1 :] if section.rows]  # one block orders no pair
    return found


def _standing(result: Comparison) -> Section:
    level = f"{100 * (1 - result.options.alpha):g} %"
    one, several = BLOCK_WORDS[unit(result.table, "family")]
    families = several == "families"
    rows = [
        {
            "method": row.method,
            "mean %": f"{row.mean:.2f}",
            "interval": _span(row.low, row.high, 2),
            "mean\nrank": "" if row.mean_rank is None else f"{row.mean_rank:.2f}",
            "rank\ninterval": _span(row.rank_low, row.rank_high, 1),
            "without\none": "" if row.without_one is None else _span(*row.without_one, 1),
            "best": "" if row.best is None else f"{row.best:.2f}",
        }
        for row in result.ranks
    ]
    shown = _without_empty(rows)
    said = {
        "mean %": f"mean over {several} of means over {'data sets and ' if families else ''}seeds",
        "without\none": f"without one: lowest and highest mean rank when a {one} is left out",
        "best": "best: share of bootstrap draws with the best mean rank",
        "interval": f"intervals: {level}, hierarchical bootstrap over {'families, ' if families else ''}data sets, "
        "settings and seeds",
    }
    brief = f"mean %: over {several}; intervals: {level}, bootstrap over {several}"
    return Section("Where the methods stand", shown, "; ".join(_said(said, shown)), brief)


def _primary(result: Comparison) -> Section:
    families = list(dict.fromkeys(decision.family for decision in result.decisions))
    rows = []
    parts = zip(result.decisions, result.effects, result.joint, result.primary, strict=True)
    for decision, effect, one, pair in parts:
        rows.append(
            {
                "method": decision.method,
                "family": decision.family if len(families) > 1 else "",
                "verdict": decision.verdict,
                "unequal\ntuning": _unequal(result, decision),
                "shift": f"{decision.estimate:+.2f}",
                "its\ninterval": _span(decision.low, decision.high, 2, sign="+"),
                "mean": f"{one.mean:+.2f}",
                "simultaneous": _span(one.low, one.high, 2, sign="+"),
                "win tie\nloss": f"{effect.wins} {effect.ties} {effect.losses}",
                "p": number(pair.p),
                "p Holm": number(pair.p_holm) + ("*" if pair.significant else ""),
                "rank\nbiserial": f"{pair.rank_biserial:+.2f}",
                "P(impr.)": f"{effect.probability_of_improvement:.2f}",
                "p ranks": "" if pair.rank_p is None else number(pair.rank_p),
            }
        )
    level = f"{100 * (1 - result.options.alpha):g} %"
    tests = {one.family: basis(result, one, family=True).removeprefix("signed rank, ") for one in result.decisions}
    corrected = "; ".join(f"{family}: {text}" if len(tests) > 1 else text for family, text in tests.items())
    shown = _without_empty(rows)
    said = {
        "method": f"exact two-sided signed rank over {_test_over(result)}{corrected and f', {corrected}'}; "
        f"* at {number(result.options.alpha)}",
        "shift": f"shift: Hodges-Lehmann, points, the method minus {result.control}",
        "its\ninterval": "its interval: the shifts that the test of the verdict does not reject at its step of Holm",
        "mean": "mean: over blocks",
        "simultaneous": f"simultaneous: {level} intervals of the shifts that hold jointly (signed rank, Bonferroni)",
        "win tie\nloss": f"win tie loss: blocks, margin {result.options.rope:g}",
        "P(impr.)": "P(impr.): share of runs that the method wins, paired by seed",
        "p ranks": "p ranks: from mean ranks, Holm; depends on the other methods",
    }
    brief = f"points, the method minus {result.control}, over {_test_over(result)}; * at {number(result.options.alpha)}"
    return Section(f"Against {result.control}", shown, ". ".join(_said(said, shown)), brief)


def _unequal(result: Comparison, decision: Decision) -> str:
    """Beside a verdict over unequal tuning: how many trials either had, `12 trials against 0`."""
    return unequal(dict(result.table.trials), decision.method, decision.other).removeprefix("unequal tuning: ")


def _test_over(result: Comparison) -> str:
    text = many(result.counts.blocks, "block")
    if result.options.blocks != "cluster":
        return text
    return f"{many(result.counts.datasets, 'data set')}, signs flipped by family ({result.counts.families})"


def _on_one(result: Comparison) -> Section:
    """The comparison on the only data set, where seeds are all that repeats."""
    rows = [
        {
            "method": decision.method,
            "family": decision.family if len({one.family for one in result.decisions}) > 1 else "",
            "verdict": decision.verdict,
            "unequal\ntuning": _unequal(result, decision),
            "points": f"{decision.estimate:+.2f}",
            "interval": _span(decision.low, decision.high, 2, sign="+"),
            "p Holm": "" if decision.p is None else number(decision.p),
            "seeds": decision.units,
        }
        for decision in result.decisions
    ]
    shown = _without_empty(rows)
    said = {
        "points": f"points: the method minus {result.control}, mean over seeds",
        "interval": "interval: what the test of the verdict, Student's t, does not reject at its step of Holm",
    }
    return Section(
        f"Against {result.control} on {result.table.datasets[0]}, paired by seed",
        shown,
        f"{'; '.join(_said(said, shown))}. It is about that data set only",
    )


def _predictions(result: Comparison) -> Section:
    rows: dict[str, dict[str, Any]] = {}
    for found in result.predictions:
        row = rows.setdefault(found.method, {"method": found.method})
        if found.model == "scale-free":
            row["better\n(scale-free)"] = f"{found.better:.2f}"
            continue
        row |= {name: f"{getattr(found, name):.2f}" for name in ("worse", "equivalent", "better")}
        row["interval"] = _span(found.low, found.high, 1, sign="+")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    free = "; scale-free: better by any amount, with each data set in units of its own noise"
    return Section(
        f"Prediction for the next data set, against {result.control}",
        [{name: row.get(name, "") for name in columns} for row in rows.values()],
        f"predictive probabilities, equivalent: within {points(result.options.rope)}"
        f"{free if any('scale' in name for name in columns) else ''}; from "
        f"{observations(result.table, result.options.blocks)}, for one like them",
    )


def _datasets(result: Comparison) -> Section:
    """Methods down and data sets across, or the other way round where there are more data sets."""
    conditions = sorted(result.table.conditions, key=lambda at: in_order(at.label))
    settings = len(result.table.settings) > 1
    labels = {(at.dataset, at.setting): at.label if settings else at.dataset for at in conditions}
    methods = list(dict.fromkeys(row.method for row in result.per_dataset))
    across = min(len(methods), len(conditions))
    cells = {
        (row.method, labels[row.dataset, row.setting]): _difference(row, spread=across <= FEW_COLUMNS)
        for row in result.per_dataset
    }
    if len(conditions) > len(methods):
        rows = [
            {"data set": label, **{name: cells.get((name, label), "") for name in methods}} for label in labels.values()
        ]
    else:
        rows = [
            {"method": name, **{label: cells.get((name, label), "") for label in labels.values()}} for name in methods
        ]
    spread = (
        "± Student's t, simultaneous over the whole table (Bonferroni)"
        if across <= FEW_COLUMNS
        else "intervals are in --format csv"
    )
    return Section(
        f"Against {result.control} on each data set by itself",
        rows,
        f"points, the method minus {result.control}, paired by seed; {spread}; * after Holm over all "
        f"{many(len(result.per_dataset), 'difference')}. Each is about its data set only",
        f"points, the method minus {result.control}; {spread.partition(',')[0]}; * after Holm",
    )


def _difference(row: OnDataset, *, spread: bool) -> str:
    half = "" if not spread or row.low is None or row.high is None else f" ± {(row.high - row.low) / 2:.1f}"
    return f"{row.difference:+.1f}{half}{'*' if row.significant else ''}"


def _pairs(result: Comparison) -> Section:
    shown = [pair for pair in result.secondary if pair.significant or len(result.methods) <= FEW_METHODS]
    rows = [{"method": pair.method, "against": pair.other, **_test(pair)} for pair in shown]
    ranks = result.rank_differences
    caption = f"exact signed rank, Holm over {many(len(result.secondary), 'pair')}"
    if len(shown) < len(result.secondary):
        caption += f", of which {len(shown)} differ; the others are in --format csv"
    if ranks is not None:
        groups = "; ".join(f"{{{', '.join(group)}}}" for group in ranks.groups) or "none"
        caption += (
            f". p ranks: Nemenyi, critical difference of mean ranks {ranks.critical_difference:.2f} "
            f"(against one method, Bonferroni-Dunn: {ranks.control_difference:.2f}); not told apart: {groups}"
        )
    brief = f"points, the method minus the other; * after Holm over {many(len(result.secondary), 'pair')}"
    return Section("All pairs", _without_empty(rows), caption, brief)


def _stability(result: Comparison) -> Section:
    rows: list[dict[str, Any]] = [
        {
            "without": left.dataset,
            "best mean rank": left.leader,
            "newly differs": ", ".join(left.gained),
            "no longer differs": ", ".join(left.lost),
        }
        for left in result.left_out
    ]
    named = [f"{flip.better} > {flip.worse} (not without {' or '.join(flip.without)})" for flip in result.flips]
    more = len(named) - FEW_FLIPS
    caption = ""
    if named:
        caption = "orders by mean rank that depend on a third method: " + "; ".join(named[:FEW_FLIPS])
        caption += f"; and {more} more (--format json)" if more > 0 else ""
    one = BLOCK_WORDS[unit(result.table, "family")][0]
    return Section(f"Robustness: one {one} left out at a time", _without_empty(rows), caption)


def _variance(result: Comparison) -> Section:
    labels = {(at.dataset, at.setting): at.label for at in result.table.conditions}
    rows: dict[str, dict[str, Any]] = {}
    for part in result.seed_variance:
        label = labels[part.dataset, part.setting]
        row = rows.setdefault(label, {"data set": label})
        row[part.factor] = "" if part.std is None else f"{part.std:.2f} ({part.degrees})"
    return Section(
        "Where the variance of repetitions comes from",
        list(rows.values()),
        "standard deviation in points when only this varies (degrees of freedom), pooled over methods",
    )


def _test(pair: Pair) -> dict[str, Any]:
    return {
        "points": f"{pair.difference:+.2f}",
        "blocks": pair.blocks,
        "p": number(pair.p),
        "p Holm": number(pair.p_holm) + ("*" if pair.significant else ""),
        "rank\nbiserial": f"{pair.rank_biserial:+.2f}",
        "p ranks": "" if pair.rank_p is None else number(pair.rank_p),
    }


def _span(low: float | None, high: float | None, places: int, sign: str = "") -> str:
    return "" if low is None or high is None else f"{low:{sign}.{places}f} to {high:{sign}.{places}f}"


def _without_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the columns in which no row has anything."""
    full = [name for name in rows[0] if any(row[name] != "" for row in rows)] if rows else []
    return [{name: row[name] for name in full} for row in rows]


def _said(words: dict[str, str], rows: list[dict[str, Any]]) -> list[str]:
    """Of what is said of columns, that of the columns which are there."""
    return [text for column, text in words.items() if rows and column in rows[0]]


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _show(value: Any) -> str:
    return str(value).replace("|", "\\|")
