"""Which tests a comparison makes, and how that stands to what was declared (benchmarks room)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records.declarations import recorded_before
from .verdicts import points

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..grid.declaration import Declaration
    from ..records.declarations import Declared
    from ..records.record import Record
    from .result import Options
    from .table import Table

CONTROL = "cosmos"
"""The control where none is named."""

ALL, UNDECLARED = "methods", "not declared"
"""The family of all methods where nothing else is said; and that of methods which a declaration does not know."""

FEW = 3
"""Up to so many names are listed in a departure."""


@dataclass(frozen=True)
class Plan:
    """The families of tests as they were meant, whatever the table has of them."""

    families: tuple[tuple[str, tuple[str, ...]], ...]
    """Methods by family; the control is in none."""
    declared: bool = False
    """Whether a grid declared them; else they are what the records or the table would allow."""
    said: str = ""
    """By which grid it was declared, when, and before or after how many runs."""
    departures: tuple[str, ...] = ()
    """What the comparison does otherwise than declared."""

    def tested(self, methods: Sequence[str], control: str | None) -> tuple[Tested, ...]:
        """The families with what a table has of them, without those it has nothing of."""
        whole = [*self.families]
        known = {name for _, names in whole for name in names}
        added = tuple(name for name in methods if name not in known and name != control)
        found = [
            Tested(name, tuple(one for one in methods if one in names and one != control), len(set(names) - {control}))
            for name, names in (*whole, (UNDECLARED, added))
        ]
        return tuple(family for family in found if family.methods)

    def sizes(self, methods: Sequence[str], control: str | None) -> dict[str, int]:
        """How many tests each family has, and that of all pairs of the control and the first family."""
        tested = self.tested(methods, control) if control is not None else ()
        found = {"against the control" if len(tested) == 1 else family.name: len(family.methods) for family in tested}
        paired = 1 + len(tested[0].methods) if tested else len(methods)
        if not found or paired > 2:  # of two methods the only pair is that with the control
            found["all pairs"] = paired * (paired - 1) // 2
        return found


@dataclass(frozen=True)
class Tested:
    """A family of tests as it is made: each method against the control, with Holm over them."""

    name: str
    methods: tuple[str, ...]
    planned: int
    """Tests that the family was meant to have."""


def whole_table(methods: Iterable[str], control: str | None) -> Plan:
    """One family of all methods: those of the table, or those that it was taken from."""
    return Plan(((ALL, tuple(sorted(set(methods) - {control}))),))


def follow(
    history: Sequence[Declared], table: Table, options: Options, selection: str, records: Sequence[Record]
) -> Plan:
    """The plan that a grid declared, with what this comparison does otherwise.

    Args:
        history: the grid's declarations, of which the last counts.
        table: what is compared.
        options: how.
        selection: which round is reported, `last` or `val`.
        records: the runs that are compared.
    """
    meant = history[-1].comparison
    families = meant.families()
    if options.control not in (None, meant.control):  # other tests than those that were meant: one family of all
        families = ((ALL, tuple(name for name in meant.compared if name != options.control)),)
    return Plan(
        families=families,
        declared=True,
        said=_said(history, records),
        departures=tuple(_departures(meant, table, options, selection)),
    )


def _said(history: Sequence[Declared], records: Sequence[Record]) -> str:
    declared, runs = history[-1], len(records)
    early = recorded_before(declared, records)
    if early == 0 and declared.recorded:  # records without a clock that tells
        early, runs = declared.recorded, declared.runs
    when = "before its first run" if early == 0 else f"after {early} of {runs} runs"
    changed = f"; declared otherwise at {history[-2].date}" if len(history) > 1 else ""
    return f"declared {when}, by the grid {declared.grid} at {declared.date}{changed}"


def _departures(meant: Declaration, table: Table, options: Options, selection: str) -> Iterable[str]:
    if options.control not in (None, meant.control):
        yield f"control {options.control} instead of {meant.control}"
    yield from _different("method", meant.compared, table.methods)
    yield from _different("data set", meant.datasets, table.datasets)
    if not table.factors:
        seeds = {seed for condition in table.conditions for seed in condition.seeds}
        yield from _different("seed", [str(seed) for seed in meant.seeds], [str(seed) for seed in sorted(seeds)])
    if options.alpha != meant.level:
        yield f"level {options.alpha:g} instead of {meant.level:g}"
    if options.rope != meant.rope:
        yield f"ROPE {options.rope:g} instead of {points(meant.rope)}"
    if selection != meant.select:
        yield f"--select {selection} instead of {meant.select}"
    if options.blocks != "family":
        yield f"--blocks {options.blocks}"


def _different(word: str, meant: Sequence[str], found: Sequence[str]) -> Iterable[str]:
    left, added = ([name for name in one if name not in other] for one, other in ((meant, found), (found, meant)))
    for names, what in ((left, "left out"), (added, "added")):
        if names:
            listed = f" ({', '.join(names)})" if len(names) <= FEW else ""
            yield f"{len(names)} {word}{'s' if len(names) > 1 else ''} {what}{listed}"
