"""The table that every statistic starts from (benchmarks room): data sets x settings x methods x seeds, gaps included.

A number that is not there is a gap with a reason, never a 0 and never silently left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import DataError, unknown_name

from ..leaderboard.naming import in_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from ...datasets.overlap import Overlap


Blocks = Literal["family", "cluster", "dataset", "setting"]
"""What counts as one independent observation: a family of data sets, averaged; a family whose data sets enter the test
one by one, their signs turning together; a data set, whatever its family; or each data set in each setting."""

NAMED = 3
"""Up to so many data sets of a family are named where it is; of more, the family and their number."""

DECIMALS = 9
"""Numbers that agree to so many decimals are equal: 85.3 - 84.2 and 1.1 differ in the sixteenth, and are a tie."""

DONE, MISSING = "done", "missing"
"""How a run with a number ended; and what a run is that nobody started."""


def settled(values: ArrayLike) -> NDArray[np.float64]:
    """Numbers without the noise of floating point, so that ties are ties; see `DECIMALS`."""
    return np.round(np.asarray(values, dtype=float), DECIMALS) + 0.0  # no negative zero


@dataclass(frozen=True)
class Condition:
    """A data set in one setting: what may be compared, method by method and seed by seed."""

    dataset: str
    setting: str
    """Short hash of the setting; nothing where a CSV file names none."""
    setting_text: str
    classes: int | None
    """Number of classes; None where unknown. 100 / classes is the accuracy of guessing."""
    seeds: tuple[int, ...]
    """All seeds that any method has here, ascending; numbers of repetitions where the table has factors."""
    accuracy: tuple[tuple[float | None, ...], ...]
    """Percent, a row per method of the table and a column per seed; None is a gap."""
    status: tuple[tuple[str, ...], ...]
    """How each run ended; `missing` where there is none. Same shape."""
    levels: tuple[tuple[str, ...], ...] = ()
    """The levels of `Table.factors` behind each seed, where a table names them."""
    family: str = ""
    """The family of the data set, which counts as one observation; nothing where it is its own."""
    network: str = ""
    """The clients' networks, in a word; nothing where the table does not say."""
    partition: str = ""
    """How the data were dealt to clients, in a word; nothing where the table does not say."""

    spreads: tuple[float | None, ...] = ()
    """What stands after ±, for each method, where a table has no seeds but numbers with spreads."""
    setting_name: str = ""
    """What tells it from the other settings of the data set; empty where there is one."""

    @property
    def unit(self) -> str:
        """What this condition shares with those that are not independent of it: its family, or its data set."""
        return self.family or self.dataset

    @property
    def label(self) -> str:
        """The name of this condition in tables."""
        return in_setting(self.dataset, self.setting_name)

    @property
    def key(self) -> str:
        """What names it whatever other settings there are."""
        return in_setting(self.dataset, self.setting)

    def array(self) -> NDArray[np.float64]:
        """The accuracies, shape (methods, seeds), NaN for gaps."""
        return np.array([[np.nan if value is None else value for value in row] for row in self.accuracy], dtype=float)

    def repetitions(self, factors: Sequence[str]) -> tuple[int | str, ...]:
        """What messages call each repetition: its seed, or the levels of the table's `factors`."""
        if not factors:
            return self.seeds
        return tuple(
            "/".join(f"{factor}={level}" for factor, level in zip(factors, levels, strict=True))
            for levels in self.levels
        )

    def _take(self, rows: Sequence[int], columns: Sequence[int]) -> Condition:
        return replace(
            self,
            seeds=tuple(self.seeds[column] for column in columns),
            levels=tuple(self.levels[column] for column in columns) if self.levels else (),
            spreads=tuple(self.spreads[row] for row in rows) if self.spreads else (),
            accuracy=tuple(tuple(self.accuracy[row][column] for column in columns) for row in rows),
            status=tuple(tuple(self.status[row][column] for column in columns) for row in rows),
        )


@dataclass(frozen=True)
class Gap:
    """A number that is not there."""

    dataset: str
    setting: str
    method: str
    seed: int | str
    """The seed, or the levels of the table's factors."""
    status: str
    """`missing`, or how the run ended."""
    setting_name: str = ""

    def __str__(self) -> str:
        return f"{self.method} on {in_setting(self.dataset, self.setting_name)}, seed {self.seed}: {self.status}"


@dataclass(frozen=True)
class Table:
    """Numbers to compare. Methods and conditions are sorted by name, so that their order on disk means nothing."""

    methods: tuple[str, ...]
    conditions: tuple[Condition, ...]
    selection: str
    """Which number of a run this is, in words."""
    tuning: str
    """How the settings of the methods were chosen, in words."""
    factors: tuple[str, ...] = ()
    """What repetitions vary separately (`partition`, `init`, `draws`, `batches`); none where one seed moves all."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know: views left out, badges."""
    trials: tuple[tuple[str, int], ...] = ()
    """Settings that were tried of each method before its own were chosen, by a ledger; empty without one."""
    overlaps: tuple[Overlap, ...] = ()
    """Data sets that share rows, beside those that come with fl-bench: found when a user's data were run."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets, sorted."""
        return tuple(sorted({condition.dataset for condition in self.conditions}))

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings, sorted."""
        return tuple(sorted({condition.setting for condition in self.conditions}))

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """The data sets of every family, by what `Condition.unit` says, in the order of the first of each."""
        units = {condition.dataset: condition.unit for condition in self.conditions}
        found: dict[str, list[str]] = {}
        for dataset in self.datasets:
            found.setdefault(units[dataset], []).append(dataset)
        return {unit: tuple(members) for unit, members in found.items()}

    def family_labels(self) -> tuple[str, ...]:
        """What tables call the families: by their data sets, `digits+optdigits`."""
        return tuple(
            "+".join(members) if len(members) <= NAMED else f"{unit} ({len(members)} data sets)"
            for unit, members in self.families.items()
        )

    def with_families(self, families: Mapping[str, str]) -> Table:
        """The same with other families, by data set; one that is not named is its own."""
        return replace(
            self, conditions=tuple(replace(at, family=families.get(at.dataset, "")) for at in self.conditions)
        )

    def gaps(self) -> tuple[Gap, ...]:
        """Every number that is not there, by condition, method and seed."""
        return tuple(
            Gap(condition.dataset, condition.setting, method, seed, status, condition.setting_name)
            for condition in self.conditions
            for method, row in zip(self.methods, condition.status, strict=True)
            for seed, status in zip(condition.repetitions(self.factors), row, strict=True)
            if status != DONE
        )

    def take_methods(self, names: Iterable[str]) -> Table:
        """Only some methods; seeds and conditions that none of them has go with the others.

        Raises:
            ConfigError: a name is unknown.
        """
        wanted = sorted(set(names))
        for name in wanted:
            if name not in self.methods:
                raise unknown_name("method of this comparison", name, self.methods)
        rows = [self.methods.index(name) for name in wanted]
        return replace(self, methods=tuple(wanted), conditions=self._narrow(rows, _any_started))

    def complete(self) -> Table:
        """Only seeds that every method has, and only conditions with such a seed: what is left is paired throughout."""
        return replace(self, conditions=self._narrow(range(len(self.methods)), _all_done))

    def common_seeds(self) -> Table:
        """Only seeds that all methods of a condition have, not counting methods that have no number there at all.

        Methods may lack whole conditions of the result, never single seeds.
        """
        found = []
        for condition in self.conditions:
            rows = [row for row in condition.status if DONE in row]
            columns = [column for column in range(len(condition.seeds)) if _all_done([row[column] for row in rows])]
            if rows and columns:
                found.append(condition._take(range(len(self.methods)), columns))
        return replace(self, conditions=tuple(found))

    def full_blocks(self, blocks: Blocks) -> Table:
        """Only blocks in which every method has a number."""
        means = zip(self._block_keys(blocks), self.block_means(blocks), strict=True)
        kept = {key for key, row in means if np.isfinite(row).all()}
        return self.take_conditions(lambda at: _block_key(at, blocks) in kept)

    def take_conditions(self, keep: Callable[[Condition], bool]) -> Table:
        """Only the conditions that `keep` says yes to."""
        return replace(self, conditions=tuple(filter(keep, self.conditions)))

    def with_chance(self) -> tuple[Table, tuple[Gap, ...]]:
        """The table with every diverged run at the accuracy of guessing, 100 / classes, and the runs so treated.

        Raises:
            DataError: a run diverged on data whose number of classes is unknown.
        """
        changed = []
        for condition in self.conditions:
            diverged = [[status == "diverged" for status in row] for row in condition.status]
            if any(map(any, diverged)) and condition.classes is None:
                raise DataError(f"a run diverged on {condition.label}, whose number of classes is unknown")
            chance = 100 / (condition.classes or 1)
            changed.append(
                replace(
                    condition,
                    accuracy=tuple(
                        tuple(chance if at else value for value, at in zip(row, marks, strict=True))
                        for row, marks in zip(condition.accuracy, diverged, strict=True)
                    ),
                    status=tuple(
                        tuple(DONE if at else status for status, at in zip(row, marks, strict=True))
                        for row, marks in zip(condition.status, diverged, strict=True)
                    ),
                )
            )
        gaps = tuple(gap for gap in self.gaps() if gap.status == "diverged")
        return replace(self, conditions=tuple(changed)), gaps

    def block_labels(self, blocks: Blocks) -> tuple[str, ...]:
        """The names of the blocks, in the order of `block_means`."""
        return self.family_labels() if blocks in ("family", "cluster") else self._block_keys(blocks)

    def block_means(self, blocks: Blocks) -> NDArray[np.float64]:
        """One number per block and method, shape (blocks, methods): averaged over seeds, settings, then data sets.

        A method that lacks a seed of a condition, a condition of a data set, or a data set of a family, has NaN there:
        a mean over fewer seeds than its rivals' would no longer be paired with theirs.
        """
        if blocks == "setting":
            means = [condition.array().mean(axis=1) for condition in self.conditions]
        else:
            by_dataset = {
                dataset: np.mean([at.array().mean(axis=1) for at in self.conditions if at.dataset == dataset], axis=0)
                for dataset in self.datasets
            }
            means = list(by_dataset.values())
            if blocks != "dataset":
                means = [np.mean([by_dataset[name] for name in names], axis=0) for names in self.families.values()]
        return np.array(means, dtype=float).reshape(len(means), len(self.methods))

    def _block_keys(self, blocks: Blocks) -> tuple[str, ...]:
        """What tells blocks apart, in the order of `block_means`."""
        if blocks in ("family", "cluster"):
            return tuple(self.families)
        return self.datasets if blocks == "dataset" else tuple(at.label for at in self.conditions)

    def _narrow(self, rows: Sequence[int], wanted: Callable[[Sequence[str]], bool]) -> tuple[Condition, ...]:
        """Some methods' rows, with the seeds whose statuses are `wanted`, in conditions that have any."""
        found = []
        for condition in self.conditions:
            columns = [
                column
                for column in range(len(condition.seeds))
                if wanted([condition.status[row][column] for row in rows])
            ]
            if columns:
                found.append(condition._take(rows, columns))
        return tuple(found)


def _block_key(at: Condition, blocks: Blocks) -> str:
    return {"setting": at.label, "dataset": at.dataset}.get(blocks, at.unit)


def _any_started(statuses: Sequence[str]) -> bool:
    return any(status != MISSING for status in statuses)


def _all_done(statuses: Sequence[str]) -> bool:
    return all(status == DONE for status in statuses)
