"""Finer questions as text (benchmarks room): what accuracy costs, and what holds for other clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..statistics.mixed import LEAST
from ..statistics.power import number
from ..statistics.verdicts import many
from .printing import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ..statistics.clients import OnClients
    from ..statistics.costs import Cost, Estimate
    from ..statistics.mixed import Mixed


def print_costs(console: Console, found: Sequence[Cost], alpha: float, tuning: str) -> None:
    """Print what each method gains on the control and what it takes; and how they were tuned, in words."""
    rows, caption = cost_table(found, alpha, tuning)
    print_table(console, rows)
    if caption:
        _say(console, caption)


def cost_table(found: Sequence[Cost], alpha: float, tuning: str) -> tuple[list[dict[str, Any]], str]:
    """What each method gains on the control and what it takes, a row each, and what the columns are."""
    rows = [
        {
            "method": cost.method,
            "points": f"{cost.points.value:+.2f}",
            "interval": _span(cost.points, "+.2f"),
            "bytes": _times(cost.bytes),
            "bytes\ninterval": _span(cost.bytes, ".3g"),
            "seconds": _times(cost.seconds),
            "seconds\ninterval": _span(cost.seconds, ".3g"),
        }
        for cost in found
    ]
    if not rows:
        return [], ""
    families = found[0].families
    none = "too few for an interval"
    interval = none if found[0].points.low is None else f"{100 * (1 - alpha):g} % intervals, bootstrap over them"
    return rows, (
        f"The method minus {found[0].other} in points, and the ratios of its bytes and seconds to {found[0].other}'s "
        f"(geometric mean); over {families} {'family' if families == 1 else 'families'} of data sets, {interval}. "
        "Bytes: whole runs, both ways, public inputs once. Seconds: as measured, with any other load; - if one of "
        f"them sends nothing. Tuning: {tuning}"
    )


def print_clients(console: Console, found: Sequence[OnClients], alpha: float, tuning: str) -> None:
    """Print methods against the control on single data sets, clients and seeds taken for a sample; and their tuning."""
    rows = [
        {
            "data set": row.dataset,
            "method": row.method,
            "seeds": row.seeds,
            "clients": f"{row.clients}{'' if row.same_clients else ' (dealt anew)'}",
            **_mixed(row.found),
            "p Holm": "" if row.p_holm is None else number(row.p_holm) + ("*" if row.significant else ""),
        }
        for row in found
    ]
    print_table(console, rows)
    without = sum(row.found is None for row in found)
    if without:
        _say(
            console,
            f"no estimate in {without} of {many(len(rows), 'row')}: the model takes {LEAST} seeds at least, {LEAST} "
            "clients where they stay the same, and differences that vary within them",
        )
    if without < len(rows):
        _say(
            console,
            f"The method minus {found[0].other}, points, for other seeds and, where they stay the same, other clients "
            f"like these: mixed model, REML, Satterthwaite; {100 * (1 - alpha):g} % intervals for each alone, * after "
            f"Holm over all {many(len(rows), 'row')}; standard deviations of its random parts. Tuning: "
            f"{tuning}",
        )


def _mixed(found: Mixed | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("points", "interval", "seed", "client", "rest"), "")
    return {
        "points": f"{found.difference:+.2f}",
        "interval": f"{found.low:+.2f} to {found.high:+.2f}",
        "seed": f"{found.seed_std:.2f}",
        "client": "" if found.client_std is None else f"{found.client_std:.2f}",
        "rest": f"{found.rest_std:.2f}",
    }


def _times(ratio: Estimate | None) -> str:
    return "-" if ratio is None else f"x {ratio.value:.3g}"


def _span(found: Estimate | None, form: str) -> str:
    if found is None or found.low is None or found.high is None:
        return ""
    return f"{found.low:{form}} to {found.high:{form}}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
