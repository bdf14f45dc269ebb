"""Ledgers of tunings that were never run: what was chosen of some methods, with as many trials as a test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_bench.benchmarks.tuning.judging import best_so_far
from fl_bench.benchmarks.tuning.ledger import FORMAT, GridReference, Ledger, Search, Trial, Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping


def search(
    method: str, chosen: Mapping[str, Any], trials: int, *, places: tuple[str, ...] = ("digits",), **changes: Any
) -> Search:
    """A search whose last trial was best, on one seed, 100."""
    tried = tuple(
        Trial(number, dict(chosen), "done", {place: {"100": 50.0 + number} for place in places}, 1.0, 10, 100)
        for number in range(trials)
    )
    values = {
        "method": method,
        "name": method,
        "places": places,
        "fixed": {},
        "space": dict.fromkeys(chosen, "log(0.0001, 0.1)"),
        "trials": tried,
        "chosen": trials - 1,
        "curve": best_so_far(tried),
    }
    return Search(**{**values, **changes})


def ledger(*searches: Search, trials: int = 3, **changes: Any) -> Ledger:
    """A ledger of these searches."""
    values = {
        "format": FORMAT,
        "grid": GridReference("small", "0" * 64),
        "per": "grid",
        "sampler": "random",
        "trials": trials,
        "final_seeds": (0, 1),
        "tunings": (Tuning((100,), searches),),
        "began": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "software": ("fl-bench 0",),
    }
    return Ledger(**{**values, **changes})
