"""Records told to a tracker (benchmarks room): every run from its start to its end, at the times it had."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ..records.rows import seconds_of
from .frames import round_rows
from .trackers import Tracked, configured, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..records.record import Record
    from ..records.rows import Value
    from .trackers import Tracker


def write_runs(records: Sequence[Record], name: str, out: Path) -> Path:
    """Write records into a new folder as runs of a tracker.

    Args:
        records: what to write; those that are not done, too, with the rounds that they finished.
        name: the tracker.
        out: the folder, empty or to be made: the same run twice would be two runs there.
    Returns:
        The folder.

    Raises:
        ConfigError: there is no such tracker, its package is missing, or the folder has something in it.
        DataError: a record cannot be read.
    """
    tracker = configured(name, {"folder": str(out)})
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty, and runs are not added twice; name a new folder with --out")
    tracker.ready()
    for record in records:
        replay(record, tracker)
        record.let_go()
    return out


def replay(record: Record, tracker: Tracker) -> None:
    """Tell a tracker of one run."""
    when = began = datetime.fromisoformat(str(record.run["clocks"]["started"])).timestamp()
    run = Tracked(record.name, str(record.cell["dataset"]), parameters(record.cell, record.label), began)
    following = tracker.start(run)
    for row, told in zip(record.rounds, round_rows(record), strict=True):
        when += seconds_of(row)
        following.metrics(int(row["round"] or 0), numbers(told), when)
    with suppress(ValueError):  # a run that was never finished has no such clock
        when = max(when, datetime.fromisoformat(str(record.run["clocks"].get("finished"))).timestamp())
    following.end(record.status, when)


def numbers(row: Mapping[str, Value]) -> dict[str, float]:
    """The numbers of a round, without its own."""
    return {name: float(value) for name, value in row.items() if name != "round" and isinstance(value, int | float)}
