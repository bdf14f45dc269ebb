"""Printing rows and text (benchmarks room): for people as tables, for programs as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .values import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

SHORT = 24
"""Characters up to which a column's cells are numbers and words, which are never cut; longer ones are text."""

GAP = 2
"""Characters between two columns."""


def print_json(value: Any) -> None:
    """Print plain values as JSON on standard output."""
    print(json.dumps(value, indent=1))


def print_table(
    console: Console,
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str = "",
    caption: str = "",
    whole: bool = False,
    folding: Sequence[str] | None = None,
) -> None:
    """Print rows as a table; columns are the keys of the first row, numbers stand to the right.

    A table that is wider than the console goes on in further ones, each with the first column again.

    Args:
        console: where to.
        rows: what to print; None becomes nothing.
        title: above the table.
        caption: below it.
        whole: whether no cell may wrap.
        folding: else the columns whose cells may, and the table stays in one piece; None: columns of text.
    """
    columns = list(rows[0]) if rows else []
    widths = {name: _width(name, [show(row.get(name)) for row in rows]) for name in columns}
    if folding is None:
        folding = [name for name in columns[1:] if widths[name] > SHORT]
        parts = [columns] if whole else _parts(widths, console.width)
    else:
        parts = [columns]
    for part in parts:
        one = {"title": title if part is parts[0] else "", "caption": caption if part is parts[-1] else ""}
        if part is not parts[0]:
            console.print()
        _print_part(console, rows, part, unbroken=[name for name in part if whole or name not in folding], **one)


def _width(name: str, cells: Sequence[str]) -> int:
    """Characters that a column takes; its heading may break at spaces."""
    from rich.cells import cell_len

    return max(cell_len(line) for text in (*name.split(), *cells) for line in text.splitlines() or [""])


def _parts(widths: Mapping[str, int], width: int) -> list[list[str]]:
    """Columns that fit beside each other, part by part; every part begins with the first column."""
    first, *others = widths or [""]
    parts: list[list[str]] = [[first]]
    left = width - widths.get(first, 0)
    for name in others:
        needed = GAP + min(widths[name], SHORT)
        if needed > left and len(parts[-1]) > 1:
            parts.append([first])
            left = width - widths[first]
        parts[-1].append(name)
        left -= needed
    return parts if widths else [[]]


def _print_part(
    console: Console,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    title: str,
    caption: str,
    unbroken: Sequence[str],
) -> None:
    """Print some columns of rows; `unbroken` names those whose cells may not wrap."""
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
    for name in columns:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(
            escape(name),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=name in unbroken,
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
