"""Power as text (benchmarks room): the chance to detect differences, and what a good chance would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..statistics.detection import EFFECTS, MOST, WANTED
from ..statistics.power import number
from ..statistics.verdicts import many
from .printing import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ..statistics.detection import Power

POINTS = [f"{effect:g}" for effect in EFFECTS]


def print_power(console: Console, found: Sequence[Power]) -> None:
    """Print the chances of every family, and what it would take."""
    for power in found:
        _say(console, "")
        _say(console, _title(power), bold=True)
        rows = [_row(power, place) for place in range(len(power.rows))]
        print_table(console, rows)
        spread = "over seeds" if power.seen_blocks == 1 else "over data sets"
        _say(
            console,
            f"power to detect this difference between {power.control} and this method, if the others equal "
            f"{power.control}; spread: standard deviation of the difference {spread}, in points, as seen on "
            f"{many(power.seen_blocks, 'data set')} with {power.seen_seeds:g} "
            + ("seed" if power.seen_seeds == 1 else "seeds")
            + ("; seeds: share of its variance that comes from seeds" if any("seeds" in row for row in rows) else "")
            + ("; no spread: all observed differences are equal, so power is unknown" if _any_without(power) else ""),
        )
        if power.blocks < power.floor and power.seen_blocks > 1:
            _say(
                console, f"no test can reject with {many(power.blocks, 'data set')}: at least {power.floor} are needed"
            )
        if power.seeds < 2 and power.seen_blocks == 1:
            _say(console, "no test can reject with 1 seed: t paired by seed needs at least 2")
        if power.needs:
            _needed(console, power)


def _any_without(power: Power) -> bool:
    return any(row.chances is None for row in power.rows)


def in_short(power: Power) -> str:
    """The chances of a typical method in one sentence, without a full stop."""
    (row,) = [one for one in power.rows if one.method == power.typical]
    said = ", ".join(_percent(chance) for chance in row.chances or ())  # the typical one has them
    return f"power, {_title(power)}: {', '.join(POINTS)} points are detected with a probability of {said}"


def _title(power: Power) -> str:
    over = f"{many(power.blocks, 'data set')} and {many(power.seeds, 'seed')}"
    test = "t paired by seed" if power.seen_blocks == 1 else "signed rank"
    tests = f"Holm over {many(power.tests, 'test')}, level {number(power.alpha)}"
    return f"{power.control} against the {power.family} with {over} ({test}, {tests})"


def _row(power: Power, place: int) -> dict[str, str]:
    row = power.rows[place]
    return {
        "method": row.method,
        "spread": f"{row.spread:.2f}",
        **({} if row.from_seeds is None else {"seeds": _percent(row.from_seeds)}),
        **{
            f"{points} point{'' if points == '1' else 's'}": "no spread" if chance is None else _percent(chance)
            for points, chance in zip(POINTS, row.chances or [None] * len(POINTS), strict=True)
        },
    }


def _needed(console: Console, power: Power) -> None:
    what = "seeds" if power.seen_blocks == 1 else "data sets"
    _say(console, "")
    _say(console, f"{what.capitalize()} for a power of {_percent(WANTED)} (typical method: {power.typical})", bold=True)
    rows = [
        {
            **({} if need.seeds is None else {"seeds": str(need.seeds)}),
            **{
                f"{points} point{'' if points == '1' else 's'}": f"more than {MOST}" if count is None else str(count)
                for points, count in zip(POINTS, need.needed, strict=True)
            },
        }
        for need in power.needs
    ]
    print_table(console, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _say(console: Console, text: str, *, bold: bool = False) -> None:
    console.print(text, markup=False, highlight=False, style="bold" if bold else None)
