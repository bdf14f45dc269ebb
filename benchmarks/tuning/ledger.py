"""The ledger of a tuning (benchmarks room): spaces, trials, what was chosen; frozen plain values, checked when read.

A tuned grid names the ledger beside it by its hash. `fl-bench run` copies it into the results folder as `tuning.json`
before the first run, and what compares methods states their budgets from there. Nothing in it is executed, and it is no
part of a record: grids share records.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, DataError
from fl_bench.limits import LEDGER_BYTES

from ..grid.configure import configure
from .judging import best_so_far, choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "tuning.json"
"""The ledger's name in a results folder."""

FORMAT = 1
"""Version of the ledger's layout; newer ones are refused."""


Value = str | int | float | bool | None
"""A value of a setting that is tuned."""


@dataclass(frozen=True)
class Trial:
    """One setting of a method, tried on data sets one after the other."""

    number: int
    """From 0, which is the method's entry in the grid."""
    settings: dict[str, Value]
    """Values of what is tuned, by name: `digest_lr`, `training.lr`."""
    status: Literal["done", "stopped", "failed"]
    """`stopped`: by the median rule. `failed`: some run of it is not `done`, so that it has no accuracy there."""
    accuracy: dict[str, dict[str, float]]
    """Validation accuracy in percent after the last round, by data set and seed, as far as the trial went."""
    seconds: float
    """Wall seconds of its runs, all together."""
    steps: int
    """Training steps of its runs."""
    bytes: int
    """Bytes that its runs sent, both ways."""
    reason: str = ""
    """Why it is not `done`."""

    @property
    def means(self) -> list[float]:
        """Validation accuracy of each data set that it finished, a mean over seeds, in order."""
        return [math.fsum(by_seed.values()) / len(by_seed) for by_seed in self.accuracy.values()]


@dataclass(frozen=True)
class Widening:
    """A space that was made larger because the best trial so far lay at its edge."""

    before: int
    """The first trial that was drawn from the larger space."""
    setting: str
    side: Literal["low", "high"]
    space: str
    """The larger space, in words."""


@dataclass(frozen=True)
class Search:
    """The trials of one method, on all data sets or on one."""

    method: str
    """Its label in the grid."""
    name: str
    """Its registered name."""
    places: tuple[str, ...]
    """The data sets, in the order in which trials go through them; `data set [setting]` where the grid has settings."""
    fixed: dict[str, Any]
    """What its entry in the grid names, which is not tuned, by name."""
    space: dict[str, str]
    """What is tuned, and over which space, in words."""
    trials: tuple[Trial, ...]
    chosen: int
    """Number of the trial with the best mean."""
    curve: tuple[float | None, ...]
    """Best mean so far, percent, after each trial; null before any is done."""
    edges: dict[str, Literal["low", "high"]] = field(default_factory=dict)
    """Settings of the chosen trial that lie at the edge of what was searched in the end."""
    widened: tuple[Widening, ...] = ()
    exhausted: bool = False
    """Whether there was nothing else left to try, so that there are fewer trials than the budget."""

    @property
    def choice(self) -> Trial:
        """The trial that was chosen."""
        return self.trials[self.chosen]


@dataclass(frozen=True)
class Tuning:
    """One choice for every method, with its own seeds."""

    seeds: tuple[int, ...]
    searches: tuple[Search, ...]


@dataclass(frozen=True)
class GridReference:
    """Which grid was tuned."""

    name: str
    sha256: str
    """Of the grid as it was asked for, with what the command line changed, as canonical JSON."""
    rounds: tuple[int, ...] = ()
    """Numbers of rounds of its trials, ascending; nothing in ledgers that did not keep them."""


@dataclass(frozen=True)
class Ledger:
    """A tuning, from its spaces to its choices."""

    format: int
    grid: GridReference
    per: Literal["grid", "dataset"]
    """Whether a method has one choice, or one for each data set."""
    sampler: Literal["random", "tpe"]
    trials: int
    """Trials that each method had, the budget."""
    final_seeds: tuple[int, ...]
    """Seeds of the grid that was tuned; no trial saw them."""
    tunings: tuple[Tuning, ...]
    """The first one chose. Others were made with other seeds, to see how much the choice varies."""
    began: str
    """When the first run of a trial started, ISO 8601."""
    finished: str
    """When the last one ended."""
    software: tuple[str, ...]
    """fl-bench's version and revision of the runs, each once."""
    unsupported: dict[str, str] = field(default_factory=dict)
    """Methods of the grid that cannot run in it, and why; they had no trials."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the tuning that chose."""
        return self.tunings[0].seeds

    def searches(self, method: str) -> list[Search]:
        """What chose the settings of a method, by its label; nothing where it was not tuned."""
        return [search for search in self.tunings[0].searches if search.method == method]

    def text(self) -> str:
        """The ledger as a file."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def sha256(text: str) -> str:
    """The hash by which a tuned grid names its ledger."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_ledger(path: Path) -> tuple[Ledger, str]:
    """A ledger from a file, checked, and the file's text.

    Raises:
        DataError: it is missing, too large, no ledger, or does not agree with itself.
    """
    text = _read(path)
    return parse_ledger(text, path), text


def parse_ledger(text: str, path: Path) -> Ledger:
    """A ledger from its text, checked.

    Args:
        text: the file's text.
        path: where it is from, for messages.
    Raises:
        DataError: it is no ledger, or does not agree with itself.
    """
    remedy = "restore it, or tune again (`fl-bench tune`)"
    try:
        values = json.loads(text)
        if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
            raise DataError(
                f"{path} has format {values['format']}, this fl-bench reads up to {FORMAT}; a newer fl-bench wrote it: "
                "update"
            )
        ledger = configure(Ledger, values, "", limits=False)
    except (ValueError, RecursionError, ConfigError) as error:
        raise DataError(f"{path} is no ledger of a tuning ({error}); {remedy}") from None
    wrong = next(_problems(ledger), None)
    if wrong is not None:
        raise DataError(f"{path} does not agree with itself: {wrong}; {remedy}")
    return ledger


def seeds_in_words(seeds: Sequence[int]) -> str:
    """`seed 100`, `seeds 100-101`, `seeds 3, 7`."""
    ordered = sorted(seeds)
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"seeds {ordered[0]}-{ordered[-1]}"
    return f"seeds {', '.join(map(str, ordered))}"


def _problems(ledger: Ledger) -> Iterator[str]:
    """What cannot be so in a ledger that was written by a tuning."""
    seen: set[int] = set(ledger.final_seeds)
    if ledger.format < 1:
        yield f"there is no format {ledger.format}"
    if not ledger.tunings:
        yield "it has no tuning"
    for tuning in ledger.tunings:
        if not tuning.seeds or seen & set(tuning.seeds):
            shared = ", ".join(map(str, sorted(seen & set(tuning.seeds)))) or "none"
            yield f"seeds of a tuning must be others than all that are used elsewhere, found {shared} again"
        seen |= set(tuning.seeds)
        places = [(search.method, place) for search in tuning.searches for place in search.places]
        if len(set(places)) < len(places):
            yield "a method was tuned twice on a data set"
        for search in tuning.searches:
            for problem in _search_problems(search, tuning.seeds, ledger.trials):
                yield f"{search.method}: {problem}"


def _search_problems(search: Search, seeds: Sequence[int], budget: int) -> Iterator[str]:
    trials, wanted = search.trials, [str(seed) for seed in seeds]
    if not search.places or len(set(search.places)) < len(search.places):
        yield "its data sets must be named, each once"
    if [trial.number for trial in trials] != list(range(len(trials))) or not trials:
        yield "its trials must be numbered from 0"
    if len(trials) > budget or (len(trials) < budget and not search.exhausted):
        yield f"it has {len(trials)} trials, and the budget is {budget}"
    for trial in trials:
        which = f"trial {trial.number}"
        if trial.settings.keys() != search.space.keys():
            yield f"{which} has other settings than its space"
        numbers = [value for by_seed in trial.accuracy.values() for value in by_seed.values()]
        if not all(0 <= value <= 100 for value in numbers):
            yield f"{which} has an accuracy that is no percentage"
        if list(trial.accuracy) != list(search.places[: len(trial.accuracy)]) or any(
            list(by_seed) != wanted for by_seed in trial.accuracy.values()
        ):
            yield f"{which} has accuracies of other data sets or seeds than it had"
        if trial.status == "done" and len(trial.accuracy) < len(search.places):
            yield f"{which} is done without all of its data sets"
        if not all(0 <= value < math.inf for value in (trial.seconds, trial.steps, trial.bytes)):
            yield f"{which} has costs that cannot be"
    if not 0 <= search.chosen < len(trials) or choose(trials).number != search.chosen:
        yield f"the trial with the best mean is not the chosen one, {search.chosen}"
    curve = best_so_far(trials)
    if len(curve) != len(search.curve) or any(_differ(*pair) for pair in zip(curve, search.curve, strict=True)):
        yield "the curve of the best mean so far is not that of its trials"


def _differ(one: float | None, other: float | None) -> bool:
    return one != other if one is None or other is None else abs(one - other) > 1e-9


def _read(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path} cannot be read: a ledger is an ordinary file")
        if found.st_size > LEDGER_BYTES:
            raise DataError(f"{path} has {found.st_size} bytes; a ledger has at most {LEDGER_BYTES}")
        with path.open("rb") as file:
            return file.read(LEDGER_BYTES).decode()
    except FileNotFoundError:
        raise DataError(f"there is no ledger {path}; it is written beside the grid by `fl-bench tune`") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no ledger of a tuning: it is no UTF-8 text") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from None
