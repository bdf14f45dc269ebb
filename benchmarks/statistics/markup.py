"""The cells of a table of numbers in a file: CSV, Markdown or LaTeX (benchmarks room); what they mean is in `numbers`.

Of Markdown the one table of pipes is read, of LaTeX the one `tabular`; bold, colours, rules and citations are taken
off, and `\\pm` becomes ±. Two lines of headings, the first of which spans columns, become `CIFAR-10 [0.1]`. Nothing is
executed.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

MARKDOWN, LATEX = (".md", ".markdown"), (".tex",)
"""Suffixes of files that are read as such; all others are CSV."""

RULE = re.compile(r"\|?:?-+:?(\|:?-+:?)*\|?")
"""The line of dashes below the headings of a Markdown table, without spaces."""

TABULAR = re.compile(r"\\begin\{(tabular[xy]?\*?|longtable|tblr)\}(.*?)\\end\{\1\}", re.DOTALL)
HEADED = re.compile(r"\\midrule|\\hline")
"""What follows the headings, when something precedes it."""

LINES = re.compile(
    r"\\(?:toprule|midrule|bottomrule|hline|addlinespace|endhead|endfirsthead|endfoot|endlastfoot)(?![a-z])(?:\[[^]]*\])?"
)
DROPPED = re.compile(
    r"\\(?:rowcolor|cellcolor|textcolor|colorbox|color|specialrule|cmidrule|cline|cite[a-z]*|footnote[a-z]*|tablefootnote"
    r"|label)\*?(?:\([a-z]*\))?(?:\[[^]]*\])*\{[^{}]*\}"
)
"""Commands that go with what they are given first: the rest of a coloured text stays."""

SPAN = re.compile(r"\\multicolumn\s*\{(\d{1,3})\}\s*\{(?:[^{}]|\{[^{}]*\})*\}\s*")
TALL = re.compile(r"\\multirow\s*(?:\[[^]]*\])?\s*\{\d{1,3}\}\s*(?:\[[^]]*\])?\s*\{[^{}]*\}\s*")
SIGNS = {
    r"\pm": "±",
    r"\%": "%",
    r"\&": "&",
    r"\_": "_",
    r"\#": "#",
    r"\,": " ",
    r"\;": " ",
    r"\alpha": "α",
    r"\beta": "β",
    "~": " ",
    "---": "—",
    "--": "–",
    "$": "",
}
"""What LaTeX writes for a character; longer ones first where one begins another."""


@dataclass(frozen=True)
class Cells:
    """A table as text."""

    heading: tuple[str, ...]
    lines: tuple[tuple[int | None, tuple[str, ...]], ...]
    """Number in the file, where it is one line of it, and as many cells as there are headings."""


def read_cells(path: Path) -> Cells:
    """The cells of a file; what is not a number is not looked at.

    Raises:
        DataError: the file cannot be read, or does not hold one table with a line of headings.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        suffix = path.suffix.lower()
        reader = _markdown if suffix in MARKDOWN else _latex if suffix in LATEX else _csv
        cells = reader(text, str(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from None
    if not cells.lines or len(cells.heading) < 2:
        raise DataError(f"{path} is no table: it needs a line of headings, and lines of numbers below it")
    for number, line in cells.lines:
        if len(line) != len(cells.heading):
            where = f"{path}, line {number}" if number else f"{path}: the line that begins with {line[0]!r}"
            raise DataError(f"{where} has {len(line)} cells under {len(cells.heading)} headings")
    return cells


def _csv(text: str, _: str) -> Cells:
    """Commas, semicolons or tabs between cells; empty lines left out."""
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    lines = [(number, tuple(cell.strip() for cell in line)) for number, line in enumerate(reader, 1) if any(line)]
    return Cells(lines[0][1] if lines else (), tuple(lines[1:]))


def _markdown(text: str, place: str) -> Cells:
    """The one table of pipes."""
    lines = text.splitlines()
    rules = [
        number for number, line in enumerate(lines) if number and "|" in line and RULE.fullmatch("".join(line.split()))
    ]
    if len(rules) != 1:
        raise DataError(
            f"{place} must hold one table of pipes (dashes below its headings), found {len(rules)}; keep one"
        )
    (rule,) = rules
    found = []
    for number, line in enumerate(lines[rule + 1 :], rule + 2):
        if "|" not in line:
            break
        found.append((number, _pipes(line)))
    return Cells(_pipes(lines[rule - 1]), tuple(found))


def _pipes(line: str) -> tuple[str, ...]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return tuple(_unmarked(cell.replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", inner))


def _unmarked(cell: str) -> str:
    """A cell without bold, italics, code and tags."""
    bare = re.sub(r"<[^<>]{1,40}>|\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", cell)
    return _signs(bare).strip() if "$" in bare else bare.strip()


def _latex(text: str, place: str) -> Cells:
    """The one `tabular`."""
    bodies = TABULAR.findall(re.sub(r"(?<!\\)%[^\n]*", "", text))
    if len(bodies) != 1:
        raise DataError(f"{place} must hold one tabular environment, found {len(bodies)}; keep one of them in the file")
    body = _without_columns(bodies[0][1])
    rows: list[list[tuple[str, int]]] = []
    headings = 0
    for part in re.split(r"\\\\(?:\[[^]]*\])?|\\tabularnewline", body):
        if rows and not headings and HEADED.search(part):
            headings = len(rows)
        cells = [_cell(cell) for cell in re.split(r"(?<!\\)&", DROPPED.sub("", LINES.sub("", part)))]
        if any(cell for cell, _ in cells):
            rows.append(cells)
    spread = [_spread(row) for row in rows]
    headings = headings or 1
    return Cells(_joined(spread[:headings]), tuple((None, row) for row in _filled(spread[headings:])))


def _without_columns(body: str) -> str:
    """The body without the widths and columns that stand before it, such as `{\\textwidth}{l|*{3}{c}}`."""
    rest = re.sub(r"^\s*\[[^]]*\]", "", body).lstrip()
    while rest.startswith("{"):
        depth = 0
        end = len(rest)
        for place, letter in enumerate(rest):
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if not depth:
                end = place + 1
                break
        rest = rest[end:].lstrip()
    return rest


def _cell(text: str) -> tuple[str, int]:
    """What a cell says, and how many columns it spans."""
    span = SPAN.search(text)
    bare = TALL.sub("", SPAN.sub("", text))
    bare = re.sub(r"\^\s*(?!\{?\s*\\pm)(\{[^{}]*\}|\\[a-z]+|.)", "", bare)  # daggers and marks of footnotes
    return _signs(bare), int(span[1]) if span else 1


def _signs(text: str) -> str:
    """Text without commands: what they are given stays."""
    for sign, plain in SIGNS.items():
        text = re.sub(re.escape(sign) + (r"(?![a-zA-Z])" if sign[-1].isalpha() else ""), plain, text)
    text = re.sub(r"_\s*\{\s*(?=[\d.])", "±{", text)  # a small number below is a spread
    text = re.sub(r"_\s*(?=\{)", " ", text)
    text = re.sub(r"\\[a-zA-Z]+\*?", "", text)
    return re.sub(r"\s+", " ", re.sub(r"[{}\\^]", "", text)).strip()


def _spread(row: list[tuple[str, int]]) -> tuple[str, ...]:
    """A cell that spans columns stands in each of them."""
    return tuple(cell for cell, span in row for _ in range(max(1, span)))


def _joined(rows: list[tuple[str, ...]]) -> tuple[str, ...]:
    """One line of headings out of several: what spans, and in brackets what stands below it."""
    width = max(map(len, rows), default=0)
    columns = [[row[place] for row in rows if place < len(row) and row[place]] for place in range(width)]
    return tuple(f"{parts[0]} [{', '.join(parts[1:])}]" if len(parts) > 1 else "".join(parts) for parts in columns)


def _filled(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows whose first cell is empty continue the one above, as below a cell that spans rows."""
    found: list[tuple[str, ...]] = []
    for row in rows:
        found.append((found[-1][0], *row[1:]) if found and row and not row[0] else row)
    return found
