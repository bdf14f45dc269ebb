"""Pictures made of characters (benchmarks room): a curve, a shaded matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

SHADES = " ░▒▓█"
"""From none to all."""

MARKS = "●○◆◇■□"
"""A mark per curve."""


def curves(courses: Mapping[str, Sequence[float]], *, width: int = 60, height: int = 12) -> str:
    """Curves over rounds, one mark per curve.

    Args:
        courses: name to values, a value per round.
        width: characters of the drawing area.
        height: lines of the drawing area, at least 2.
    Returns:
        Lines of text: the area with its smallest and largest value, the rounds, and a legend.
    """
    values = [value for course in courses.values() for value in course]
    low, high = min(values), max(values)
    span = high - low or 1.0
    rounds = max(len(course) for course in courses.values())
    area = [[" "] * min(width, 4 * rounds) for _ in range(height)]
    columns = len(area[0])
    for mark, course in zip(MARKS * len(courses), courses.values(), strict=False):
        for index, value in enumerate(course):
            column = round(index * (columns - 1) / max(rounds - 1, 1))
            line = round((high - value) / span * (height - 1))
            area[line][column] = mark
    edges = {0: f"{high:8.2f}", height - 1: f"{low:8.2f}"}
    lines = [f"{edges.get(number, ''):>8} │{''.join(line).rstrip()}" for number, line in enumerate(area)]
    lines.append(f"{'':>8} └{'─' * columns}")
    lines.append(f"{'':>10}0{f'round {rounds - 1}':>{max(columns - 1, 8)}}")
    lines.append("  ".join(f"{mark} {name}" for mark, name in zip(MARKS * len(courses), courses, strict=False)))
    return "\n".join(lines)


def shaded(counts: np.ndarray, *, rows: Sequence[str]) -> str:
    """A matrix of counts as shaded blocks, darker for more, with its row names and totals.

    Args:
        counts: not negative, shape (rows, columns).
        rows: a name per row.
    """
    most = counts.max() or 1
    wide = 2 if counts.shape[1] <= 30 else 1
    margin = max(map(len, rows), default=0)
    heading = "".join(f"{column % 10 if wide == 1 else column % 100:>{wide}}" for column in range(counts.shape[1]))
    lines = [f"{'':>{margin}}  {heading}"]
    for name, line in zip(rows, counts, strict=True):
        # Any sample at all shows: the lightest shade stands for 1, not for a fifth of the most.
        shades = [0 if count == 0 else max(1, round(count / most * (len(SHADES) - 1))) for count in line]
        lines.append(f"{name:>{margin}}  {''.join(SHADES[shade] * wide for shade in shades)}  {int(line.sum())}")
    return "\n".join(lines)
