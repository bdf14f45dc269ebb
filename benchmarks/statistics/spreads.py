"""What spreads printed after numbers can say (benchmarks room): whether a difference is larger than them, and no more.

A table says `85.2 ± 0.3` and seldom whether 0.3 is a standard deviation or the error of a mean, over how many runs, or
whether runs of two methods share seeds. So nothing on a single data set is tested with it. But where two numbers lie
closer than sqrt(s_1^2 + s_2^2), the spread of the difference of two such runs, neither is to be called better there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .table import Table


def within_spread(table: Table, control: str | None) -> list[str]:
    """A note for readers: where the difference from the control is smaller than the spreads of both numbers."""
    spreads = [spread for at in table.conditions for spread in at.spreads if spread is not None]
    if not spreads:
        return []
    text = (
        f"as printed after ±, numbers spread by {min(spreads):g} to {max(spreads):g} points; the table does not say "
        "what kind of spread that is and over how many runs, so single data sets are not tested with it"
    )
    if control is None:
        return [text]
    mine = table.methods.index(control)
    close = []
    for place, method in enumerate(table.methods):
        known = [
            abs(at.array()[mine, 0] - at.array()[place, 0]) < math.hypot(at.spreads[mine] or 0, at.spreads[place] or 0)
            for at in table.conditions
            if at.spreads and None not in (at.spreads[mine], at.spreads[place])
        ]
        if method != control and any(known):
            close.append(f"{method} on {sum(known)} of {len(known)}")
    lies = f"; closer to {control} than the spreads of both together: {', '.join(close)}" if close else ""
    return [text + lies]
