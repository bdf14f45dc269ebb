"""Floors beside what was measured, as a Markdown table (benchmarks room)."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from .floors import need
from .workloads import SUBJECTS

if TYPE_CHECKING:
    from pathlib import Path

HEADING = (
    "workload", "TFLOP a round", "GB a round", "operations", "bytes", "floor", "stacked", "times the floor", "loop"
)  # fmt: skip


def table(out: Path) -> str:
    """A line per workload; `not measured` where a part has no file.

    Args:
        out: the folder of result files.
    """
    ceilings = _rows(out, "ceilings")
    lines = [HEADING, ("---",) * len(HEADING)]
    for name, workload in SUBJECTS.items():
        required = need(workload)
        least = required.seconds(ceilings[0], workload.precision) if ceilings else None
        seconds = {row["engine"]: statistics.median(row["seconds"]) for row in _rows(out, f"round-{name}")}
        ours = seconds.get("stacked")
        lines.append(
            (
                workload.name,
                f"{required.operations / 1e12:.3g}",
                f"{required.bytes / 1e9:.3g}",
                *(_time(None if least is None else least[part]) for part in ("operations", "bytes", "floor")),
                _time(ours),
                "" if ours is None or least is None else f"{ours / least['floor']:.1f}",
                _time(seconds.get("loop")),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rows(out: Path, part: str) -> list[dict[str, Any]]:
    place = out / f"{part}.json"
    return json.loads(place.read_text())["rows"] if place.exists() else []


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.3g} ms"
