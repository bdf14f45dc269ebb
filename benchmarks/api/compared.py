"""A comparison as a Python object (benchmarks room): its verdicts as a frame, its text, LaTeX, Markdown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..tables.comparison import as_json, markdown, plain
from ..tables.comparison_csv import as_csv
from ..tables.html import comparison_html
from ..tables.latex import latex

if TYPE_CHECKING:
    from ..leaderboard.reported import Selection
    from ..statistics.result import Comparison


@dataclass(frozen=True, repr=False)
class Compared:
    """What may be claimed of methods."""

    result: Comparison
    """All of it: ranks, effects, tests, cautions; see `fl_bench.benchmarks.statistics.result`."""
    selection: Selection = "last"
    """The round that is reported."""

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row per method that was compared with the control.

        `verdict` is the method's: better, worse, equivalent or undecided. `estimate` is the method minus the control,
        points, from `low` to `high`: what the test of the verdict does not reject. `p` is adjusted by Holm.
        """
        columns = ("method", "other", "verdict", "estimate", "low", "high", "p", "family")
        rows = [{name: getattr(one, name) for name in columns} for one in self.result.decisions]
        return pd.DataFrame(rows, columns=list(columns)).rename(columns={"other": "control"})

    def to_frame(self) -> pd.DataFrame:
        """The table of `fl-bench compare --format csv`."""
        return pd.read_csv(io.StringIO(as_csv(self.result)))

    def to_latex(self, label: str = "tab:comparison") -> str:
        """A table for a paper, as `fl-bench compare --format latex` writes it, with a label to refer to."""
        return latex(self.result, label)

    def to_markdown(self) -> str:
        """All tables and sentences as Markdown."""
        return markdown(self.result)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return self.result.as_dict()

    def to_json(self) -> str:
        """All of it as JSON."""
        return as_json(self.result)

    def __str__(self) -> str:
        return plain(self.result)

    def __repr__(self) -> str:
        return plain(self.result)

    def _repr_html_(self) -> str:
        return comparison_html(self.result)
