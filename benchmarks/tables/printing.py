"""Printing rows and text (benchmarks room): for people as tables, for programs as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .terminal import visible
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
    folding: Sequence[str] | None = None,
    apart: int = 0,
) -> None:
    """Print rows as a table; columns are the keys of the first row, numbers stand to the right.

    A table that is wider than the console goes on in further ones, each with the first column again. No word and no
    number is broken: where two columns alone are too wide, lines are longer than the console.

    Args:
        console: where to.
        rows: what to print; None becomes nothing.
        title: above the table.
        caption: below it.
        folding: the columns whose cells may wrap at spaces; None: columns of text.
        apart: how many of the last rows stand below a rule.
    """
    from rich.text import Text

    cells = {name: [visible(show(row.get(name))) for row in rows] for name in (rows[0] if rows else ())}
    natural = {name: max(_heading(name), *map(_length, own)) for name, own in cells.items()}
    if folding is None:
        folding = [name for name in list(cells)[1:] if natural[name] > SHORT]
    least = {
        name: max(_heading(name), min(natural[name], SHORT), *(_length(cell, broken=True) for cell in own))
        if name in folding
        else natural[name]
        for name, own in cells.items()
    }
    if title:
        console.print(Text(visible(title), style="bold"))
    numeric = [name for name in cells if all(isinstance(row.get(name), int | float | None) for row in rows)]
    for number, part in enumerate(_parts(least, console.width)):
        if number:
            console.print()
        widths = _fitted(part, least, natural, console.width)
        _print_part(console, {name: cells[name] for name in part}, widths, numeric, len(rows) - apart)
    if caption:
        console.print(Text(visible(caption)))


def _heading(name: str) -> int:
    """Characters of a heading; a long one breaks at spaces."""
    whole = _length(name)
    return whole if whole <= SHORT // 2 else _length(name, broken=True)


def _length(text: str, *, broken: bool = False) -> int:
    """Characters of the longest line of a text, which may be broken at spaces."""
    from rich.cells import cell_len

    lines = text.splitlines()
    return max((cell_len(part) for line in lines for part in (line.split() if broken else [line])), default=0)


def _parts(least: Mapping[str, int], width: int) -> list[list[str]]:
    """Columns that fit beside each other, part by part; every part begins with the first column."""
    first, *others = least or [""]
    parts: list[list[str]] = [[first]]
    left = width - least.get(first, 0)
    for name in others:
        needed = GAP + least[name]
        if needed > left and len(parts[-1]) > 1:
            parts.append([first])
            left = width - least[first]
        parts[-1].append(name)
        left -= needed
    return parts if least else [[]]


def _fitted(part: Sequence[str], least: Mapping[str, int], natural: Mapping[str, int], width: int) -> dict[str, int]:
    """The widths of columns beside each other: what is left of a line goes to those that fold, the narrowest first."""
    widths = {name: least[name] for name in part}
    left = width - sum(widths.values()) - GAP * (len(part) - 1)
    wanting = sorted((name for name in part if natural[name] > least[name]), key=lambda name: natural[name])
    for place, name in enumerate(wanting):
        more = min(natural[name] - least[name], max(left, 0) // (len(wanting) - place))
        widths[name] += more
        left -= more
    return widths


def _print_part(
    console: Console, cells: Mapping[str, Sequence[str]], widths: Mapping[str, int], numeric: Sequence[str], ruled: int
) -> None:
    """Print columns beside each other, as wide as `widths` says, with a rule above the row `ruled`."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name, width in widths.items():
        table.add_column(
            escape(visible(name)), justify="right" if name in numeric else "left", overflow="fold", width=width
        )
    for number, row in enumerate(zip(*cells.values(), strict=True)):
        if 0 < number == ruled:
            table.add_section()
        table.add_row(*map(escape, row))
    usual, needed = console.width, sum(widths.values()) + GAP * (len(widths) - 1)
    if needed > usual:  # rather long lines than broken numbers
        console.width = needed
    console.print(table)
    if needed > usual:
        console.width = usual


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
