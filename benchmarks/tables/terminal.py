"""The terminal (benchmarks room): where tables are printed, and what is said beside them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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
