"""Runs that a worker could not end itself (benchmarks room): what it sent of them, and the record made of that."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ..records.lease import Held
from ..records.record import Outcome
from ..records.rows import seconds_of
from .executor import Event
from .provenance import machine, software
from .runner import Ending, finished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...federation.rows import RoundRow
    from ..grid.cell import Cell
    from ..records.store import Store
    from .runner import Options


TOLD = 143
"""Exit code of a worker that was asked to end and let go of its cell."""

ASKING = ("SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2")
"""Signals that ask a process to end, those of batch systems among them; a crash sends others."""


@dataclass
class Heard:
    """What a worker has sent of its cell so far; enough for a record, should the worker not live to write it."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the run said of itself after its last finished round."""
    rows: list[bytes] = field(default_factory=list)
    """The finished rounds as `packed` made them: 0.4 MB each for 1000 clients with three views."""


def packed(row: RoundRow) -> bytes:
    """A round for the way to the parent, which reads it only where it has to write the record."""
    return packed_values(row.values, row.clients)


def packed_values(values: Mapping[str, Any], clients: Sequence[Mapping[str, Any]]) -> bytes:
    """A round as `packed` makes it, from its values and those of its clients; imports no torch."""
    return json.dumps((values, clients)).encode()


def record_for(
    cell: Cell,
    status: Literal["timeout", "failed"],
    reason: str,
    heard: Heard,
    *,
    seconds: float,
    store: Store,
    options: Options,
) -> Event:
    """Write the record of a worker that cannot do so itself, unless it just did.

    The record has every finished round. A checkpoint stays, for `--retry` goes on from there: what ended the run was
    not the method. An earlier record with rounds stays, too, where a new attempt ended before it had any.

    Args:
        cell: what was run.
        status: how it ended.
        reason: why.
        heard: what the worker has sent.
        seconds: how long it ran.
        store: where the record goes.
        options: how the cell was run.
    """
    rows = [json.loads(row) for row in heard.rows]
    outcome = Outcome(
        status=status,
        reason=reason,
        facts=heard.facts,
        provenance=heard.provenance or {**software(), **machine()},
        clocks={
            "started": None,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            # Rounds before an interruption count, those of a run that never was interrupted are part of its seconds.
            "seconds_total": max(seconds, sum(seconds_of(values) for values, _ in rows)),
        },
        rounds=[values for values, _ in rows],
        clients=[client for _, clients in rows for client in clients],
    )
    try:
        with store.claim(cell) as claim:
            ending = finished(cell, store, retry=options.retry)
            if ending is None:
                earlier = store.find(cell)
                if earlier is not None and len(earlier.rounds) > len(rows):
                    ending = Ending(earlier.status, earlier.reason, earlier.folder)
                else:
                    ending = Ending(status, reason, store.write(cell, outcome, replace=options.retry, claim=claim))
    except Held as error:
        return Event("skipped", cell, reason=str(error))
    return Event("ended", cell, ending=ending, seconds=seconds)


def death(exitcode: int | None) -> str:
    """Why a worker that is gone is gone, in a line."""
    if exitcode is not None and exitcode < 0:
        known = -exitcode in {number.value for number in signal.Signals}
        name = signal.Signals(-exitcode).name if known else f"signal {-exitcode}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker process was killed by {name}{hint}"
    return f"the worker process ended with exit code {exitcode}"


def was_asked_to_end(exitcode: int | None) -> bool:
    """Whether somebody asked the worker to end, which says nothing against its cell."""
    return exitcode == TOLD or exitcode in [-getattr(signal, name) for name in ASKING if hasattr(signal, name)]
