"""What is asked of a tuning (benchmarks room): a grid, its methods with what is tuned of each, seeds, a budget."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.limits import CELLS
from fl_bench.spaces import Choices, Integers, spaces_of

from ...federation.settings import LOCAL, Training
from ...methods.registry import METHODS
from ..grid.cell import DatasetChoice
from ..grid.choices import parse_method
from ..grid.configure import known_keys
from ..grid.grid import expand, why_unsupported
from ..grid.seeds import parse_seeds, vary_seeds
from ..running.forecast import forecast
from .ledger import GridReference, seeds_in_words, sha256
from .written import TRAINING, as_asked, entry_of, with_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fl_bench.spaces import Space

    from ..grid.cell import Cell
    from ..grid.choices import MethodChoice
    from ..grid.grid import GridFile, Overrides
    from .sampling import Sampler


@dataclass(frozen=True)
class Budget:
    """How much is tried for every method."""

    trials: int = 8
    """Settings of each method, its entry in the grid among them."""
    seeds: tuple[int, ...] = (100, 101)
    """Seeds of the runs of a trial."""
    per: Literal["grid", "dataset"] = "grid"
    """Whether a method gets one choice, or one for each data set."""
    sampler: Sampler = "random"
    repeat: int = 1
    """Tunings, each with seeds of its own; the first one chooses."""

    def __post_init__(self) -> None:
        if self.trials < 2:
            raise ConfigError(f"--trials must be at least 2, the grid's entry and one more, got {self.trials}")
        if self.repeat < 1:
            raise ConfigError(f"--repeat must be at least 1, got {self.repeat}")

    @property
    def all_seeds(self) -> list[tuple[int, ...]]:
        """The seeds of each tuning: those that were asked for, then as many above them for each repeat."""
        width = max(self.seeds) - min(self.seeds) + 1
        return [tuple(seed + width * turn for seed in self.seeds) for turn in range(self.repeat)]

    def batches(self) -> list[range]:
        """The numbers of trials that are drawn together: a quarter of the budget, or one.

        What is drawn together may run at the same time, and does not know of one another.
        """
        size = max(1, self.trials // 4)
        return [range(first, min(first + size, self.trials)) for first in range(0, self.trials, size)]


@dataclass(frozen=True)
class Place:
    """A data set, in one of the grid's settings."""

    dataset: str
    """As the grid has it, which may be a path."""
    name: str
    """As records have it."""
    setting: str

    def __str__(self) -> str:
        return f"{self.name} [{self.setting}]" if self.setting else self.name


class Asked:
    """A grid and a budget, checked.

    Args:
        file: the grid as written.
        origin: its file name, for messages.
        overrides: what the command line changes of it.
        budget: how much is tried.
        spaces: of settings of local training, by name, beside those that are tuned anyway; alike for every method.
    Raises:
        ConfigError: the grid is none; it has no validation data; a tuning seed is one of its own.
    """

    def __init__(
        self,
        file: GridFile,
        origin: str,
        overrides: Overrides,
        budget: Budget,
        spaces: Mapping[str, Space] | None = None,
    ) -> None:
        self.file = as_asked(file, origin, overrides)
        self.origin = origin
        expand(self.file, origin)  # what is wrong with the grid is said before anything runs
        self.budget = budget
        known_keys(dict(spaces or {}), list(LOCAL), "--space")
        self.spaces = {**spaces_of(Training), **(spaces or {})}
        """Of local training, the same for every method."""
        self.final_seeds = _final_seeds(self.file)
        _refuse_shared(budget, self.final_seeds)
        if self.file.per_dataset:
            raise ConfigError(
                f"{origin} has settings for single data sets (per_dataset), which a tuning chooses anew; remove them"
            )
        self.places = [
            Place(dataset, DatasetChoice.of(dataset).name, setting)
            for dataset in self.file.datasets
            for setting in (self.file.settings or {"": {}})
        ]
        for name, count in Counter(map(str, self.places)).items():
            if count > 1:
                raise ConfigError(f"{origin}: two data sets are called {name} in records; give one file another name")
        entries = [parse_method(entry, "methods") for entry in self.file.methods]
        self.unsupported: dict[str, str] = {}
        """Methods that cannot run in this grid, and why."""
        self.methods: list[Tuned] = []
        """The methods that are tuned."""
        for entry in entries:
            tuned = Tuned(self, entry)
            if tuned.unsupported:
                self.unsupported[entry.label] = tuned.unsupported
            else:
                self.methods.append(tuned)
        if not self.methods:
            reasons = "; ".join(f"{label}: {reason}" for label, reason in self.unsupported.items())
            raise ConfigError(f"{origin}: no method of this grid can run in it ({reasons}); name others with --methods")
        if self.most_runs > CELLS:
            raise ConfigError(
                f"a tuning may have {CELLS} runs, this one has up to {self.most_runs}; fewer --trials, --seeds, "
                "--methods or --datasets would do"
            )

    @property
    def most_runs(self) -> int:
        """Runs where no trial is stopped."""
        budget = self.budget
        return len(self.methods) * len(self.places) * budget.trials * len(budget.seeds) * budget.repeat

    @cached_property
    def reference(self) -> GridReference:
        """Which grid it is."""
        written = {key: value for key, value in asdict(self.file).items() if key != "question"}  # it changes no run
        text = json.dumps(written, sort_keys=True, default=str)
        cells = [cell for place in self.places for cell in self.methods[0].cells({}, place, self.budget.seeds[:1], 0)]
        return GridReference(self.file.name, sha256(text), tuple(sorted({cell.training.rounds for cell in cells})))


class Tuned:
    """A method of a grid, and what is tuned of it: every setting that declares a space and that its entry names not.

    Args:
        asked: what it is part of.
        entry: its entry in the grid.
    """

    def __init__(self, asked: Asked, entry: MethodChoice) -> None:
        self.entry = entry
        self._asked = asked
        self._steps: dict[str, float | None] = {}
        self._cells: dict[tuple[str, Place, tuple[int, ...], int], list[Cell]] = {}
        own = spaces_of(METHODS[entry.name].config_type)
        self.spaces: dict[str, Space] = {
            **{name: space for name, space in own.items() if name not in entry.settings},
            **{TRAINING + name: space for name, space in asked.spaces.items() if name not in entry.training},
        }
        self.fixed = {
            **entry.settings,
            **{TRAINING + name: value for name, value in entry.training.items()},
        }
        first = self.cells({}, asked.places[0], asked.budget.seeds[:1], 0)[0]
        self.default = {name: _value(first, name) for name in self.spaces}
        """The values of its entry."""
        self.unsupported = next(
            (reason for place in asked.places if (reason := self._why_unsupported(place)) is not None), ""
        )
        if first.split.val_fraction <= 0:
            raise ConfigError(
                f"{asked.origin}: partition.val_fraction is 0, and settings are chosen on validation data alone; "
                "0.1 would do"
            )
        for name in asked.spaces.keys() - spaces_of(Training).keys():
            for value in _ends(asked.spaces[name]):  # one that cannot be is refused here, not skipped when it is drawn
                self.cells({TRAINING + name: value}, asked.places[0], asked.budget.seeds[:1], 1)
        self.capped = all(forecast(self._first(self.default, place)) is not None for place in asked.places)
        """Whether its steps are known before it runs, so that they can be held at the default's."""
        if not self.capped:  # then what counts steps stays as it is
            self.spaces = {
                name: space
                for name, space in self.spaces.items()
                if not isinstance(space, Integers) and name != TRAINING + "batch_size"
            }
            self.default = {name: self.default[name] for name in self.spaces}

    def cells(self, settings: Mapping[str, Any], place: Place, seeds: Sequence[int], number: int) -> list[Cell]:
        """The runs of a trial on one data set.

        Args:
            settings: the values of what is tuned; nothing for the grid's entry.
            place: the data set.
            seeds: a run for each.
            number: of the trial, for the label.
        Raises:
            ConfigError: values that do not go together.
        """
        key = (json.dumps(settings, sort_keys=True), place, tuple(seeds), number)
        if key not in self._cells:  # a tuning that goes on asks for them again and again
            self._cells[key] = self._expanded(settings, place, seeds, number)
        return self._cells[key]

    def _expanded(self, settings: Mapping[str, Any], place: Place, seeds: Sequence[int], number: int) -> list[Cell]:
        entry = with_values(self.entry, settings if number else {})
        file = replace(
            self._asked.file,
            datasets=(place.dataset,),
            methods=(entry_of(replace(entry, label=f"{entry.label}-trial-{number}")),),
            always=(),
            seeds=tuple(seeds),
            vary={},
            tuning="",
            per_dataset={},
            comparison={},
            settings={place.setting: self._asked.file.settings[place.setting]} if place.setting else {},
        )
        return list(expand(file, self._asked.origin).cells)

    def steps(self, settings: Mapping[str, Any]) -> float | None:
        """Training steps of a setting by the method's plan, over data sets of known size; None where it cannot run."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self._steps:
            self._steps[key] = self._planned(settings)
        return self._steps[key]

    def _planned(self, settings: Mapping[str, Any]) -> float | None:
        total = 0.0
        for place in self._asked.places:
            try:
                planned = forecast(self._first(settings, place))
            except ConfigError:
                return None
            total += 0 if planned is None else sum(work.steps for work in planned.work.values())
        return total

    def _first(self, settings: Mapping[str, Any], place: Place) -> Cell:
        """The run of a setting with the first tuning seed."""
        (cell,) = self.cells(settings, place, self._asked.budget.seeds[:1], 0 if settings == self.default else 1)
        return cell

    def _why_unsupported(self, place: Place) -> str | None:
        (cell,) = self.cells({}, place, self._asked.budget.seeds[:1], 0)
        return why_unsupported(cell)


def _ends(space: Space) -> tuple[Any, ...]:
    """The values of a space that show whether a setting takes what is in it: all choices, or both ends."""
    return space.values if isinstance(space, Choices) else (space.at(0.0), space.at(1.0))


def _value(cell: Cell, name: str) -> Any:
    """The value of a setting in a resolved cell."""
    if name.startswith(TRAINING):
        return getattr(cell.training, name.removeprefix(TRAINING))
    return getattr(cell.config, name)


def _final_seeds(file: GridFile) -> tuple[int, ...]:
    """Every seed that a run of the grid takes for all or a part of its randomness."""
    seeds = parse_seeds(file.seeds)
    levels = [level for repetition in vary_seeds(seeds, file.vary) for _, level in repetition.varied]
    return tuple(dict.fromkeys([*seeds, *levels]))


def _refuse_shared(budget: Budget, final: Sequence[int]) -> None:
    shared = sorted(set(final) & {seed for seeds in budget.all_seeds for seed in seeds})
    if shared:
        raise ConfigError(
            f"{seeds_in_words(shared)} would tune settings and judge them too: the grid has {seeds_in_words(final)} "
            f"for its own runs; give --seeds others, such as {max(final) + 100}-{max(final) + 101}"
        )
