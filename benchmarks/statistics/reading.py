"""Tables from records (benchmarks room); those from published numbers are in `numbers`."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from fl_bench.errors import DataError, unknown_name
from fl_bench.streams import FACTORS

from ...datasets.catalogue import family_of
from ...methods.registry import METHODS
from ..grid.configure import plain
from ..leaderboard.budgets import budgets, how_choices_vary, in_words
from ..leaderboard.lines import lines
from ..leaderboard.own_rate import cautioned
from ..leaderboard.pairing import check_pairing, comparisons, names_of, network_word, partition_word, setting_text
from ..leaderboard.poisoned import over_poisoned
from ..leaderboard.reported import SELECTIONS, deployed_view, reported_in
from ..leaderboard.sampling import decided_by_new
from ..leaderboard.versions import left_out, mixture, superseded
from .rows import Row, conditions, numbered
from .table import DONE, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..tuning.ledger import Ledger

POOLED = "pooled"
"""The view of a bound that trains on pooled private data: no federated method competes with it."""

OTHERS_LEDGER = (
    "the ledger beside these records (tuning.json) is of other data sets or settings: it chose none of theirs"
)
"""What is said where a tuning of something else lies in the folder."""

SEPARATOR = " · "
"""Between a method and a view of it, as in tables."""

NAMED = 40
"""Methods that a sentence on tuning names one by one."""


def read_records(
    records: Sequence[Record],
    selection: Selection = "last",
    methods: Sequence[str] = (),
    ledger: Ledger | None = None,
) -> Table:
    """The table of records: every method's own number, at the reported round.

    Args:
        records: runs, whatever their status; one that is not done is a gap.
        selection: which round is reported.
        methods: names to compare, or `method · view` for another view than the method's number. Without any: all
            methods but the bounds that train on pooled data.
        ledger: of the results folder that the records are from.
    Raises:
        DataError: runs of one comparison did not share partition, weights, draws and public order.
        ConfigError: a method or view is unknown.
    """
    check_pairing(records)
    found = comparisons(records)
    names = names_of(found)
    groups = [(name, group) for block in found.values() for name, group in block.items()]
    pooled = {name for name, group in groups if deployed_view(group) == POOLED}
    known = {name for name, _ in groups}
    columns = methods or sorted(known - pooled)
    for column in columns:
        if column.partition(SEPARATOR)[0] not in known:
            raise unknown_name("method of these records", column.partition(SEPARATOR)[0], known)
    compared = {column.partition(SEPARATOR)[0] for column in columns}
    varied = any(record.repetition.varied for name, group in groups if name in compared for record in group)
    factors = FACTORS if varied else ()
    rows = []
    for (dataset, setting), block in found.items():
        classes = _classes(record for group in block.values() for record in group)
        for column in columns:
            method, _, view = column.partition(SEPARATOR)
            for record in block.get(method, ()):
                accuracy, status = _number(record, view, selection)
                rows.append(
                    Row(
                        dataset=dataset,
                        setting=setting,
                        setting_text=setting_text(record.cell),
                        setting_name=names[dataset, setting],
                        classes=classes,
                        seed=record.repetition.seed,
                        method=column,
                        accuracy=accuracy,
                        status=status,
                        levels=tuple(map(str, astuple(record.repetition.seeds))) if factors else (),
                        family=family_of(dataset, record.cell.get("digest")),
                        network=network_word(record.cell),
                        partition=partition_word(record.cell),
                    )
                )
    used: dict[str, list[Record]] = {name: [] for name in sorted(compared)}
    for name, group in groups:
        used.get(name, []).extend(group)
    runs = [record for group in used.values() for record in group]
    board = [line for line in lines(records, selection, ledger) if line.method in compared]
    cautions = (
        *cautioned(board),
        *(f"{dataset}: {caution}" for (dataset, _), caution in decided_by_new(board).items()),
        *dict.fromkeys(f"{dataset}: {caution}" for (dataset, _), caution in over_poisoned(board).items()),
        mixture({name: [record.protocol for record in group] for name, group in used.items()}),
        left_out(superseded(records), runs),
    )
    tried = {name: count for name, count in budgets(records, ledger).items() if name in compared}
    chosen_by = ledger if any(tried.values()) else None  # else it is the ledger of something else
    varied_choice = "" if chosen_by is None else how_choices_vary(chosen_by)
    unused = "" if ledger is None or chosen_by is not None else OTHERS_LEDGER
    notes = [] if methods or not pooled else [f"not compared unless named (pooled data): {', '.join(sorted(pooled))}"]
    return Table(
        methods=tuple(sorted(set(columns))),
        conditions=conditions(numbered(rows) if factors else rows),
        selection=SELECTIONS[selection],
        tuning=_tuning([(name, group) for name, group in groups if name in compared])
        if chosen_by is None
        else in_words(tried, chosen_by, (record.cell["training"]["rounds"] for record in runs)),
        trials=() if chosen_by is None else tuple(tried.items()),
        factors=factors,
        notes=(*filter(None, (*cautions, varied_choice, unused)), *notes, *_badges(groups, columns)),
    )


def _number(record: Record, view: str, selection: Selection) -> tuple[float | None, str]:
    """The accuracy of a run and how it ended."""
    if record.status != "done":
        return None, record.status
    chosen = view or str(record.facts["deployed"])
    if chosen not in record.facts["views"]:
        raise unknown_name(f"view of {record.label}", chosen, record.facts["views"])
    row = reported_in(record.rounds, chosen, selection)
    if row is None:
        return None, "no validation data"
    value = row.get(f"{chosen}.acc_mean")
    if not isinstance(value, int | float):
        raise DataError(f"{record.folder} is garbled: its rounds lack {chosen}.acc_mean; remove it and run it again")
    return float(value), DONE


def _classes(records: Iterable[Record]) -> int | None:
    """The number of classes, from any run that got as far as to know it."""
    facts = (record.facts.get("dataset", {}).get("classes") for record in records)
    return next((int(classes) for classes in facts if classes is not None), None)


def _tuning(groups: Sequence[tuple[str, Sequence[Record]]]) -> str:
    """How the settings of some methods were chosen, as far as records tell."""
    said = {str(record.run.get("tuning", "")) for _, group in groups for record in group}
    if len(said) == 1 and said != {""}:
        return said.pop()
    changed = sorted({name for name, group in groups if not all(map(_has_defaults, group))})
    if not changed:
        return "untuned defaults"
    if len(changed) == len({name for name, _ in groups}):
        return "settings as configured, tuning budget not on record"
    named = ", ".join(changed) if len(changed) <= NAMED else f"{len(changed)} methods"
    return f"untuned defaults, but {named} as configured, tuning budget not on record"


def _has_defaults(record: Record) -> bool:
    """Whether a method ran with the settings that its name alone stands for."""
    method = record.cell["method"]
    if method["name"] not in METHODS or method["codec"] != "none":
        return False
    own = method.get("training")
    return not own and bool(method["settings"] == plain(METHODS[method["name"]].config_type()))


def _badges(groups: Sequence[tuple[str, Sequence[Record]]], columns: Sequence[str]) -> list[str]:
    """What compared methods were told that they should not know."""
    told = set()
    for column in columns:
        method, _, view = column.partition(SEPARATOR)
        for name, group in groups:
            if name == method:
                for record in group:
                    own = record.facts.get("view_badges", {}).get(view or record.facts.get("deployed"), ())
                    told |= {(column, badge) for badge in (*record.facts.get("badges", ()), *own)}
    return [f"{column} carries a badge, {badge}" for column, badge in sorted(told)]
