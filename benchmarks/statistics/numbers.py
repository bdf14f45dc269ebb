"""Tables from published numbers (benchmarks room): what the cells of a file mean; `markup` reads them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from fl_bench.errors import DataError
from fl_bench.streams import FACTORS

from ...datasets.catalogue import listing
from ..records.checks import Status
from .markup import read_cells
from .rows import Row, conditions, numbered
from .table import DONE, MISSING, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

NUMBER = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%?\s*"
    r"(?:(?:±|\+/-|\+-)\s*(?:(\d+\.?\d*|\.\d+)\s*%?|\S+)|\((?:(\d*\.\d+)|.*)\))?"
)
"""A number of a published table, with or without a spread after it."""

GAPS = ("", "-", "–", "—", "na", "n/a", "nan", "none")
"""What stands in a table where nothing was measured."""

KEYS = ("dataset", "setting", "seed", "classes", "method", "accuracy", *FACTORS)
"""Headings with a meaning of their own, in any case."""

SAME = {
    "dataset": ("data set", "datasets", "data sets", "data"),
    "method": ("methods", "algorithm", "algorithms", "approach", "model"),
    "setting": ("settings", "partition scheme"),
}
"""What papers write for them in the first column."""

ASIDE = frozenset(
    {"avg", "average", "mean", "overall", "total", "rank", "avg rank", "average rank", "mean rank"}
    | {"gain", "improvement", "delta", "δ", "params", "parameters", "flops", "gflops", "macs", "time", "memory"}
    | {"rounds", "communication", "comm", "cost", "year", "venue", "publication", "reference", "ref", "backbone"}
)
"""Headings of columns that hold no accuracy on a data set; units in brackets and signs aside."""

LONGEST = 200
"""Characters of a cell that may be a number or the name of a data set in a setting."""

BRACKETS = re.compile(r"(?P<dataset>[^\[(]*[^\[(\s])\s*[\[(](?P<setting>[^\])]+)[\])]")
WORDS = re.compile(
    r"(?P<dataset>.+?)[-_ ,/]+(?P<setting>"
    r"(?:dirichlet|dir|alpha|beta|α|β|pathological|path|pat|shards?|non-?iid|niid|iid)[ =_-]*\(?[\d.]*\)?)",
    re.IGNORECASE,
)
"""A data set and its setting in one name: `CIFAR10 [dir0.1]`, `CIFAR10 (α=0.1)`; by words for settings
`CIFAR10-dir0.1`."""


def read_table(path: Path) -> Table:
    """The table of a CSV, Markdown or LaTeX file: numbers of any origin, higher is better, in percent.

    Three layouts, told apart by the line of headings:

        dataset,cosmos,fedmd,local           a line per data set, a column per method
        method,digits,letter,vowel           a line per method, a column per data set
        dataset,method,accuracy              a line per run

    `setting`, `seed` and `classes` may stand beside `dataset`, `seed` beside `method`; instead of `seed`, any of
    `partition`, `init`, `draws` and `batches` where repetitions vary them separately. Names such as `CIFAR10 [dir0.1]`
    and `CIFAR10 [dir0.5]` are one data set in two settings. A spread after a number (`85.2 ± 0.3`) is kept where there
    are no seeds. Columns without accuracies (`Avg.`, `#Params`) are left out and named. An empty cell or a dash is a
    gap; so is a word for how a run ended (`diverged`).

    Raises:
        DataError: the file cannot be read, or is no such table, or has shares of 1 in place of percent; says which line
            where it is one line's fault.
    """
    cells = read_cells(path)
    heading = _known(cells.heading)
    repeated = [name for name, count in Counter(heading).items() if count > 1]
    if repeated:
        raise DataError(f"{path} has several columns called {repeated[0]!r}; give each its own name")
    factors = tuple(name for name in FACTORS if name in heading)
    if factors and "seed" in heading:
        raise DataError(f"{path} has the columns seed and {', '.join(factors)}; keep the seed, or what it stands for")
    left = _aside(heading, [line for _, line in cells.lines])
    rows = []
    for number, line in cells.lines:
        place = f"{path}, line {number}" if number else f"{path}, {line[0]}"
        if _bare(line[0]) in ASIDE and heading[0] == "dataset":
            left.append(line[0])
        else:
            named = {name: cell for name, cell in zip(heading, line, strict=True) if name not in left}
            rows += _parse(named, place)
    rows = numbered(rows) if factors else rows
    rows, split = _with_settings(rows)
    _refuse_twice(rows, path)
    if not any(row.status == DONE for row in rows):
        raise DataError(f"{path} holds no number below its headings {', '.join(heading)}")
    outside = _check_percent(rows, path)
    families = {re.sub(r"[^a-z0-9]", "", facts.name.lower()): facts.family for facts in listing() if facts.family}
    rows = [replace(row, family=families.get(re.sub(r"[^a-z0-9]", "", row.dataset.lower()), "")) for row in rows]
    notes = [f"left out, no accuracies on a data set: {', '.join(left)}"] if left else []
    notes += [f"read as a data set in several settings, averaged: {split}"] if split else []
    if not factors and "seed" not in heading:
        notes.append("no column `seed`: each number counts as one run")
    notes += [outside] if outside else []
    return Table(
        methods=tuple(sorted({row.method for row in rows})),
        conditions=conditions(rows),
        selection=f"as given in {path.name}",
        tuning="tuning budget not stated",
        factors=factors,
        notes=tuple(notes),
    )


def _known(heading: Sequence[str]) -> list[str]:
    """The headings, with the names that mean something as this module spells them."""
    words = {word: name for name, others in SAME.items() for word in others}
    first = words.get(heading[0].lower(), heading[0])
    names = [first, *heading[1:]]
    return [name.lower() if name.lower() in KEYS else name for name in names]


def _bare(name: str) -> str:
    """A heading in lower case, without units, signs and dots: `# Params (M)` is `params`."""
    return re.sub(r"\s+", " ", re.sub(r"\(.*?\)|\[.*?\]|[^\w\s]|_", " ", name[:LONGEST].lower())).strip()


def _aside(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns that hold no accuracies: by their name, or because no cell is a number where other columns have some."""
    own = [place for place, name in enumerate(heading) if place and name not in KEYS]
    numbers = {place: any(_number(line[place]) for line in lines) for place in own}
    return [
        heading[place]
        for place in own
        if _bare(heading[place]) in ASIDE
        or (any(numbers.values()) and not numbers[place] and any(_is_text(line[place]) for line in lines))
    ]


def _number(cell: str) -> re.Match[str] | None:
    return NUMBER.fullmatch(cell) if len(cell) <= LONGEST else None


def _is_text(cell: str) -> bool:
    return cell.lower() not in GAPS and cell.lower() not in get_args(Status)


def _parse(cells: Mapping[str, str], place: str) -> list[Row]:
    """The runs of one line."""
    first = next(iter(cells))
    others = [name for name in cells if name not in KEYS]
    if {"dataset", "method", "accuracy"} <= cells.keys():
        return [_row(cells, cells["dataset"], cells["method"], cells["accuracy"], place)]
    if first == "dataset" and "method" not in cells:
        return [_row(cells, cells["dataset"], name, cells[name], place) for name in others]
    if first == "method" and "dataset" not in cells:
        return [_row(cells, name, cells["method"], cells[name], place) for name in others]
    raise DataError(
        f"the headings {', '.join(cells)} say no layout; begin with `dataset` (then a column per method), with "
        "`method` (then a column per data set), or have the columns dataset, method, accuracy"
    )


def _row(cells: Mapping[str, str], dataset: str, method: str, number: str, place: str) -> Row:
    if not dataset or not method:
        raise DataError(f"{place} lacks the name of its {'data set' if not dataset else 'method'}")
    accuracy, spread, status = _cell(number, place)
    setting = cells.get("setting", "")
    return Row(
        dataset=dataset,
        setting=setting,
        setting_text=setting,
        setting_name=setting,
        classes=_whole(cells["classes"], "classes", place) if cells.get("classes") else None,
        seed=_whole(cells.get("seed", "0"), "seed", place),
        method=method,
        accuracy=accuracy,
        status=status,
        levels=tuple(cells[name] for name in FACTORS if name in cells),
        spread=spread,
    )


def _cell(text: str, place: str) -> tuple[float | None, float | None, str]:
    """A number, the spread after it, and how the run ended."""
    if text.lower() in GAPS:
        return None, None, MISSING
    if text.lower() in get_args(Status) and text.lower() != DONE:
        return None, None, text.lower()
    match = _number(text)
    if match is None:
        raise DataError(
            f"{place}: {text[:LONGEST]!r} is no number; write 85.2 or 85.2 ± 0.3, nothing for a gap, or `diverged`"
        )
    spread = match[2] or match[3]
    return float(match[1]), None if spread is None else float(spread), DONE


def _whole(text: str, name: str, place: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise DataError(f"{place}: {name} must be a whole number of at most nine digits, found {text!r}")
    return int(text)


def _with_settings(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Rows whose data sets carry a setting in their name, and what was read so; as they are where no two share one."""
    if any(row.setting for row in rows):
        return list(rows), ""
    for pattern in (BRACKETS, WORDS):
        found = {row.dataset: match for row in rows if (match := pattern.fullmatch(row.dataset[:LONGEST]))}
        settings: dict[str, list[str]] = {}
        for match in found.values():
            settings.setdefault(match["dataset"], []).append(match["setting"])
        if any(len(several) > 1 for several in settings.values()):
            split = "; ".join(f"{dataset} ({', '.join(several)})" for dataset, several in sorted(settings.items()))
            return [_split(row, found.get(row.dataset)) for row in rows], split
    return list(rows), ""


def _split(row: Row, match: re.Match[str] | None) -> Row:
    if match is None:
        return row
    found = match["setting"]
    return replace(row, dataset=match["dataset"], setting=found, setting_text=found, setting_name=found)


def _check_percent(rows: Sequence[Row], path: Path) -> str:
    """What to say of numbers that are no percentages; shares are refused, for they would make points of hundredths."""
    done = [(row.accuracy, row) for row in rows if row.accuracy is not None]
    if all(0 <= value <= 1 for value, _ in done) and any(value % 1 for value, _ in done):
        raise DataError(
            f"all numbers of {path} are between 0 and 1, as shares are, and a point is a hundredth of accuracy; write "
            "percent: 85.2 in place of 0.852"
        )
    beyond = [(value, row) for value, row in done if not 0 <= value <= 100]
    if not beyond:
        return ""
    value, row = beyond[0]
    return (
        f"{len(beyond)} of {len(done)} numbers are no accuracies in percent, such as {value:g} of {row.method} on "
        f"{row.dataset}: what follows holds for numbers of which more is better, and points are their unit"
    )


def _refuse_twice(rows: Iterable[Row], path: Path) -> None:
    runs = Counter((row.dataset, row.setting, row.method, row.seed) for row in rows)
    for (dataset, setting, method, seed), count in runs.items():
        if count > 1:
            raise DataError(
                f"{path} has {method} on {dataset}{f' [{setting}]' if setting else ''} with seed {seed} twice; "
                "a column `seed` tells repetitions apart"
            )
