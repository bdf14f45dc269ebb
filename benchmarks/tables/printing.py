"""Printing rows and text (benchmarks room): for people as tables, for programs as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .values import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console


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

    Args:
        console: where to.
        rows: what to print; None becomes nothing.
        title: above the table.
        caption: below it.
        whole: whether no cell may wrap.
        folding: else the columns whose cells may; None: all but the first, the names.
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
            no_wrap=whole or (place == 0 if folding is None else name not in folding),
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
