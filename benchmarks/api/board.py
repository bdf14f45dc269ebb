"""A leaderboard as a data frame (benchmarks room) that notebooks show as a table for people."""

from __future__ import annotations

import pandas as pd

from ..tables.html import board_html


class Board(pd.DataFrame):
    """A row per data set, setting, method and view. What is selected of it is an ordinary frame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        return board_html({str(name): value for name, value in row.items()} for row in self.to_dict("records"))
