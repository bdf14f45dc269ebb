"""What docs/cosmos.md says of COSMOS against other methods (benchmarks room): from the tuned grid `offline`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from ....methods.registry import METHODS
from ...commands.question import Question
from ...commands.screen import tell
from ...statistics.comparison import compare
from ...statistics.population import population
from ...statistics.verdicts import many
from ...tuning.ledger import NAME
from ..sections import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...report.screen import Told
    from ...statistics.result import Comparison, Joint
    from ...statistics.table import Condition, Table

RECORDS = Path(__file__).resolve().parents[3] / "results" / "offline"
"""The records of the grid `offline`; what is said of them takes the ledger of its tuning."""

TEXT, NO_CLAIM = (Path(__file__).with_name(name) for name in ("section.md", "none.md"))
"""The words of the section, `{name}` stands for what `facts` computes; and those without a ledger."""

KINDS = {
    "bound": "training alone",
    "averaging": "averaging",
    "personalized": "personalized",
    "clustered": "clustered",
    "prototypes": "prototypes",
    "distillation": "distillation",
}
"""Categories of methods in words, in the order of the table."""

PARTS = {
    "cosmos-k1": "one cluster",
    "cosmos-no-model": "no server model",
    "cosmos-random": "random clusters \\*",
    "cosmos-oracle": "true groups \\*",
}
"""COSMOS without one of its parts, or with what no method has; a star has who is told the true groups."""


def told(results: Path = RECORDS) -> str:
    """The section, or why nothing is claimed: without a ledger the grid is not the tuned one."""
    text = NO_CLAIM.read_text(encoding="utf-8")
    if (results / NAME).is_file():
        text = TEXT.read_text(encoding="utf-8").format(**facts(tell(results, Question())[0]))
    return text.strip()


def facts(told: Told) -> dict[str, str]:
    """What the section is filled with.

    Raises:
        DataError: the records allow no comparison that was declared.
    """
    result = told.comparison
    if result is None:
        raise DataError(f"docs/cosmos.md has nothing to say of {told.name}: {told.obstacle}")
    kinds = _kinds(told, result)
    assert result.control is not None  # there is a comparison
    return {
        "population": population(result.table, result.options.blocks),
        "tuning": result.tuning,
        "gains": table(
            ["minus COSMOS", "points (simultaneous)", "verdict of the test on each"],
            [*_against_kinds(result, kinds), *_parts(result)],
        ),
        "losses": _losses(result, kinds),
    }


def _kinds(told: Told, result: Comparison) -> dict[str, list[str]]:
    """The methods of the first family by their category, in the order of `KINDS`."""
    category = {record.label: METHODS[record.cell["method"]["name"]].category for record in told.records}
    first = result.decisions[0].family
    names = [one.method for one in result.decisions if one.family == first]
    return {
        words: own for kind, words in KINDS.items() if (own := [name for name in names if category.get(name) == kind])
    }


def _against_kinds(result: Comparison, kinds: Mapping[str, list[str]]) -> list[list[str]]:
    """A row per category: the mean of its methods minus COSMOS, intervals for all categories at once."""
    of_kinds = compare(_means(result.table, result.control or "", kinds), result.options)
    found = {one.method: one for one in of_kinds.joint}
    return [[f"{words}, their mean", _points(found[words]), _verdicts(result, kinds[words])] for words in kinds]


def _means(whole: Table, control: str, kinds: Mapping[str, list[str]]) -> Table:
    """The table of the control and, as if they were methods, the means of each category's."""
    columns = {control: [control], **kinds}
    names = tuple(sorted(columns))
    place = {name: row for row, name in enumerate(whole.methods)}

    def condition(at: Condition) -> Condition:
        rows = [[at.accuracy[place[name]] for name in columns[column]] for column in names]
        return replace(
            at,
            accuracy=tuple(tuple(map(_mean, zip(*of_column, strict=True))) for of_column in rows),
            status=tuple(tuple("done" for _ in at.seeds) for _ in names),
        )

    return replace(whole, methods=names, conditions=tuple(map(condition, whole.conditions)), trials=(), notes=())


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None) / len(known)


def _parts(result: Comparison) -> list[list[str]]:
    """A row per ablation and bound that is there."""
    found = {one.method: one for one in result.joint}
    return [
        [words, _points(found[name]), _verdicts(result, [name], named=False)]
        for name, words in PARTS.items()
        if name in found
    ]


def _points(one: Joint) -> str:
    edges = "" if one.low is None else f" ({one.low:+.1f} to {one.high:+.1f})"
    return f"{one.shift:+.1f}{edges}"


def _verdicts(result: Comparison, names: Iterable[str], *, named: bool = True) -> str:
    """`better: fedavg; undecided: ditto`; of a single method the verdict alone, where it has a row of its own."""
    verdict = {one.method: one.verdict for one in result.decisions}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(verdict[name], []).append(name)
    return "; ".join(f"{word}: {', '.join(own)}" if named else word for word, own in groups.items())


def _losses(result: Comparison, kinds: Mapping[str, list[str]]) -> str:
    """How often a method of the first family is ahead on a single data set, which, and where: over the whole table."""
    methods = {name for own in kinds.values() for name in own}
    rows = [row for row in result.per_dataset if row.method in methods and row.significant]
    behind = [row for row in rows if row.difference > 0]
    lost = "it is behind nowhere"
    if behind:
        whom = ", ".join(f"{name} {count}" for name, count in Counter(row.method for row in behind).most_common())
        where = ", ".join(f"{name} {count}" for name, count in Counter(row.dataset for row in behind).most_common())
        lost = f"it is behind {many(len(behind), 'time')} ({whom}; on {where})"
    total = many(len(result.per_dataset), "difference")
    return f"{total} on single data sets {lost}, and ahead {many(len(rows) - len(behind), 'time')}"
