"""`python -P -m fl_bench.benchmarks.studies.published`: the page of each folder in results/, and the index of them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..commands.question import Question
from ..commands.screen import tell, write_screen
from ..records.bundle import NAME
from ..report.screen import in_short
from .sections import put, table

if TYPE_CHECKING:
    from ..report.screen import Told

RESULTS = Path(__file__).resolve().parents[2] / "results"

INDEX = RESULTS / "README.md"


def folders() -> list[Path]:
    """The published folders, by name."""
    return sorted(path.parent for path in RESULTS.glob(f"*/{NAME}"))


def index(told: list[Told]) -> str:
    """A line per folder: what it asks, and what it found or what its note says."""
    rows = [
        [f"[`{one.name}`]({one.name}/README.md)", one.question, _found(one).replace("|", "\\|")]
        for one in sorted(told, key=lambda one: one.name)
    ]
    return table(["folder", "what it asks", "what it found"], rows) + "\n"


def _found(told: Told) -> str:
    if told.comparison is not None:
        return in_short(told.comparison)

    def moved(link: re.Match[str]) -> str:
        return f"]({posixpath.normpath(posixpath.join(told.name, link[1]))}"

    return re.sub(r"\]\((?!https?:)([^)#]+)", moved, " ".join(told.note.split())).replace("](README.md#", "](#")


def write(page: Path = INDEX) -> Path:
    """Write the index again, in its place on the page, and say where the page is."""
    told = [tell(folder, Question())[0] for folder in folders()]
    return put("index", "make results", Path(__file__), index(told), page)


if __name__ == "__main__":
    for folder in folders():
        write_screen(folder, Question(), None)
    print(f"written: {write()}")
