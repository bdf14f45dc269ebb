"""What commands share at the terminal (benchmarks room): where they print, and options that several of them read."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from fl_bench.errors import unknown_name

if TYPE_CHECKING:
    from rich.console import Console

    from ..leaderboard.reported import Selection

PIPE_WIDTH = 130
"""Characters per line where the output is not a terminal."""


def make_console(*, stderr: bool = False) -> Console:
    """Where tables are printed."""
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def say(text: str) -> None:
    """Print a line for the user on standard error, out of the way of what is piped on."""
    print(text, file=sys.stderr)


def read_selection(name: str) -> Selection:
    """The value of `--select`.

    Raises:
        ConfigError: it is neither `last` nor `val`.
    """
    if name == "last":
        return "last"
    if name == "val":
        return "val"
    raise unknown_name("selection", name, ("last", "val"))
