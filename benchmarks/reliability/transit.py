"""The way from workers to the driver (benchmarks room): what is said arrives garbled, cut off, twice, or never."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from .seen import BrokenError, Seen

if TYPE_CHECKING:
    from .place import Place

PLUGIN = Path(__file__).with_name("garbled.py")
"""The plugin with the executor that garbles."""


def garbled_in_transit(place: Place) -> Seen:
    """Once in the life of each worker of `subprocess`, at a random line, a byte is changed, the line is cut off, said
    twice or left out, or a line of noise comes before it.

    Expected: nothing that arrived wrong is kept: the cell is tried again elsewhere, from its last checkpoint.

    Recovery: none, or the same command with `--retry`.
    """
    seen, times = Seen(), place.times(40)
    log = place.new_folder("garbled")
    environment = {"FAULTS_GARBLED": str(log)}
    place.results(4)
    until = time.monotonic() + place.limit
    while seen.times < times and time.monotonic() < until:
        results = place.results(4)
        code, said = place.run(results, "--retry", "--plugin", str(PLUGIN), executor="garbled", environment=environment)
        seen.exits.add(code)
        if code not in (0, 1, 2) or "Traceback" in said:
            raise BrokenError(f"it ended with {code}: {said[-500:]}")
        results.check(failed="")
        seen.times = len(log.read_text().splitlines()) if log.exists() else 0
        seen.cells += place.finish(results, "--retry")
    return seen


FAULTS = (garbled_in_transit,)
"""The faults of this family."""
