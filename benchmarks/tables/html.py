"""Tables for notebooks (benchmarks room): a leaderboard and a comparison as pieces of HTML, without scripts."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..statistics.verdicts import many
from .comparison import heading, sections
from .terminal import visible
from .values import show, show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..statistics.result import Comparison

TEXT = "padding:2px 8px;text-align:left"
"""Style of a column of text."""

NUMBER = "padding:2px 8px;text-align:right;font-variant-numeric:tabular-nums"
"""Style of a column of numbers."""

SHOWN = 12
"""Tables of a leaderboard, a data set and setting each, that are shown."""


def comparison_html(result: Comparison) -> str:
    """What may be claimed: the summary and the first table; the others fold out."""
    first, *others = sections(result)
    parts = [
        _lines(heading(result)),
        _list(result.summary),
        _section(first.title, first.rows, first.caption),
        *(
            f"<details><summary>{_text(one.title)}</summary>{_section('', one.rows, one.caption)}</details>"
            for one in others
        ),
    ]
    if result.notes:
        parts.append(f"<details><summary>{many(len(result.notes), 'note')}</summary>{_list(result.notes)}</details>")
    return "<div>" + "".join(parts) + "</div>"


def board_html(lines: Iterable[Mapping[str, Any]]) -> str:
    """A leaderboard: a table per data set and setting, the deployed models of each method, best first, bounds last.

    Args:
        lines: as `leaderboard/lines.py` has them, by the names of their fields.
    """
    deployed = [line for line in lines if line["deployed"]]
    parts = []
    for _, block in groupby(deployed, key=lambda line: (line["dataset"], line["setting"])):
        own = sorted(block, key=lambda line: (line["category"] == "bound", -_number(line["acc_mean"]), line["method"]))
        name = ", ".join(filter(None, (own[0]["dataset"], own[0]["setting_name"], own[0]["setting_brief"])))
        parts.append(_section(name, [_row(line) for line in own], ""))
    if len(parts) > SHOWN:
        parts[SHOWN:] = [f"<p>and {many(len(parts) - SHOWN, 'more table')}: filter with <code>only(...)</code></p>"]
    legend = "accuracy: mean over clients and seeds ± standard deviation over seeds; sent: bytes of a whole run"
    return f"<div>{''.join(parts)}<p><small>{legend}</small></p></div>"


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    known = line["acc_mean"] is not None and line["acc_mean"] == line["acc_mean"]
    spread = line["acc_std"]
    several = known and spread is not None and spread == spread
    bound = " (a bound)" if line["category"] == "bound" else ""
    return {
        "method": f"{line['method']}{bound}",
        "accuracy %": f"{line['acc_mean']:.2f}{f' ± {spread:.2f}' if several else ''}" if known else line["note"],
        "worst 10%": f"{line['acc_worst_decile']:.2f}" if known else "",
        "sent": show_bytes(line["bytes_total"]) if known else "",
        "time": show_seconds(line["seconds"]) if known else "",
        "seeds": line["seeds"],
        "badges": line["badges"],
    }


def _number(value: float | None) -> float:
    return -1.0 if value is None or value != value else value


def _section(title: str, rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """A table under its title, without the columns in which no row has anything."""
    names = [name for name in rows[0] if any(show(row.get(name)) for row in rows)]
    cells = [[show(row.get(name)) for name in names] for row in rows]
    styles = [NUMBER if all(map(_numeric, column)) else TEXT for column in zip(*cells, strict=True)]
    head = "".join(f'<th style="{style}">{_text(name)}</th>' for name, style in zip(names, styles, strict=True))
    body = "".join(f"<tr>{_cells(line, styles)}</tr>" for line in cells)
    above = f"<p><b>{_text(title)}</b></p>" if title else ""
    below = f"<p><small>{_text(caption)}</small></p>" if caption else ""
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cells(line: Sequence[str], styles: Sequence[str]) -> str:
    return "".join(f'<td style="{style}">{_text(cell)}</td>' for cell, style in zip(line, styles, strict=True))


def _numeric(cell: str) -> bool:
    return not cell or cell.lstrip("+-−.<")[:1].isdigit()


def _lines(lines: Iterable[str]) -> str:
    return f"<p>{'<br>'.join(map(_text, lines))}</p>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _text(text: str) -> str:
    """Text as HTML; what records say is no markup."""
    return escape(visible(text)).replace("\n", "<br>")
