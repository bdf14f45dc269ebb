"""Headings of a page in Markdown, with the anchors that GitHub gives them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading of a page."""

    level: int
    """From 1, of the page, to 6."""
    text: str
    anchor: str
    """What a link to it ends in, without `#`; headings of the same words are numbered from the second on."""


def headings(text: str) -> list[Heading]:
    """The headings of a page, in order; lines in blocks of code are none."""
    used: Counter[str] = Counter()
    found = []
    without_code = re.sub(r"^[ ]*```.*?^[ ]*```[ ]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    for mark, words in re.findall(r"^(#{1,6}) (.*)$", without_code, re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-")
        found.append(Heading(len(mark), words, f"{anchor}-{used[anchor]}" if used[anchor] else anchor))
        used[anchor] += 1
    return found
