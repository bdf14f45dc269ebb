"""The terminal (benchmarks room): tables and what is said beside them, without control characters."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPE_WIDTH = 130
"""Characters per line where the output is not a terminal."""


CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what moves the cursor, turns the direction of text, is half a character, or breaks a line."""


def visible(text: str) -> str:
    r"""Text as a person may see it: control characters are written out, as `\x1b`; line ends and tabs stay.

    What records, bundles and errors say was written by others. Raw, it could clear the screen or forge other lines.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in CONTROL else repr(char)[1:-1] for char in text
    )


def make_console(*, stderr: bool = False) -> Console:
    """Where tables are printed; everything that it is given as a string is made `visible`."""
    from rich.console import Console

    class Visible(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **options)

    console = Visible(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def nearby(text: str) -> str:
    """Text whose paths below the working folder are written from there, as one would type them."""
    folder = os.getcwd()
    if folder == os.path.dirname(folder) or folder not in text:
        return text
    # A path begins behind a space, a quote or the like: in /data/home/x, /home is no path of its own.
    return re.sub(rf"(?<![^\s'\"(\[=:]){re.escape(folder + os.sep)}(?=[^\s])", "", text)


def say(text: str) -> None:
    """Print a line for the user on standard error, out of the way of what is piped on; made `visible` and `nearby`."""
    print(visible(nearby(text)), file=sys.stderr)


def put(text: str) -> None:
    """Print text that is no table of rich's on standard output; made `visible`."""
    print(visible(text))
