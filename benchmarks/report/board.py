"""The leaderboard, as the page shows it (benchmarks room, report): text for the eye, numbers to sort by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..leaderboard.own_rate import OWN_RATE, OWN_STEPS
from ..leaderboard.pairing import comparisons
from ..tables.values import show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..leaderboard.lines import Line
    from ..records.checks import Status
    from ..records.record import Record

BAD: tuple[Status, ...] = ("diverged", "failed", "timeout", "unsupported")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what stands there, and what it is sorted by."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Entry:
    """One line."""

    dataset: str
    setting: str
    setting_name: str
    method: str
    view: str
    deployed: bool
    category: str
    place: int | None
    """Among the methods' own numbers of its data set and setting, 1 is best."""
    accuracy: float | None
    accuracy_text: str
    interval: str
    """95 %, of the mean over seeds; nothing from one seed."""
    numbers: tuple[Cell, ...]
    """By `COLUMNS`."""
    runs: str
    badges: tuple[str, ...]
    note: str


COLUMNS = (
    ("val", "Mean validation accuracy, percent, of the method's own view: what settings may be chosen by."),
    ("vs local", "Mean difference to Local-only, points, paired by seed. What does not beat it has shown nothing."),
    ("worst 10 %", "Mean accuracy of the worst tenth of the clients."),
    ("up", "Bytes that a client sends per round."),
    ("down", "Bytes that a client receives per round."),
    ("time", "Wall seconds of a run, from when libraries and data are loaded."),
    ("optimism", "What choosing the round by test accuracy would have added, points. Nothing is chosen by it."),
)
"""The numbers beside the accuracy, with what they mean."""


def entries(records: Sequence[Record], scored: Sequence[Line]) -> list[Entry]:
    """All lines, by data set and setting; in each the methods by accuracy, best first, their other views behind them.

    Args:
        records: what tells the category of a method.
        scored: the lines of their leaderboard.
    """
    categories = {
        (dataset, setting, method): next((str(run.facts["category"]) for run in runs if "category" in run.facts), "")
        for (dataset, setting), methods in comparisons(records).items()
        for method, runs in methods.items()
    }
    blocks: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in scored:
        blocks[line.dataset, line.setting].append(line)
    found = []
    for block in blocks.values():
        own = {line.method: line.acc_mean for line in block if line.deployed}
        numbers = [value for value in own.values() if value is not None]
        for line in sorted(block, key=lambda line: (-(own.get(line.method) or 0), line.method, not line.deployed)):
            accuracy = own.get(line.method)
            place = None if accuracy is None or not line.deployed else 1 + sum(other > accuracy for other in numbers)
            category = categories[line.dataset, line.setting, line.method]
            found.append(_entry(line, category, place))
    return found


def _entry(line: Line, category: str, place: int | None) -> Entry:
    spread = "" if line.acc_std is None else f" ± {line.acc_std:.2f}"
    return Entry(
        dataset=line.dataset,
        setting=line.setting,
        setting_name=line.setting_name,
        method=line.method,
        view=line.view,
        deployed=line.deployed,
        category=category or "none",
        place=place,
        accuracy=line.acc_mean,
        accuracy_text="no number" if line.acc_mean is None else f"{line.acc_mean:.2f}{spread}",
        interval=_interval(line),
        numbers=(
            Cell("" if line.val is None else f"{line.val:.2f}", line.val),
            _signed(line.gap_to_local),
            Cell("" if line.acc_worst_decile is None else f"{line.acc_worst_decile:.2f}", line.acc_worst_decile),
            Cell(show_bytes(line.bytes_up), line.bytes_up),
            Cell(show_bytes(line.bytes_down), line.bytes_down),
            Cell(show_seconds(line.seconds), line.seconds),
            _signed(line.optimism),
        ),
        runs=_runs(line),
        badges=(*(badge for badge in line.badges.split("; ") if badge), *_own_training(line)),
        note=line.note,
    )


def _own_training(line: Line) -> list[str]:
    rules = line.trained_with
    told = {} if rules is None else {OWN_RATE: rules.own, OWN_STEPS: rules.own_steps}
    return [f"{badge}: {words}" for badge, words in told.items() if words]


def _signed(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:+.2f}", value)


def _interval(line: Line) -> str:
    """Cut at 0 and 100: no accuracy is beyond."""
    if line.acc_ci95_low is None or line.acc_ci95_high is None:
        return ""
    return f"{line.acc_ci95_low:.1f} to {line.acc_ci95_high:.1f}"


def _runs(line: Line) -> str:
    parts = [f"{line.done} done", *(f"{getattr(line, name)} {name}" for name in BAD if getattr(line, name))]
    return ", ".join([*parts, *([f"no seed {line.seeds_missing}"] if line.seeds_missing else [])])
