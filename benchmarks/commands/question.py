"""What `compare`, `power`, `figures` and `report` are asked (benchmarks room): options, what was declared, a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from fl_bench.errors import ConfigError, unknown_name

from .damaged import read_undamaged
from .options import read_selection
from .reasons import say_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...datasets.overlap import Overlap
    from ..leaderboard.reported import Selection
    from ..records.declarations import Declared
    from ..records.record import Record
    from ..statistics.plan import Plan
    from ..statistics.result import OnMissing, Options
    from ..statistics.table import Blocks, Table
    from ..tuning.ledger import Ledger

TABLES = (".csv", ".tsv", ".md", ".markdown", ".tex")
"""Suffixes of files that hold a table rather than records."""

LEVEL, ROPE = 0.05, 1.0
"""Where neither the command line nor a declaration says another one; the ROPE in points."""


@dataclass(frozen=True)
class Question:
    """The command line; None leaves a thing to the declaration, or to its default."""

    control: str | None = None
    alpha: float | None = None
    rope: float | None = None
    select: str | None = None
    blocks: str = "family"
    on_missing: str = "refuse"
    methods: str | None = None
    datasets: str | None = None
    settings: str | None = None
    families: str | None = None
    grid: str | None = None
    """Whose declaration counts; None: that which was made last."""


@dataclass(frozen=True)
class Asked:
    """What is to be compared, and how."""

    table: Table
    options: Options
    plan: Plan
    selection: Selection


def ask(source: Path, question: Question) -> tuple[Asked, int]:
    """The question about a results folder, a bundle or a table of numbers, and the exit code so far.

    Raises:
        ConfigError: an option is impossible, a method, data set or grid unknown.
        DataError: nothing can be read.
    """
    from ..records.declarations import read_declarations
    from ..records.shared_rows import overlaps_in
    from ..records.store import Store
    from ..statistics.numbers import read_table
    from ..statistics.plan import whole_table
    from ..tuning.travel import ledger_in

    if source.suffix not in TABLES:
        records, code = read_undamaged(source, "rounds")
        store = Store(source)
        ledger = ledger_in(store.results)
        asked = ask_records(
            records, read_declarations(store), question, ledger=ledger, overlaps=overlaps_in(store.results)
        )
        say_reasons(_compared(records, asked.table))
        return asked, code
    if question.settings is not None:
        raise ConfigError(f"--settings chooses among records, and {source} is a table of numbers: leave it out")
    options = _options(question, None)
    selection = read_selection(question.select or "last")
    table = read_table(source)
    whole, methods = table.methods, _names(question.methods, "--methods")
    table = _on_datasets(table.take_methods(methods) if methods else table, question)
    return Asked(table, options, whole_table(whole, options.control), selection), 0


def ask_records(
    records: Sequence[Record],
    declared: Sequence[Declared],
    question: Question,
    others: Sequence[str] = (),
    ledger: Ledger | None = None,
    overlaps: Sequence[Overlap] = (),
) -> Asked:
    """The question about records.

    Args:
        records: at least one.
        declared: what was declared of their comparison, oldest first.
        question: the command line.
        others: methods that there are records of beside these.
        ledger: of the tuning that chose their settings.
        overlaps: data sets of theirs that share rows, as far as a run found some.
    Raises:
        ConfigError: an option is impossible, a method, data set or grid unknown.
        DataError: records contradict each other.
    """
    from ..leaderboard.naming import only_settings
    from ..records.declarations import history
    from ..statistics.plan import follow, whole_table
    from ..statistics.reading import POOLED, SEPARATOR, read_records

    records = only_settings(records, question.settings)
    found = history(declared, question.grid)
    meant = found[-1].comparison if found else None
    options = _options(question, found[-1] if found else None)
    selection: Selection = read_selection(question.select or ("last" if meant is None else meant.select))
    labels = {record.label for record in records}
    methods = _names(question.methods, "--methods")
    if not methods and meant is not None:
        methods = [name for name in meant.compared if name in labels]
    table = _on_datasets(read_records(records, selection, methods, ledger), question)
    table = replace(table, overlaps=tuple(overlaps))
    if meant is None:
        federated = {record.label for record in records if record.facts.get("deployed") != POOLED}
        plan = whole_table({*table.methods, *federated, *others}, options.control)
        return Asked(table, options, plan, selection)
    if question.control is None and meant.control not in table.methods:
        raise ConfigError(
            f"the grid {found[-1].grid} declared the control {meant.control}, which is not among the methods compared "
            f"({', '.join(table.methods) or 'none'}); name it in --methods, or another one with --control"
        )
    names = {name.partition(SEPARATOR)[0] for name in table.methods}
    compared = [record for record in records if record.label in names]
    return Asked(table, options, follow(found, table, options, selection, compared), selection)


def _compared(records: Sequence[Record], table: Table) -> list[Record]:
    """The records that a table was made of."""
    from ..leaderboard.naming import setting_hash
    from ..leaderboard.versions import newest
    from ..statistics.reading import SEPARATOR

    methods = {name.partition(SEPARATOR)[0] for name in table.methods}
    places = {(at.dataset, at.setting) for at in table.conditions}
    return [
        record
        for record in newest(records)
        if record.label in methods and (record.cell["dataset"], setting_hash(record.cell)) in places
    ]


def _options(question: Question, declared: Declared | None) -> Options:
    from ..statistics.result import Options

    meant = None if declared is None else declared.comparison
    level, rope = (LEVEL, ROPE) if meant is None else (meant.level, meant.rope)
    return Options(
        control=question.control if meant is None else question.control or meant.control,
        alpha=level if question.alpha is None else question.alpha,
        rope=rope if question.rope is None else question.rope,
        blocks=cast("Blocks", question.blocks),
        on_missing=cast("OnMissing", question.on_missing),
    )


def _on_datasets(table: Table, question: Question) -> Table:
    from ..statistics.families import regrouped

    chosen = _names(question.datasets, "--datasets")
    for name in chosen:
        if name not in table.datasets:
            raise unknown_name("data set of this table", name, table.datasets)
    table = table.take_conditions(lambda condition: condition.dataset in chosen) if chosen else table
    families = _names(question.families, "--families")
    return regrouped(table, families) if families else table


def _names(text: str | None, option: str) -> list[str]:
    from ..grid.brackets import split_list

    return [] if text is None else split_list(text, option)
