"""A tuning as far as its records go (benchmarks room): what has to run next, or the ledger; a pure function of both.

Every method is searched by itself: trials are drawn a few at a time, go through the data sets one after the other, and
are stopped by the median rule. So a tuning that was killed proposes the same trials again and finds them recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, DataError

from .judging import best_so_far, choose, edges, hopeless
from .ledger import FORMAT, Ledger, Search, Trial, Tuning, Widening
from .sampling import Tried, check_sampler, propose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fl_bench.spaces import Space

    from ..grid.cell import Cell
    from ..records.record import Record
    from ..records.store import Store
    from .asked import Asked, Place, Tuned

OPTIMUM = 3
"""Trials from which on the best one counts as an optimum, at whose edge a space is widened."""

AGAIN = ("failed", "timeout")
"""How runs end that `--retry` gives another try: by an accident that need not happen again."""


class Study:
    """A tuning that goes on.

    Args:
        asked: the grid and the budget.
        store: where records of its runs are.
        retry: whether runs that failed or took too long are run again, once.
    Raises:
        ConfigError: the sampler's package is not installed.
    """

    def __init__(self, asked: Asked, store: Store, *, retry: bool = False) -> None:
        check_sampler(asked.budget.sampler)
        self.asked = asked
        self._store = store
        self._retry = retry
        self._handed_out: set[str] = set()
        self._drawn: dict[tuple[int, str, int], list[dict[str, Any]]] = {}
        self._used: dict[str, Record] = {}

    @property
    def recorded(self) -> int:
        """Runs of it that have a record, as far as `waiting` has looked."""
        return len(self._used)

    def waiting(self) -> list[Cell]:
        """The runs that have to be done before anything else can be said; none when the tuning is complete.

        Raises:
            ConfigError: the grid cannot be run as it stands: every method's first trial failed.
        """
        self._store.look_again()
        walks = list(self._walks())
        found = {cell.key: cell for walk in walks if isinstance(cells := walk.go(self._look), list) for cell in cells}
        _check_first(walks)
        self._handed_out |= found.keys()
        return list(found.values())

    def ledger(self) -> Ledger:
        """The ledger of a complete tuning, the same for the same records.

        Raises:
            DataError: runs are missing.
        """
        asked, budget = self.asked, self.asked.budget
        tunings: dict[int, list[Search]] = {turn: [] for turn in range(budget.repeat)}
        for walk in self._walks():
            search = walk.go(self._look)
            if isinstance(search, list):
                missing = f"{len(search)} runs of {walk.method.entry.label}"
                raise DataError(f"the tuning is not complete: {missing} are missing")
            tunings[walk.turn].append(search)
        records = self._used.values()
        clocks = [record.run["clocks"] for record in records]
        return Ledger(
            format=FORMAT,
            grid=asked.reference,
            per=budget.per,
            sampler=budget.sampler,
            trials=budget.trials,
            final_seeds=asked.final_seeds,
            tunings=tuple(Tuning(budget.all_seeds[turn], tuple(found)) for turn, found in tunings.items()),
            began=min(str(clock["started"]) for clock in clocks),
            finished=max(str(clock["finished"]) for clock in clocks),
            software=tuple(sorted({_software(record) for record in records})),
            unsupported=asked.unsupported,
        )

    def _walks(self) -> Iterator[_Walk]:
        """One for each choice that is to be made."""
        for turn in range(self.asked.budget.repeat):
            for method in self.asked.methods:
                places = self.asked.places
                parts = (
                    [[place for place in places if place.dataset == dataset] for dataset in self.asked.file.datasets]
                    if self.asked.budget.per == "dataset"
                    else [places]
                )
                for part in parts:
                    yield _Walk(self.asked, method, part, turn, self._drawn)

    def _look(self, cell: Cell) -> Record | None:
        """The record of a run; None where it has to run, for the first time or again."""
        record = self._store.find(cell)
        if record is not None and self._retry and record.status in AGAIN and cell.key not in self._handed_out:
            return None
        if record is not None:
            self._used[cell.key] = record
        return record


@dataclass
class _Going:
    """A trial on its way through the data sets."""

    number: int
    settings: dict[str, Any]
    accuracy: dict[str, dict[str, float]] = field(default_factory=dict)
    status: str = "done"
    reason: str = ""
    seconds: float = 0.0
    steps: int = 0
    bytes: int = 0

    @property
    def means(self) -> list[float]:
        """Percent on each data set that it finished."""
        return [fmean(by_seed.values()) for by_seed in self.accuracy.values()]

    def take(self, place: str, records: Mapping[str, Record]) -> None:
        """Add the runs on a data set, by seed."""
        for record in records.values():
            self.seconds += record.seconds
            self.steps += round(_total(record, "steps_"))
            self.bytes += round(_total(record, "bytes_up", exact=True) + _total(record, "bytes_down", exact=True))
        bad = next((record for record in records.values() if record.status != "done"), None)
        if bad is None:
            self.accuracy[place] = {seed: _validation(record) for seed, record in records.items()}
        else:
            self.status, self.reason = "failed", f"{place}: {bad.status}{f', {bad.reason}' if bad.reason else ''}"


@dataclass
class _Walk:
    """The search for the settings of one method."""

    asked: Asked
    method: Tuned
    places: Sequence[Place]
    turn: int
    """Which tuning it belongs to, from 0."""
    drawn: dict[tuple[int, str, int], list[dict[str, Any]]]
    """What was drawn already, by tuning, search and first number: it never changes."""
    first: _Going | None = None
    """The method's entry in the grid, where it has been through all data sets or failed on one."""

    @property
    def searched(self) -> tuple[int, str]:
        """The tuning, and the data sets that are searched together: what walks of different methods have in common."""
        return self.turn, ", ".join(map(str, self.places))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs."""
        return self.asked.budget.all_seeds[self.turn]

    def go(self, look: Callable[[Cell], Record | None]) -> list[Cell] | Search:
        """Follow the search as far as there are records: the runs that come next, or the whole search."""
        spaces, trials, widened = dict(self.method.spaces), list[_Going](), list[Widening]()
        exhausted = False
        for batch in self.asked.budget.batches():
            if batch.start >= OPTIMUM:
                widened += self._widen(spaces, choose(trials), batch.start)
            going = [
                _Going(number, settings)
                for number, settings in zip(batch, self._draw(batch, spaces, trials), strict=False)
            ]
            exhausted = exhausted or len(going) < len(batch)
            waiting = self._run(going, trials, look)
            if self.first is None and (not waiting or going[0].status == "failed"):
                self.first = going[0]
            if waiting:
                return waiting
            trials += going
            if exhausted:
                break
        chosen = choose(trials)
        return Search(
            method=self.method.entry.label,
            name=self.method.entry.name,
            places=tuple(map(str, self.places)),
            fixed=dict(self.method.fixed),
            space={name: str(space) for name, space in self.method.spaces.items()},
            trials=tuple(_entry(trial) for trial in trials),
            chosen=chosen.number,
            curve=best_so_far(trials),
            edges=edges(chosen.settings, spaces),
            widened=tuple(widened),
            exhausted=exhausted,
        )

    def _run(
        self, going: Sequence[_Going], before: Sequence[_Going], look: Callable[[Cell], Record | None]
    ) -> list[Cell]:
        """Take trials through the data sets; the runs that are missing on the first where some are."""
        for place in self.places:
            alive = [trial for trial in going if trial.status == "done"]
            runs = {
                trial.number: {
                    str(cell.seed): cell for cell in self.method.cells(trial.settings, place, self.seeds, trial.number)
                }
                for trial in alive
            }
            records = {number: {seed: look(cell) for seed, cell in cells.items()} for number, cells in runs.items()}
            waiting = [
                runs[number][seed] for number, found in records.items() for seed, record in found.items() if not record
            ]
            if waiting:
                return waiting
            for trial in alive:
                trial.take(str(place), {seed: record for seed, record in records[trial.number].items() if record})
            self._stop(alive, before)
        return []

    def _stop(self, alive: Sequence[_Going], before: Sequence[_Going]) -> None:
        """Stop what the median rule gives no hope after a data set that is not the last."""
        known = [*before, *alive]
        for trial in alive:
            earlier = [other.means for other in known if other.number < trial.number]
            if trial.status == "done" and len(trial.accuracy) < len(self.places):
                middle = hopeless(trial.means, earlier)
                if middle is not None:
                    trial.status = "stopped"
                    trial.reason = f"{fmean(trial.means):.2f} % so far, below the median {middle:.2f} %"

    def _draw(self, batch: range, spaces: Mapping[str, Space], trials: Sequence[_Going]) -> list[dict[str, Any]]:
        """The settings of the next trials; fewer where there are no more."""
        budget, entry = self.asked.budget, self.method.entry
        name = entry.label if len(self.places) == len(self.asked.places) else f"{entry.label} {self.places[0].name}"
        at = (self.turn, name, batch.start)
        if at not in self.drawn:
            tried = _gains(trials)
            found: list[dict[str, Any]] = [] if batch.start else [dict(self.method.default)]
            while len(found) < len(batch):
                settings = propose(
                    (self.seeds[0], name, batch.start + len(found)),
                    spaces,
                    self.method.default,
                    self.method.steps,
                    taken=[*(trial.settings for trial in trials), *found],
                    tried=tried,
                    sampler=budget.sampler,
                )
                if settings is None:
                    break
                found.append(settings)
            self.drawn[at] = found
        return self.drawn[at]

    def _widen(self, spaces: dict[str, Space], best: _Going, before: int) -> list[Widening]:
        """Make the spaces larger at whose edge the best trial lies."""
        found = []
        for name, side in edges(best.settings, spaces).items():
            spaces[name] = spaces[name].widened(side)
            found.append(Widening(before, name, side, str(spaces[name])))
        return found


def _check_first(walks: Sequence[_Walk]) -> None:
    """Stop where no method's entry in the grid can be run: other settings would not help, and nothing could be chosen.

    Raises:
        ConfigError: names the first reason.
    """
    for _, together in groupby(sorted(walks, key=lambda walk: walk.searched), key=lambda walk: walk.searched):
        firsts = [(walk.method.entry.label, walk.first) for walk in together]
        if all(first is not None and first.status == "failed" for _, first in firsts):
            label, first = firsts[0]
            assert first is not None  # every one is there
            raise ConfigError(
                f"nothing can be tuned: the first trial of every method, its entry in the grid, failed; {label} on "
                f"{first.reason}"
            )


def _entry(trial: _Going) -> Trial:
    return Trial(
        number=trial.number,
        settings=trial.settings,
        status=trial.status,  # type: ignore[arg-type]  # one of the three that `_Going` is given
        accuracy=trial.accuracy,
        seconds=round(trial.seconds, 3),
        steps=trial.steps,
        bytes=trial.bytes,
        reason=trial.reason,
    )


def _gains(trials: Sequence[_Going]) -> list[Tried]:
    """What trials gained over the first, on the data sets that both finished."""
    first = trials[0].means if trials else []
    return [
        Tried(trial.settings, fmean(own - usual for own, usual in zip(trial.means, first, strict=False)))
        for trial in trials
        if trial.means and first
    ]


def _validation(record: Record) -> float:
    value = record.rounds[-1].get("val_acc_mean")
    if not isinstance(value, int | float):
        raise DataError(
            f"{record.folder} has no validation accuracy, which settings are chosen by: no client of it has validation "
            "samples; a larger partition.val_fraction would do"
        )
    return float(value)


def _total(record: Record, column: str, *, exact: bool = False) -> float:
    """The sum of a column over rounds, or of all whose names begin so."""
    return sum(
        float(value)
        for row in record.rounds
        for name, value in row.items()
        if (name == column if exact else name.startswith(column)) and isinstance(value, int | float)
    )


def _software(record: Record) -> str:
    about = record.run.get("provenance", {})
    revision = str(about.get("revision") or "")[:12]
    changed = "with changes" if about.get("dirty") else ""
    return " ".join(filter(None, [f"fl-bench {about.get('fl_bench', '?')}", revision, changed]))
