"""Makes pages of the site from pages of the repository: which there are, where links lead, what Markdown differs in.

The pages are written for a reader of the repository. The site has the same ones, some papers of the root, and those
that are made of code. Python-Markdown, which builds it, wants lists indented by four, and a blank line before them.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from . import generated
from .headings import headings
from .reading import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

PAPERS = {
    "index.md": "README.md",
    "results.md": "results/README.md",
    "results-offline.md": "results/offline/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "conduct.md": "CODE_OF_CONDUCT.md",
    "security.md": "SECURITY.md",
}
"""Pages of the site that are files outside of `docs/`, and these files."""

NOTEBOOKS = {f"notebooks/{name}.md": f"docs/notebooks/{name}.ipynb" for name in ("first-comparison", "your-own-method")}
"""Pages of the site that are notebooks, and these."""

GENERATED: dict[str, Callable[[], str]] = {
    "reference/commands.md": generated.commands,
    "reference/grid.md": generated.grid,
    "reference/methods.md": generated.methods,
    "reference/datasets.md": generated.datasets,
}
"""Pages of the site that are made of code."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|!?\[[^\]]*\]\([^)]*\))*)\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
"""A link within the repository: whether a picture, its text, file and anchor."""

FENCE = re.compile(r"\s*(```+|~~~+)")


def adapted(text: str, page: str) -> str:
    """A page as Python-Markdown needs it.

    Args:
        text: its Markdown, as GitHub reads it.
        page: its place on the site, `people.md`.
    """
    return _with_lists(_with_anchors(_relinked(text, page)))


def source_of(page: str) -> str:
    """The file of the repository that a page of the site stands for."""
    return {**PAPERS, **NOTEBOOKS}.get(page, f"docs/{page}")


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with everything changed that is in no block of code."""
    pieces = re.split(r"(^[ ]*```.*?^[ ]*```[ ]*$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(piece if piece.lstrip(" ").startswith("```") else change(piece) for piece in pieces)


def _relinked(text: str, page: str) -> str:
    """Links to files that the site has lead there; of others only the text is left."""
    places = {file: place for place, file in {**PAPERS, **NOTEBOOKS}.items()}
    here, file = posixpath.dirname(page), source_of(page)

    def moved(match: re.Match[str]) -> str:
        mark, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target:
            return match[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        place = places.get(wanted) or (wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if place is None:
            if not (ROOT / wanted).exists():
                raise ValueError(f"{file} links to {target}, which is not there")
            return words
        return f"{mark}[{words}]({posixpath.relpath(place, here or '.')}{anchor})"

    return _outside_code(text, lambda piece: LINK.sub(moved, piece))


def _with_anchors(text: str) -> str:
    """Headings with the anchors that GitHub gives them, since links use these."""
    anchors = iter(headings(text))

    def marked(match: re.Match[str]) -> str:
        return f"{match[0]} {{ #{next(anchors).anchor} }}"

    return _outside_code(text, lambda piece: re.sub(r"^#{1,6} .*$", marked, piece, flags=re.MULTILINE))


def _with_lists(text: str) -> str:
    """Lists indented by four a level, with a blank line before them, and before an item that follows a paragraph."""
    lines: list[str] = []
    width, fence, shift = 0, "", 0  # of the marker of the list we are in; the end of a block of code, and its shift
    apart = False  # whether the item that we are in has paragraphs, which would take the next item's line for theirs
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if fence:
            lines.append(" " * max(0, indent + shift) + line[indent:] if line.strip() else line)
            fence = "" if line.strip() == fence else fence
            continue
        item = re.match(r"([-*]|\d+\.) +", line)
        if item:
            if (apart or not width) and lines and lines[-1].strip():
                lines.append("")
            width, apart = len(item[0]), False
        elif line.strip() and not indent and not (lines and lines[-1].strip()):
            width = 0  # a paragraph after a blank line ends the list
        elif line.strip() and width and not lines[-1].strip():
            apart = True
        shift = 4 * (indent // width) + indent % width - indent if width and not item else 0
        lines.append(" " * (indent + shift) + line[indent:])
        opened = FENCE.match(line)
        fence = opened[1] if opened else ""
    return "\n".join(lines) + "\n"
