"""The commands `fl-bench costs` and `fl-bench clients` (benchmarks room): finer questions about records."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from fl_bench.errors import ConfigError

from ..tables.terminal import make_console
from .damaged import read_undamaged
from .filters import OnlyDatasets, OnlySettings  # noqa: TC001 - typer reads annotations when it runs
from .options import (
    RESULTS,
    AsJson,
    CompareMethods,
    CompareSelect,
    Control,
    DeclaredAlpha,
    DeclaredBy,
    Results,
)
from .question import Question, ask_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..records.record import Record
    from ..statistics.study import Study
    from .question import Asked

PAIRWISE = "skillings-mack"
"""Each pair on what both have: a row says of how much it is."""


def costs(
    source: Results = RESULTS,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    select: CompareSelect = None,
    methods: CompareMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    declared: DeclaredBy = None,
    as_json: AsJson = False,
) -> None:
    """Compare accuracy and costs of methods with the control.

    Accuracy is a difference in points; bytes and seconds are ratios. Intervals are over data sets, with the same
    bootstrap draws for all three.

    \b
    fl-bench costs results --control cosmos
    fl-bench costs results --control cosmos --methods cosmos,fedavg,local --json
    """
    from ..statistics import costs as costing
    from ..statistics.pairs import against_control
    from ..tables.finer import print_costs
    from ..tables.printing import print_json

    question = Question(
        control,
        alpha,
        None,
        select,
        on_missing=PAIRWISE,
        methods=methods,
        datasets=datasets,
        settings=settings,
        grid=declared,
    )
    records, asked, study, code = _ask(source, question)
    spent = costing.read_spent(records, asked.selection)
    found = costing.costs(study, against_control(study), spent)
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        print_costs(make_console(), found, asked.options.alpha, study.table.tuning)
    raise typer.Exit(code)


def clients(
    source: Results = RESULTS,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    select: CompareSelect = None,
    methods: CompareMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    declared: DeclaredBy = None,
    as_json: AsJson = False,
) -> None:
    """Test whether differences hold for other clients.

    Compares the control with each method on single data sets by a mixed model. Clients and seeds are random effects,
    estimated from the accuracies of single clients. This takes a while.

    \b
    fl-bench clients results --control cosmos --methods cosmos,local --datasets vowel
    """
    from ..statistics.clients import on_clients
    from ..tables.finer import print_clients
    from ..tables.printing import print_json
    from .progress import saying

    question = Question(
        control,
        alpha,
        None,
        select,
        on_missing=PAIRWISE,
        methods=methods,
        datasets=datasets,
        settings=settings,
        grid=declared,
    )
    records, asked, study, code = _ask(source, question)
    chosen = [record for record in records if record.cell["dataset"] in study.table.datasets]
    others = [name for name in study.table.methods if name != study.control]
    with saying("fitting mixed models"):
        found = on_clients(chosen, str(study.control), others, asked.options.alpha, asked.selection)
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        print_clients(make_console(), found, asked.options.alpha, study.table.tuning)
    raise typer.Exit(code)


def _ask(source: Path, question: Question) -> tuple[Sequence[Record], Asked, Study, int]:
    """The records, what is asked of them, the table with a control, and the exit code so far.

    Raises:
        ConfigError: there is no control.
    """
    from ..leaderboard.naming import only_settings
    from ..records.declarations import read_declarations
    from ..records.shared_rows import overlaps_in
    from ..records.store import Store
    from ..statistics.comparison import study_of
    from ..tuning.travel import ledger_in

    records, code = read_undamaged(source, "rounds")
    records = only_settings(records, question.settings)
    store = Store(source)
    asked = ask_records(
        records,
        read_declarations(store),
        question,
        ledger=ledger_in(store.results),
        overlaps=overlaps_in(store.results),
    )
    study, _ = study_of(asked.table, asked.options)
    if study.control is None:
        raise ConfigError(
            f"no control: name the method that the others are compared with (--control), one of "
            f"{', '.join(study.table.methods)}"
        )
    return records, asked, study, code
