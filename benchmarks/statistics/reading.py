"""Tables from records, and from CSV files of published numbers (benchmarks room)."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, get_args

from fl_bench.errors import DataError, unknown_name
from fl_bench.streams import FACTORS

from ...datasets.catalogue import family_of
from ...methods.registry import METHODS
from ..grid.configure import plain
from ..leaderboard.lines import lines
from ..leaderboard.own_rate import cautioned
from ..leaderboard.pairing import check_pairing, comparisons, network_word, partition_word, setting_text
from ..leaderboard.poisoned import over_poisoned
from ..leaderboard.reported import SELECTIONS, deployed_view, reported_in
from ..leaderboard.sampling import decided_by_new
from ..leaderboard.versions import left_out, mixture, superseded
from ..records.checks import Status
from .table import DONE, MISSING, Condition, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ..leaderboard.reported import Selection
    from ..records.record import Record

POOLED = "pooled"
"""The view of a bound that trains on pooled private data: no federated method competes with it."""

NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%?\s*(?:(?:±|\+/-|\+-)\s*\S+|\(.*\))?")
"""A number of a published table, with or without a spread after it."""

GAPS = ("", "-", "–", "—", "na", "n/a", "nan", "none")
"""What stands in a table where nothing was measured."""

KEYS = ("dataset", "setting", "seed", "classes", "method", "accuracy", *FACTORS)
"""Headings of a CSV file with a meaning of their own."""


SEPARATOR = " · "
"""Between a method and a view of it, as in tables."""


def read_records(records: Sequence[Record], selection: Selection = "last", methods: Sequence[str] = ()) -> Table:
    """The table of records: every method's own number, at the reported round.

    Args:
        records: runs, whatever their status; one that is not done is a gap.
        selection: which round is reported.
        methods: names to compare, or `method · view` for another view than the method's number. Without any: all
            methods but the bounds that train on pooled data.
    Raises:
        DataError: runs of one comparison did not share partition, weights, draws and public order.
        ConfigError: a method or view is unknown.
    """
    check_pairing(records)
    found = comparisons(records)
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
                    _Row(
                        dataset=dataset,
                        setting=setting,
                        setting_text=setting_text(record.cell),
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
    board = [line for line in lines(records, selection) if line.method in compared]
    cautions = (
        *cautioned(board),
        *(f"{dataset}: {caution}" for (dataset, _), caution in decided_by_new(board).items()),
        *dict.fromkeys(f"{dataset}: {caution}" for (dataset, _), caution in over_poisoned(board).items()),
        mixture({name: [record.protocol for record in group] for name, group in used.items()}),
        left_out(superseded(records), runs),
    )
    notes = [] if methods or not pooled else [f"not compared unless named (pooled data): {', '.join(sorted(pooled))}"]
    return Table(
        methods=tuple(sorted(set(columns))),
        conditions=_conditions(_numbered(rows) if factors else rows),
        selection=SELECTIONS[selection],
        tuning=_tuning([(name, group) for name, group in groups if name in compared]),
        factors=factors,
        notes=(*filter(None, cautions), *notes, *_badges(groups, columns)),
    )


def read_table(path: Path) -> Table:
    """The table of a CSV file: numbers of any origin, higher is better, in percent.

    Three layouts, told apart by the first line:

        dataset,cosmos,fedmd,local           a line per data set, a column per method
        method,digits,letter,vowel           a line per method, a column per data set
        dataset,method,accuracy              a line per run

    `setting`, `seed` and `classes` may stand beside `dataset`, `seed` beside `method`; instead of `seed`, any of
    `partition`, `init`, `draws` and `batches` where repetitions vary them separately. A spread after a number
    (`85.2 ± 0.3`) is not used. An empty cell or a dash is a gap; so is a word for how a run ended (`diverged`).

    Raises:
        DataError: the file cannot be read, or is no such table; says which line.
    """
    lines = _lines(path)
    heading = [name.strip() for name in lines[0]]
    repeated = [name for name, count in Counter(heading).items() if count > 1]
    if repeated:
        raise DataError(f"{path} has several columns called {repeated[0]!r}; give each its own name")
    factors = tuple(name for name in FACTORS if name in heading)
    if factors and "seed" in heading:
        raise DataError(f"{path} has the columns seed and {', '.join(factors)}; keep the seed, or what it stands for")
    rows = [row for number, line in enumerate(lines[1:], 2) for row in _parse(heading, line, f"{path}, line {number}")]
    if factors:
        rows = _numbered(rows)
    twice = [
        run
        for run, count in Counter((row.dataset, row.setting, row.method, row.seed) for row in rows).items()
        if count > 1
    ]
    if twice:
        dataset, setting, method, seed = twice[0]
        raise DataError(
            f"{path} has {method} on {dataset}{f' [{setting}]' if setting else ''} with seed {seed} twice; "
            "a column `seed` tells repetitions apart"
        )
    if not any(row.status == DONE for row in rows):
        raise DataError(f"{path} holds no number below its headings {', '.join(heading)}")
    return Table(
        methods=tuple(sorted({row.method for row in rows})),
        conditions=_conditions(rows),
        selection=f"as given in {path.name}",
        tuning="tuning budget not stated",
        factors=factors,
        notes=() if factors or "seed" in heading else ("no column `seed`: each number counts as one run",),
    )


@dataclass(frozen=True)
class _Row:
    """One run of one method."""

    dataset: str
    setting: str
    setting_text: str
    classes: int | None
    seed: int
    method: str
    accuracy: float | None
    status: str
    levels: tuple[str, ...] = ()
    """Of the table's factors."""
    family: str = ""
    network: str = ""
    partition: str = ""


def _numbered(rows: Sequence[_Row]) -> list[_Row]:
    """The same with a number for each combination of levels in place of the seed: each is a repetition of its own."""
    numbers = {levels: number for number, levels in enumerate(sorted({row.levels for row in rows}))}
    return [replace(row, seed=numbers[row.levels]) for row in rows]


def _conditions(rows: Sequence[_Row]) -> tuple[Condition, ...]:
    """Rows side by side, gaps where there is none; what no method has a number for is no condition of the table."""
    methods = sorted({row.method for row in rows})
    places: dict[tuple[str, str], dict[tuple[str, int], _Row]] = {}
    for row in rows:
        places.setdefault((row.dataset, row.setting), {})[row.method, row.seed] = row
    result = []
    for (dataset, setting), runs in sorted(places.items()):
        seeds = sorted({seed for _, seed in runs})
        grid = [[runs.get((method, seed)) for seed in seeds] for method in methods]
        some = next(iter(runs.values()))
        levels = {run.seed: run.levels for run in runs.values()}
        result.append(
            Condition(
                dataset=dataset,
                setting=setting,
                setting_text=some.setting_text,
                classes=some.classes,
                seeds=tuple(seeds),
                accuracy=tuple(tuple(run.accuracy if run else None for run in line) for line in grid),
                status=tuple(tuple(run.status if run else MISSING for run in line) for line in grid),
                levels=tuple(levels[seed] for seed in seeds) if some.levels else (),
                family="" if some.family == dataset else some.family,
                network=some.network,
                partition=some.partition,
            )
        )
    return tuple(result)


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
    return f"untuned defaults, but {', '.join(changed)} as configured, tuning budget not on record"


def _has_defaults(record: Record) -> bool:
    """Whether a method ran with the settings that its name alone stands for."""
    method = record.cell["method"]
    if method["name"] not in METHODS or method["codec"] != "none":
        return False
    return bool(method["settings"] == plain(METHODS[method["name"]].config_type()))


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


def _lines(path: Path) -> list[list[str]]:
    """The cells of a CSV file, empty lines left out; commas, semicolons or tabs between them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if any(line)]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from None
    if len(lines) < 2 or len(lines[0]) < 2:
        raise DataError(f"{path} is no table: it needs a line of headings, and lines of numbers below it")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise DataError(f"{path}, line {number} has {len(line)} cells under {len(lines[0])} headings")
    return lines


def _parse(heading: Sequence[str], line: Sequence[str], place: str) -> list[_Row]:
    """The runs of one line."""
    cells = dict(zip(heading, (cell.strip() for cell in line), strict=True))
    others = [name for name in heading if name not in KEYS]
    if {"dataset", "method", "accuracy"} <= cells.keys():
        return [_row(cells, cells["dataset"], cells["method"], cells["accuracy"], place)]
    if heading[0] == "dataset" and "method" not in cells:
        return [_row(cells, cells["dataset"], name, cells[name], place) for name in others]
    if heading[0] == "method" and "dataset" not in cells:
        return [_row(cells, name, cells["method"], cells[name], place) for name in others]
    raise DataError(
        f"the headings {', '.join(heading)} say no layout; begin with `dataset` (then a column per method), with "
        "`method` (then a column per data set), or have the columns dataset, method, accuracy"
    )


def _row(cells: Mapping[str, str], dataset: str, method: str, number: str, place: str) -> _Row:
    if not dataset or not method:
        raise DataError(f"{place} lacks the name of its {'data set' if not dataset else 'method'}")
    accuracy, status = _cell(number, place)
    setting = cells.get("setting", "")
    return _Row(
        dataset=dataset,
        setting=setting,
        setting_text=setting,
        classes=_whole(cells["classes"], "classes", place) if cells.get("classes") else None,
        seed=_whole(cells.get("seed", "0"), "seed", place),
        method=method,
        accuracy=accuracy,
        status=status,
        levels=tuple(cells[name] for name in FACTORS if name in cells),
    )


def _cell(text: str, place: str) -> tuple[float | None, str]:
    if text.lower() in GAPS:
        return None, MISSING
    if text.lower() in get_args(Status) and text.lower() != DONE:
        return None, text.lower()
    match = NUMBER.fullmatch(text)
    if match is None:
        raise DataError(f"{place}: {text!r} is no number; write 85.2 or 85.2 ± 0.3, nothing for a gap, or `diverged`")
    return float(match[1]), DONE


def _whole(text: str, name: str, place: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise DataError(f"{place}: {name} must be a whole number of at most nine digits, found {text!r}")
    return int(text)
