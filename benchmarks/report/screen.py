"""The page of one screen of a results folder (benchmarks room, report): question, population, plot, verdicts.

Markdown, a pure function of the records and of what lies beside them. The rest is in the appendix: the comparison as
`compare` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ..statistics.population import averaged_settings, observations, population
from ..statistics.power import number
from ..statistics.result import Verdict
from ..statistics.verdicts import basis, many, points, qualified
from ..tables.comparison import markdown
from ..tuning.ledger import seeds_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..records.record import Record
    from ..statistics.plan import Plan
    from ..statistics.result import Comparison, Decision, Options
    from ..statistics.table import Table

PAGE, APPENDIX, PICTURE, NOTE = "README.md", "appendix.md", "effects.svg", "note.md"
"""Names in the folder: the page, the full tables, the plot; and words of one's own, which the page quotes."""

BEGIN = "<!-- written by `fl-bench compare --page`"
"""How a comment begins by which a page is known that no person wrote."""

WORDS: dict[Verdict, str] = {
    "better": "clearly better than",
    "worse": "clearly worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}
"""Verdicts before names."""

ALWAYS: tuple[Verdict, ...] = ("better", "worse", "undecided")
"""Verdicts of the first family that have a line even where nobody has them."""


@dataclass(frozen=True)
class Told:
    """What a page is made of."""

    name: str
    """Of the folder."""
    question: str
    """That of the grid; nothing where it asks none."""
    note: str
    """Words of one's own, Markdown; nothing where there are none."""
    table: Table
    options: Options
    plan: Plan
    records: Sequence[Record]
    """The newest of each run, at least one."""
    comparison: Comparison | None
    """What may be claimed, of a control; None where nothing is compared."""
    obstacle: str
    """Why nothing is compared, Markdown; nothing where something is."""


def render_screen(told: Told) -> str:
    """The page."""
    parts = [f"# {told.name}", f"{BEGIN} from the records; words of one's own go into {NOTE} -->"]
    parts += [f"**{told.question}**"] if told.question else []
    parts += [told.note] if told.note else []
    parts.append(_population(told))
    appendix = ""
    if told.comparison is None:
        parts.append(told.obstacle)
    else:
        parts += _found(told.comparison)
        appendix = f"All tables, tests and notes: [{APPENDIX}]({APPENDIX}). "
    parts.append(f"{appendix}Every method's numbers, with costs: `leaderboards/`.")
    return "\n\n".join(parts) + "\n"


def render_appendix(told: Told) -> str | None:
    """The comparison in full; None where there is none."""
    if told.comparison is None:
        return None
    return f"# {told.name}: the comparison in full\n\n{BEGIN} -->\n\n{markdown(told.comparison)}"


def in_short(comparison: Comparison) -> str:
    """What was found, in a sentence without numbers: the verdicts on the first family of tests."""
    groups = _by_verdict(comparison, comparison.decisions[0].family)
    said = [
        f"{WORDS[verdict]} {comparison.control}: {', '.join(one.method for one in group)}"
        for verdict, group in groups
        if group
    ]
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _population(told: Told) -> str:
    """What the page speaks of, as a table without a head."""
    table, records = told.table, told.records
    setting = population(table).partition(", ")[2]
    if len(table.settings) > 1 and averaged_settings(table) == 1:
        setting += f", {len(table.settings)} settings"
    seeds = sorted({seed for at in table.conditions for seed in at.seeds})
    rows = {
        "data": f"{observations(table, told.options.blocks)}: {', '.join(_families(table))}",
        "clients": f"{_span(records, 'partition', 'client')}, {_span(records, 'training', 'round')}: {setting}",
        "seeds": f"{len(seeds)} repetitions of {' and '.join(table.factors)}" if table.factors else _seeds(seeds),
        "numbers": f"{table.selection}, of {_runs(records)}",
        "tuning": table.tuning,
        "comparison": "; ".join(_comparison(told)),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(text)} |" for name, text in rows.items())])


def _comparison(told: Told) -> Iterable[str]:
    """Whether it was declared, what is done otherwise, and what counts as different and as the same."""
    yield told.plan.said or "not declared before the runs"
    if told.plan.departures:
        yield f"not as declared: {', '.join(told.plan.departures)}"
    if told.comparison is not None:
        yield f"level {number(told.options.alpha)} of each family of tests, ROPE {points(told.options.rope)}"


def _found(result: Comparison) -> list[str]:
    """The plot, the verdicts on the first family, those on the others, and what the design could not show."""
    families = list(dict.fromkeys(one.family for one in result.decisions))
    first = next(one for one in result.decisions if one.family == families[0])
    lines = []
    for verdict, group in _by_verdict(result, families[0]):
        if group or verdict in ALWAYS:
            words = f"{WORDS[verdict][0].upper()}{WORDS[verdict][1:]} {result.control}"
            lines.append(f"- **{words}:** {_listed(result, group)}")
    parts = [
        f"![Every method against {result.control}, with intervals]({PICTURE})",
        f"Verdicts against {result.control} ({basis(result, first, family=True)}), with points, the method minus "
        f"{result.control}:",
        "\n".join(lines),
    ]
    if len(families) > 1:
        parts.append("Other families of tests, each with its own correction:")
        parts.append("\n".join(f"- {family}: {_in_a_line(result, family)}" for family in families[1:]))
    floors = [one.sentence for one in result.power if one.sentence and one.name != "all pairs"]
    if floors and result.counts.datasets > 1:
        parts.append("\n".join(f"Power guard, {sentence}." for sentence in floors))
    return parts


def _in_a_line(result: Comparison, family: str) -> str:
    said = [
        f"{WORDS[verdict]} {result.control}: {_listed(result, group)}"
        for verdict, group in _by_verdict(result, family)
        if group
    ]
    return "; ".join(said)


def _by_verdict(result: Comparison, family: str) -> list[tuple[Verdict, list[Decision]]]:
    """The verdicts on a family of tests, the best method first."""
    own = sorted((one for one in result.decisions if one.family == family), key=lambda one: (-one.estimate, one.method))
    return [(verdict, [one for one in own if one.verdict == verdict]) for verdict in get_args(Verdict)]


def _listed(result: Comparison, group: Sequence[Decision]) -> str:
    """Methods with the estimate of the test and its interval; `none` for none."""
    return ", ".join(f"{qualified(result, one)} {_numbers(one)}" for one in group) or "none"


def _numbers(one: Decision) -> str:
    return f"{one.estimate:+.2f}" + ("" if one.low is None else f" ({one.low:+.2f} to {one.high:+.2f})")


def _families(table: Table) -> list[str]:
    """The data sets, those of one family together."""
    found: dict[str, dict[str, None]] = {}
    for at in table.conditions:
        found.setdefault(at.unit, {})[at.dataset] = None
    return [" with ".join(names) for names in found.values()]


def _span(records: Sequence[Record], section: str, word: str) -> str:
    """`21 clients`, `10 to 131 clients`: the least and the most of what runs were asked for."""
    counts = [int(record.cell[section][f"{word}s"]) for record in records]
    least, most = min(counts), max(counts)
    return many(most, word) if least == most else f"{least} to {many(most, word)}"


def _seeds(seeds: Sequence[int]) -> str:
    return seeds_in_words(seeds).partition(" ")[2]


def _runs(records: Sequence[Record]) -> str:
    other = sum(record.status != "done" for record in records)
    return many(len(records), "run") + (f", {other} of them not done" if other else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
