"""In which order cells run, and how long they will take (benchmarks room): longest first, learned from what has run.

How long a cell takes is told by its own method in the same setting: in this grid, or else in earlier records of the
folder, corrected by how this grid's runs compare with those. A method that has not run yet is told by the others in its
setting, in the ratio of the passes through nets that are planned. No number of a run depends on any of it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from operator import mul
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from fl_bench.errors import DataError

from ..grid.cell import safe_name, short_hash
from .forecast import forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..grid.cell import Cell
    from ..records.record import Record
    from ..records.store import Store
    from .executor import Event

RoundSeconds: TypeAlias = "Mapping[str, Sequence[float]]"
"""Seconds per round of finished runs, by the `likeness` of their cells."""

BURST = 0.005
"""Seconds between two rounds below which these come from a checkpoint, whose rounds are told all at once."""

SAMPLE = 5
"""Records of a method and data set that are read to learn how long it takes."""


def likeness(cell: Mapping[str, Any]) -> str:
    """What runs share whose rounds take equally long: all of a resolved cell but seeds, protocol and rounds."""
    training = {name: value for name, value in cell["training"].items() if name != "rounds"}
    apart = {name: value for name, value in cell.items() if name not in ("seed", "varied", "protocol")}
    return short_hash({**apart, "training": training}, 16)


def round_seconds(records: Iterable[Record]) -> dict[str, list[float]]:
    """Seconds per round of those records that are `done`."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.status == "done":
            found.setdefault(likeness(record.cell), []).append(record.seconds / record.cell["training"]["rounds"])
    return found


def earlier_runs(store: Store, cells: Sequence[Cell]) -> list[Record]:
    """A few records of each method on the data sets of the cells; one that cannot be read teaches nothing."""
    datasets = {safe_name(cell.dataset.name) for cell in cells}
    chosen: dict[tuple[str, str], list[str]] = {}
    for name in store.names() if cells else ():
        dataset, _, folder = name.partition("/")
        if dataset in datasets:
            chosen.setdefault((dataset, folder.rsplit("-", 2)[0]), []).append(name)
    records = []
    for names in chosen.values():
        for name in names[-SAMPLE:]:
            with suppress(DataError):
                records.append(store.read(name))
    return records


@dataclass
class _Group:
    """Cells that take equally long: those that differ in their seeds alone."""

    setting: str
    """Data set, partition, nets and training: how long a pass takes is a matter of them."""
    rounds: int
    passes: float | None
    """Passes through nets that one of its cells is planned to take; None where that is not known."""
    recorded: float | None
    """Seconds of one of its cells by earlier records."""
    waiting: int = 0
    measured: list[float] = field(default_factory=list)
    """Seconds of those that are done in this grid."""


@dataclass
class _Running:
    """A cell that runs, and the moments by which its end is told."""

    group: _Group
    began: float
    rounds: int = 0
    """Rounds that it has behind it."""
    last: float = 0.0
    """When the last of them ended."""
    skipped: int = 0
    """Those that say nothing of the others: of a checkpoint, and the first, in which most methods do less."""
    since: float = 0.0
    """When the last of these ended."""

    def take(self, rounds: int, now: float) -> None:
        """A round has ended."""
        if not self.rounds or now - self.last < BURST:
            self.skipped, self.since = rounds, now
        self.rounds, self.last = rounds, now

    def projected(self) -> float | None:
        """Seconds that it will have taken in the end, by its rounds so far; None before they tell."""
        if self.rounds == self.skipped:
            return None
        each = (self.last - self.since) / (self.rounds - self.skipped)
        return self.since - self.began + each * (self.group.rounds - self.skipped)


class Schedule:
    """The order of cells, and the time that is left, as events tell how long they take.

    Args:
        cells: what will run.
        known: seconds per round of earlier runs.
        clock: seconds that pass.
    """

    def __init__(
        self, cells: Sequence[Cell], known: RoundSeconds, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._of: dict[str, _Group] = {}
        self._running: dict[str, _Running] = {}
        self._parallel = 1
        for cell in cells:
            group = self._group(cell, known)
            group.waiting += 1
            self._of[cell.key] = group
        self.cells = self._ordered(cells)
        """The cells, those first that are expected to take longest, but for the first of each setting."""

    def take(self, event: Event) -> None:
        """Learn from what happened to a cell."""
        key, now = event.cell.key, self._clock()
        running = self._running.get(key)
        if event.kind == "started":
            self._of[key].waiting -= 1
            self._running[key] = _Running(self._of[key], now)
            self._parallel = max(self._parallel, len(self._running))
        elif event.kind == "round" and running is not None:
            running.take(event.round + 1, now)
        elif event.kind in ("ended", "skipped") and running is None:  # elsewhere, or before it began
            self._of[key].waiting -= 1
        elif event.kind in ("ended", "skipped") and running is not None:
            del self._running[key]
            if event.ending is not None and event.ending.status == "done" and running.skipped <= 1:
                running.group.measured.append(now - running.began)

    def left(self) -> float | None:
        """Seconds until all cells have run, as far as can be told; None where nothing tells."""
        known = self._known()
        if not known:
            return None
        now, expected = self._clock(), self._expected(known)
        rest = []
        for running in self._running.values():
            projected = running.projected() or expected[id(running.group)]
            rest.append(max(0.0, projected - (now - running.began)))
        waiting = [group for group in self._groups.values() if group.waiting]
        total = sum(rest) + sum(group.waiting * expected[id(group)] for group in waiting)
        return max([total / self._parallel, *(expected[id(group)] for group in waiting), *rest])

    def _ordered(self, cells: Sequence[Cell]) -> list[Cell]:
        """Longest first; before them, where nothing is known of a setting, one of its shortest, which tells much."""
        known = self._known()
        expected = self._expected(known)
        ordered = sorted(cells, key=lambda cell: -expected[id(self._of[cell.key])])
        told = {group.setting for group in self._groups.values() if id(group) in known}
        shortest = {self._of[cell.key].setting: cell for cell in ordered}
        first = [cell for setting, cell in shortest.items() if setting not in told] if len(self._groups) > 1 else []
        keys = {cell.key for cell in first}
        return [*first, *(cell for cell in ordered if cell.key not in keys)]

    def _group(self, cell: Cell, known: RoundSeconds) -> _Group:
        """The group of a cell; what it is told by is looked up once."""
        setting = repr((cell.dataset, cell.foreign, cell.scheme, cell.split, cell.models, cell.training))
        name = repr((setting, cell.method, cell.config, cell.codec))
        if name not in self._groups:
            rounds, seconds = cell.training.rounds, known.get(likeness(cell.as_dict()))
            self._groups[name] = _Group(
                setting, rounds, _passes(cell), None if seconds is None else fmean(seconds) * rounds
            )
        return self._groups[name]

    def _known(self) -> dict[int, float]:
        """Seconds of one cell of each group that tells of itself, by the group's `id`."""
        seen: dict[int, list[float]] = {id(group): list(group.measured) for group in self._groups.values()}
        for running in self._running.values():
            projected = running.projected()
            if projected is not None and not running.group.measured:
                seen[id(running.group)].append(projected)
        known = {key: fmean(seconds) for key, seconds in seen.items() if seconds}
        both = [group for group in self._groups.values() if id(group) in known and group.recorded]
        recorded = sum(group.recorded or 0.0 for group in both)
        pace = sum(known[id(group)] for group in both) / recorded if recorded else 1.0
        for group in self._groups.values():
            if group.recorded is not None:
                known.setdefault(id(group), group.recorded * pace)
        return known

    def _expected(self, known: Mapping[int, float]) -> dict[int, float]:
        """Seconds of one cell of each group, by the group's `id`; passes where no group tells."""
        points: dict[str | None, list[tuple[float, float, float]]] = {}
        for group in self._groups.values():
            if id(group) in known and group.passes:
                for setting in (group.setting, None):  # None: all settings together
                    points.setdefault(setting, []).append((group.rounds, group.passes, known[id(group)]))
        lines = {setting: fitted(found) for setting, found in points.items()}
        expected = dict(known)
        for group in self._groups.values():
            if group.passes is not None:
                each, every = lines.get(group.setting, lines.get(None, (0.0, 1.0)))
                expected.setdefault(id(group), each * group.rounds + every * group.passes)
        usual = fmean(expected.values()) if expected else 1.0
        return {id(group): expected.get(id(group), usual) for group in self._groups.values()}


def fitted(points: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """What a round takes beside training (scoring, messages) and what a pass takes, neither below 0.

    Args:
        points: rounds, passes and seconds of what has run; all are above 0.
    Returns:
        Seconds per round and seconds per pass with the least squares of relative errors; half and half where all
        points say the same.
    """
    rounds, passes = ([point[place] / point[2] for point in points] for place in (0, 1))
    rr, pp, rp = (sum(map(mul, *pair)) for pair in ((rounds, rounds), (passes, passes), (rounds, passes)))
    r, p, determinant = sum(rounds), sum(passes), rr * pp - rp * rp
    if determinant < 1e-9 * rr * pp:
        return r / rr / 2, p / pp / 2
    each, every = (r * pp - p * rp) / determinant, (p * rr - r * rp) / determinant
    if each < 0:
        return 0.0, p / pp
    return (r / rr, 0.0) if every < 0 else (each, every)


def _passes(cell: Cell) -> float | None:
    """Passes through nets that a cell is planned to take."""
    with suppress(Exception):  # a plan may be anybody's code, and an estimate is worth no grid
        planned = forecast(cell)
        return None if planned is None else sum(work.passes for work in planned.work.values()) or None
    return None
