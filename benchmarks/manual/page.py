"""Writes what is generated in docs/method-interface.md: the contents, the complete methods, and the reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..commands.scaffold import KINDS, filled
from .examples import EXAMPLES
from .headings import headings
from .reading import ROOT, Topic, as_markdown, entry_text
from .topics import MODULES, topics

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "method-interface.md"

NOTE = "<!-- {}: written by `make reference`; edit {} instead -->"
END = "<!-- end -->"

WORDS = {
    "scores": "Scores travel: predictions on public data",
    "weights": "Weights travel: one model for all",
    "server-model": "A net at the server",
    "personal": "A personal part that stays",
}
"""Headings of the complete methods."""


def written(text: str) -> str:
    """The page with everything generated anew."""
    text = _placed(text, "methods", "benchmarks/commands/templates", complete_methods())
    text = _placed(text, "reference", "docstrings, and examples in benchmarks/manual", reference())
    return _placed(text, "contents", "headings", contents(text))


def _placed(text: str, mark: str, source: str, content: str) -> str:
    """The page with one of its generated pieces in its place."""
    filled_in = f"{NOTE.format(mark, source)}\n\n{content}\n\n{END}"
    text, found = re.subn(rf"<!-- {mark}:.*?-->\n.*?{re.escape(END)}", lambda _: filled_in, text, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"the page has {found} places for {mark}; one `<!-- {mark}: -->` ... `{END}` is needed")
    return text


def complete_methods() -> str:
    """The files that `fl-bench new method` writes, as sections of the page."""
    sections = []
    for kind in KINDS:
        name = f"my-{kind}"
        module = name.replace("-", "_")
        sections.append(
            f"### {WORDS[kind]}: `{module}.py`\n\n"
            f"`fl-bench new method {name} --kind {kind}` writes it and its test.\n\n"
            f"```python\n{filled(f'{kind}.py.txt', name)}```"
        )
    return "\n\n".join(sections)


def reference() -> str:
    """Every topic with its members, a line of example each."""
    parts = []
    for heading, content in topics().items():
        parts.append(f"### {heading}")
        parts += [_topic_text(topic) for topic in content if topic.entries or topic.name == "Pairs"]
    return "\n\n".join(parts)


def _topic_text(topic: Topic) -> str:
    words = as_markdown(topic.doc)
    items = [entry_text(entry, EXAMPLES[entry.key]) for entry in topic.entries]
    made = f"`{topic.call}` " if topic.call else ""
    heading = f"#### {MODULES.get(topic.name, topic.name)}"
    return "\n\n".join([heading, f"From `{topic.where}`. {made}{words}", *(["\n".join(items)] if items else [])])


def contents(text: str) -> str:
    """Links to the sections of a page in Markdown, a line for each part."""
    lines: list[str] = []
    for heading in headings(text):
        link = f"[{heading.text}](#{heading.anchor})"
        if heading.level == 2:
            lines.append(f"- **{link}**:")
        elif heading.level == 3:
            lines[-1] += (" " if lines[-1].endswith(":") else " · ") + link
    return "\n".join(lines)


def write(page: Path = PAGE) -> Path:
    """Write the page again; returns where it is."""
    page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
    return page
