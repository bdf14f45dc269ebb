"""docs/cosmos.md (benchmarks room): COSMOS in two screens, every number from committed results of the studies."""

from __future__ import annotations

from pathlib import Path

from .baselines import page as baselines
from .clusters import page as clusters
from .contraction import page as contraction
from .planted import page as planted
from .sections import DOCS, wrapped
from .server import page as server

PAGE = DOCS / "cosmos.md"

TEXT = Path(__file__).with_name("summary.md")
"""The words of the page; `{study[name]}` stands for what `facts` of the study computes."""


def write(page: Path = PAGE) -> Path:
    """Write the page again, and say where it is.

    Raises:
        ConfigError: records of a study are not there.
    """
    facts = {
        "clusters": clusters.facts(),
        "planted": planted.facts(),
        "contraction": contraction.told(),
        "server": server.facts(),
        "baselines": baselines.told(),
    }
    page.write_text(wrapped(TEXT.read_text(encoding="utf-8").format(**facts)), encoding="utf-8")
    return page
