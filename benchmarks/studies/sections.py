"""Generated sections of docs/cosmos-studies.md (benchmarks room): each between two comments, in a place of its own."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

STUDIES = DOCS / "cosmos-studies.md"
"""The page with a section per study."""

END = "<!-- end -->"


def put(name: str, command: str, template: Path, text: str, page: Path = STUDIES) -> Path:
    """Write a section again, in its place on the page, and say where the page is.

    Args:
        name: of the section, in the comment before it.
        command: what writes it.
        template: the file that its words are in.
        text: the section.
        page: has a place for it.
    Raises:
        ValueError: the page has not exactly one place for it.
    """
    where = template.resolve().relative_to(DOCS.parent).as_posix()
    section = f"<!-- {name}: written by `{command}`; edit {where} instead -->\n\n{text}\n{END}"
    place = rf"<!-- {name}:.*?-->\n.*?{re.escape(END)}"
    whole, found = re.subn(place, lambda _: section, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} has {found} places `<!-- {name}: -->` ... `{END}`, one is needed")
    page.write_text(whole, encoding="utf-8")
    return page


def table(head: list[str], rows: list[list[str]], *, right: bool = False) -> str:
    """A Markdown table, with all columns but the first to the right where they are numbers."""
    line = ["---", *["--:" if right else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, line, *rows))


def listed(names: list[str]) -> str:
    """Names as part of a sentence, `none` where there are none."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"


def wrapped(text: str) -> str:
    """The same with the lines of paragraphs and list items filled; tables, headings, code and comments stay."""
    return "\n\n".join(_fill(block) for block in text.rstrip("\n").split("\n\n")) + "\n"


def _fill(block: str) -> str:
    if block.startswith(("|", "#", "    ", "<")):
        return block
    items = re.split(r"\n(?=- )", block)
    hang = "  " if block.startswith("- ") else ""
    return "\n".join(
        textwrap.fill(
            " ".join(item.split()), 120, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
        )
        for item in items
    )
