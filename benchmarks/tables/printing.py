"""Tables for people and for programs (benchmarks room): every table can be had as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..grid.repetition import Repetition
from ..leaderboard.reported import SELECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from ..leaderboard.lines import Line


def print_json(value: Any) -> None:
    """Print plain values as JSON on standard output."""
    print(json.dumps(value, indent=1))


def print_table(
    console: Console, rows: Sequence[Mapping[str, Any]], *, title: str = "", caption: str = "", whole: bool = False
) -> None:
    """Print rows as a table; columns are the keys of the first row, numbers stand to the right.

    Args:
        console: where to.
        rows: what to print; None becomes nothing.
        title: above the table.
        caption: below it.
        whole: whether no cell may wrap; else all but those of the first column, the names, may.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title) or None,
        caption=escape(caption) or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="",
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    columns = list(rows[0]) if rows else []
    for place, name in enumerate(columns):
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(
            escape(name),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=whole or place == 0,
        )
    for row in rows:
        table.add_row(*(escape(show(row.get(name))) for name in columns))
    console.print(table)


def print_text(console: Console, text: str) -> None:
    """Print a docstring: paragraphs flow to the width of the console, indented lines (formulas) stay as they are."""
    flowing: list[str] = []
    for line in [*text.splitlines(), ""]:
        indented = not line or line.startswith(" ")
        if not indented:
            flowing.append(line)
        if flowing and (indented or line.endswith((".", ":"))):
            console.print(" ".join(flowing), markup=False, highlight=False)
            flowing = []
        if indented:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_results(console: Console, board: Sequence[Line]) -> None:
    """The table at the end of a run: a table per dataset and setting, with what is needed to read it."""
    for dataset, setting in dict.fromkeys((line.dataset, line.setting) for line in board):
        block = [line for line in board if (line.dataset, line.setting) == (dataset, setting)]
        ordered = sorted(
            block, key=lambda line: (-_best(block, line.method), line.method, not line.deployed, line.view)
        )
        badges = dict.fromkeys(line.badges for line in ordered if line.badges)
        marks = {badge: "*" * count for count, badge in enumerate(badges, 1)}
        print_table(
            console,
            [_result(line, marks) for line in ordered],
            title=dataset,
            whole=True,
            caption="\n".join([*(f"{mark} {badge}" for badge, mark in marks.items()), _caption(block)]),
        )


def print_lines_json(board: Sequence[Line]) -> None:
    """The same lines as JSON."""
    print_json([asdict(line) for line in board])


def show(value: Any) -> str:
    """One cell as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def show_bytes(count: float | None) -> str:
    """A number of bytes, short: `12.3 kB`; nothing for None."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable: the loop returns at TB")


def show_seconds(seconds: float | None) -> str:
    """A duration, short: `12 s`, `3 min`, `2.5 h`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _result(line: Line, marks: Mapping[str, str]) -> dict[str, Any]:
    spread = "" if line.acc_std is None else f" ± {line.acc_std:.2f}"
    ended = Counter(part.partition(":")[2] for part in line.seeds_not_done.split())
    troubles = [f"{count} {status}" for status, count in sorted(ended.items())]
    missing = [f"no seed {line.seeds_missing}"] if line.seeds_missing else []
    name = line.method if line.deployed else f"· {line.view}"
    if line.deployed and line.view not in ("", "client"):
        name += f" ({line.view})"
    return {
        "method": " ".join([name, marks[line.badges]] if line.badges else [name]),
        "accuracy %": "" if line.acc_mean is None else f"{line.acc_mean:.2f}{spread}",
        "vs\nlocal": "" if line.gap_to_local is None else f"{line.gap_to_local:+.2f}",
        "worst\n10%": "" if line.acc_worst_decile is None else f"{line.acc_worst_decile:.2f}",
        "up": show_bytes(line.bytes_up),
        "down": show_bytes(line.bytes_down),
        "time": show_seconds(line.seconds),
        "runs": ", ".join([str(line.seeds), *troubles, *missing]),
    }


def _best(block: Sequence[Line], method: str) -> float:
    return max((line.acc_mean or 0.0 for line in block if line.method == method and line.deployed), default=0.0)


def _caption(block: Sequence[Line]) -> str:
    ceilings = [line.in_group_ceiling for line in block if line.in_group_ceiling is not None]
    seeds = sorted({Repetition.parse(seed) for line in block for seed in line.seeds_done.split()})
    text = (
        f"{block[0].setting_text}\n"
        f"accuracy: mean over clients, mean ± std over seeds {' '.join(map(str, seeds)) or '(none)'}, "
        f"at {SELECTIONS[block[0].selection]}; a view after · is not the method's number\n"
        f"up, down: bytes per client, mean over rounds (in the first, nothing is received)"
    )
    if ceilings:
        text += (
            f"\nin-group share {fmean(ceilings):.1f} %: the ceiling of a model that knows only its own group's classes"
        )
    notes = dict.fromkeys(f"{line.method}: {line.note}" for line in block if line.note)
    return "\n".join([text, *notes])
