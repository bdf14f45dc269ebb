"""What was measured on a card beside floors, as Markdown tables (benchmarks room); `not measured` where it was not."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from .floors import need
from .results import rows_of
from .workloads import SUBJECTS, tiny

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ..measure import Row

UNKNOWN = "not measured"

SHOWN = 4
"""Kinds of kernels in a row of the table of profiles."""


def tables(out: Path, size: str) -> str:
    """Floors and rounds, and then profiles and memory, where parts of them were measured.

    Args:
        out: the folder of result files.
        size: `tiny` or `full`; files of the other size are left out.
    """
    return "\n\n".join(part for part in (floors(out, size), profiles(out, size), memory(out, size)) if part)


def floors(out: Path, size: str) -> str:
    """A line per workload: what a round needs, how long that takes at the ceilings, and how long rounds took."""
    ceilings = next(iter(rows_of(out, "ceilings", size)), None)
    launches = {row["workload"]: row["round"] for row in rows_of(out, "launches", size)}
    replayed = (ceilings or {}).get("replayed")
    lines = []
    for name, workload in SUBJECTS.items():
        required = need(tiny(workload) if size == "tiny" else workload)
        least = required.seconds(ceilings, workload.precision) if ceilings else {}
        seconds = {engine: _median(rows_of(out, f"round-{name}-{engine}", size)) for engine in ("stacked", "loop")}
        found = [value for value in seconds.values() if value is not None]
        gap = f"{min(found) / least['floor']:.1f}" if found and least else UNKNOWN
        counted = launches.get(workload.name)
        lines.append(
            (
                workload.name,
                f"{required.operations / 1e12:.3g}",
                f"{required.bytes / 1e9:.3g}",
                f"{required.activations / 1e9:.3g}",
                *(_time(least.get(part)) for part in ("operations", "bytes", "activations", "floor")),
                UNKNOWN if counted is None else f"{counted:,.0f}",
                _time(counted * replayed if counted and replayed else None),
                *map(_time, seconds.values()),
                gap,
            )
        )
    heading = ["workload", "TFLOP a round", "GB a round", "GB of activations", "operations", "bytes", "activations"]
    return _table([*heading, "floor", "launches", "replayed", "stacked", "loop", "the faster, in floors"], lines)


def profiles(out: Path, size: str) -> str:
    """A line per profile: where a round goes."""
    lines = []
    for name, workload in SUBJECTS.items():
        for row in rows_of(out, f"profile-{name}", size):
            kinds = [f"{kind} {_time(seconds)}" for kind, seconds in list(row["kinds"].items())[:SHOWN]]
            parts = [f"{part} {_time(spent['seconds'])}" for part, spent in row["parts"].items()]
            times = (_time(row[part]) for part in ("plain", "wall", "kernels", "gaps", "waiting"))
            lines.append((workload.name, *times, f"{row['launches']:,}", ", ".join(kinds), ", ".join(parts)))
    heading = ["workload", "a round", "with the profiler", "kernels", "gaps", "host waits", "launches"]
    return _table([*heading, "longest kinds of kernels", "parts of the round"], lines)


def memory(out: Path, size: str) -> str:
    """A line per size: estimate, peak and their ratio."""
    lines = []
    for name, workload in SUBJECTS.items():
        for row in rows_of(out, f"memory-{name}", size):
            ratio = UNKNOWN if row["ratio"] is None else f"{row['ratio']:.2f}"
            sizes = (_bytes(row["estimate"]), _bytes(row["peak"]))
            lines.append((workload.name, row["phase"], str(row["stack"]), str(row["batch"]), *sizes, ratio))
    return _table(["workload", "phase", "clients at once", "batch", "estimate", "peak", "ratio"], lines)


def _table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; nothing where it has no lines."""
    lines = list(lines)
    rows = [heading, ["---"] * len(heading), *lines] if lines else []
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _median(rows: Sequence[Row]) -> float | None:
    return statistics.median(rows[0]["seconds"]) if rows else None


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"


def _bytes(count: float | None) -> str:
    return UNKNOWN if count is None else f"{count / 2**20:,.0f} MiB"
