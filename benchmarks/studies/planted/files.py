"""The files of the planted study: where they are, how they are written and read (benchmarks room)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

HERE = Path(__file__).resolve().parent
PREDICTIONS = HERE / "predictions.csv"
"""Written by hand, before any result."""
ARMS, OUTCOMES, CURVES, CALIBRATION = (
    HERE / "results" / f"{name}.csv" for name in ("arms", "outcomes", "curves", "calibration")
)
"""Numbers of each arm; predictions with what was found; mean curves of each seed; how often verdicts are right."""


def number(value: float) -> str:
    """Four digits after the point."""
    return "" if math.isnan(value) else f"{value:.4f}"


def show_interval(interval: tuple[float, float] | None) -> str:
    """Both ends, or nothing where it is unbounded."""
    return "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one of the study's files."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def keep(path: Path, rows: list[dict[str, str]]) -> None:
    """Write one of the study's files."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
