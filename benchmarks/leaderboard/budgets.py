"""How many settings were tried for each method of some records (benchmarks room), by the ledger of their folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..tuning.coverage import trials_of
from ..tuning.ledger import seeds_in_words
from .pairing import comparisons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..records.record import Record
    from ..tuning.ledger import Ledger

Budgets = dict[str, int]
"""Trials of each method, by its name in tables; empty where there is no ledger, so that nothing is known."""


def budgets(records: Sequence[Record], ledger: Ledger | None) -> Budgets:
    """The trials behind each method's settings; 0 where the ledger did not choose those that it ran with.

    Args:
        records: runs of a results folder.
        ledger: the folder's.
    """
    if ledger is None:
        return {}
    found: dict[str, list[int]] = {}
    for methods in comparisons(records).values():
        for name, group in methods.items():
            found.setdefault(name, []).extend(trials_of(record.label, record.cell, ledger) for record in group)
    return {name: min(trials) for name, trials in found.items()}


def in_words(found: Mapping[str, int], ledger: Ledger, rounds: Iterable[int] = ()) -> str:
    """How settings were chosen: `8 trials each, validation, seeds 100-101`.

    Args:
        found: trials of methods.
        ledger: of the tuning.
        rounds: of the runs that are compared, which are said where trials had others.
    """
    trials, run = set(found.values()), sorted(set(rounds))
    basis = f"validation, {seeds_in_words(ledger.seeds)}"
    if ledger.grid.rounds and run and tuple(run) != ledger.grid.rounds:
        basis += f", chosen at {_listed(ledger.grid.rounds)} rounds and run for {_listed(run)}"
    if len(trials) == 1:
        return f"{_trials(trials.pop())} each, {basis}"
    groups = {count: [name for name, own in found.items() if own == count] for count in sorted(trials, reverse=True)}
    said = "; ".join(f"{_trials(count)}: {', '.join(names)}" for count, names in groups.items())
    return f"unequal tuning, {basis}: {said}"


def unequal(found: Mapping[str, int], method: str, other: str) -> str:
    """What a verdict on two methods has to say of their tuning: nothing where both had as much.

    Args:
        found: trials of methods; a view of a method (`cosmos · server_assigned`) has its method's.
        method: the one.
        other: the other.
    """
    mine, theirs = (found.get(name.partition(" · ")[0]) for name in (method, other))
    if mine is None or theirs is None or mine == theirs:
        return ""
    return f"unequal tuning: {_trials(mine)} against {theirs}"


def how_choices_vary(ledger: Ledger) -> str:
    """What tunings with other seeds would have chosen, in a line; nothing where there was one."""
    if len(ledger.tunings) == 1:
        return ""
    searches = [{(search.method, search.places): search for search in tuning.searches} for tuning in ledger.tunings]
    parts = []
    for key, first in searches[0].items():
        others = [tuning[key] for tuning in searches if key in tuning]
        moved = {name: list(dict.fromkeys(search.choice.settings[name] for search in others)) for name in first.space}
        said = [f"{name} {', '.join(map(_short, values))}" for name, values in moved.items() if len(values) > 1]
        place = f" on {first.places[0]}" if ledger.per == "dataset" else ""
        parts.append(f"{first.method}{place}: {'; '.join(said) or 'the same'}")
    return f"choices of {len(ledger.tunings)} tunings with other seeds, the first one used: {' | '.join(parts)}"


def _listed(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
