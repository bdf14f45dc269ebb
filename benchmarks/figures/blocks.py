"""From records to what figures are drawn of (benchmarks room): plain numbers, seeds side by side, nothing selected.

A block is a dataset with a setting. Accuracies are those of the deployed view, in percent, mean over clients. Runs that
are not `done` have no accuracy and are left out; `Block.left_out` says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from ..grid.cell import trained
from ..grid.names import in_order
from ..leaderboard.naming import in_setting
from ..leaderboard.pairing import comparisons, names_of, setting_text
from ..leaderboard.reported import deployed_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid.repetition import Repetition
    from ..records.record import Record

CATEGORIES = ("bound", "averaging", "personalized", "clustered", "prototypes", "distillation")
"""In the order in which figures show them; unknown ones of plugins follow by name."""

COSTS = {"bytes": "bytes sent, all clients, both ways", "seconds": "seconds of training", "samples": "client samples"}
"""What accuracy is set against: name to words."""


@dataclass(frozen=True)
class Course:
    """One method over the rounds; shapes (seeds, rounds)."""

    label: str
    category: str
    is_reference: bool
    """Whether it is a bound that no federated method competes with: it trains on pooled private data."""
    seeds: tuple[Repetition, ...]
    accuracy: tuple[tuple[float, ...], ...]
    """Percent after each round."""
    costs: dict[str, tuple[tuple[float, ...], ...]]
    """By name of `COSTS`, added up from the first round on."""
    honest: tuple[float, ...] | None = None
    """Percent after the last round over the clients that are not poisoned, of each seed; None where nobody is."""

    @property
    def mean(self) -> list[float]:
        """Accuracy after each round, mean over seeds."""
        return [fmean(values) for values in zip(*self.accuracy, strict=True)]

    @property
    def lowest(self) -> list[float]:
        """Accuracy after each round of the worst seed."""
        return [min(values) for values in zip(*self.accuracy, strict=True)]

    @property
    def highest(self) -> list[float]:
        """Accuracy after each round of the best seed."""
        return [max(values) for values in zip(*self.accuracy, strict=True)]

    def cost(self, name: str) -> list[float]:
        """A cost up to each round, mean over seeds."""
        return [fmean(values) for values in zip(*self.costs[name], strict=True)]


@dataclass(frozen=True)
class Block:
    """Methods that may be compared."""

    dataset: str
    setting: str
    setting_text: str
    courses: tuple[Course, ...]
    """By category, then by name."""
    records: dict[str, tuple[Record, ...]]
    """The done runs of each course, by label, in the order of its seeds."""
    left_out: tuple[str, ...]
    """Runs without an accuracy, in words."""
    setting_name: str = ""
    """What tells it from the other settings of the data set; empty where there is one."""

    @property
    def label(self) -> str:
        """The data set, and which of its settings, as tables call it."""
        return in_setting(self.dataset, self.setting_name)


def read_blocks(records: Sequence[Record]) -> list[Block]:
    """All blocks of the records, sorted by data set and the name of the setting.

    Raises:
        DataError: a record cannot be read.
    """
    blocks = []
    found = comparisons(records)
    names = names_of(found)
    for (dataset, setting), methods in found.items():
        courses, done, left_out = [], {}, []
        for label, group in methods.items():
            left_out += [f"{label} seed {run.repetition} ({run.status})" for run in group if run.status != "done"]
            finished = sorted(
                (run for run in group if run.status == "done" and run.rounds), key=lambda run: run.repetition
            )
            if finished:
                done[label] = tuple(finished)
                courses.append(_course(label, finished))
        courses.sort(key=lambda course: (category_place(course.category), course.label))
        words = setting_text(next(iter(methods.values()))[0].cell)
        name = names[dataset, setting]
        blocks.append(Block(dataset, setting, words, tuple(courses), done, tuple(left_out), name))
    return sorted(blocks, key=lambda block: (block.dataset, in_order(block.setting_name)))


def category_place(category: str) -> tuple[int, str]:
    """Sorts categories as `CATEGORIES` has them."""
    return (CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES), category)


def _course(label: str, runs: Sequence[Record]) -> Course:
    view = deployed_view(runs)
    length = min(len(run.rounds) for run in runs)
    accuracy = [tuple(_accuracies(run, f"{view}.acc_mean")[:length]) for run in runs]
    column = f"{view}.acc_honest"
    poisoned = all(run.rounds[-1].get(column) is not None for run in runs)
    costs = {
        "bytes": [_sums(run, "bytes_up", "bytes_down") for run in runs],
        "seconds": [_sums(run, "seconds_training", "seconds_server") for run in runs],
        # A step sees one batch, whether of private or of public data.
        "samples": [
            [int(trained(run.cell)["batch_size"]) * steps for steps in _sums(run, "steps_local", "steps_distill")]
            for run in runs
        ],
    }
    return Course(
        label=label,
        category=str(runs[0].facts.get("category", "")),
        is_reference=view == "pooled",
        seeds=tuple(run.repetition for run in runs),
        accuracy=tuple(accuracy),
        honest=tuple(_accuracies(run, column)[length - 1] for run in runs) if poisoned else None,
        costs={name: tuple(tuple(course[:length]) for course in courses) for name, courses in costs.items()},
    )


def _accuracies(run: Record, column: str) -> list[float]:
    values = [row.get(column) for row in run.rounds]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        raise DataError(f"{run.folder} is garbled: its rounds lack {column}; remove it and run it again")
    return numbers


def _sums(run: Record, *columns: str) -> list[float]:
    """Columns of rounds.csv together, added up from the first round on; an empty field is nothing done or sent."""
    return list(accumulate(sum(float(row.get(column) or 0) for column in columns) for row in run.rounds))
