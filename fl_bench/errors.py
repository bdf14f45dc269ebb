"""Errors that tell a user what was asked, what was found and what would do (shared by every room)."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class FLBenchError(Exception):
    """Any error that fl-bench reports to its user; the command line prints its text without a traceback."""


class ConfigError(FLBenchError, ValueError):
    """A setting, name or combination that cannot run; raised before a run spends time."""


class DataError(FLBenchError):
    """Data that are missing, unreadable or not what they claim to be."""


class StorageError(FLBenchError):
    """The disk does not take a checkpoint or a record: full, read-only, or not ours to write to."""


class Unsupported(FLBenchError):
    """A method that cannot run in this setting, with the reason; the run is recorded as `unsupported`."""


class Diverged(FLBenchError):
    """Training left the finite numbers; the run is recorded as `diverged`, never as an accuracy."""


def one_line(text: object, most: int = 400) -> str:
    """Text that others wrote, as a line that a terminal and a table can show: no control characters, bounded length.

    Args:
        text: a string, or an error that has one.
        most: characters of the line.
    """
    try:
        words = str(text)
    except Exception:  # an error whose text is an error
        words = f"{type(text).__name__} without a text"
    # Cut first: what is to be shown of a gigabyte is its beginning.
    line = " ".join("".join(c if c.isprintable() else " " for c in words[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def unknown_name(kind: str, name: str, known: Iterable[str], *, more: str = "") -> ConfigError:
    """Say that no `kind` is named `name`, with the nearest known name and all of them, and `more` behind it."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"no {kind} is named {name!r}{hint} (known: {', '.join(names)}){more}")
