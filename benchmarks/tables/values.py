"""One value as text for people (benchmarks room): numbers, bytes, durations."""

from __future__ import annotations

from typing import Any


def show(value: Any) -> str:
    """One cell as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def show_bytes(count: float | None) -> str:
    """A number of bytes, short: `12.3 kB`; nothing for None."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable: the loop returns at TB")


def show_count(count: float | None) -> str:
    """A number of things, short: `950`, `12.3k`, `4.5M`; nothing for None."""
    if count is None:
        return ""
    for unit in ("", "k", "M", "G"):
        if abs(count) < 999.5 or unit == "G":
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    raise AssertionError("unreachable: the loop returns at G")


def show_seconds(seconds: float | None) -> str:
    """A duration, short: `12 s`, `3 min`, `2.5 h`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
