"""Our records beside what a paper published (benchmarks room): values off its figures, rows to compare, what lacks.

A pure function of records, of the grid that runs the paper's experiments again, and of the file in `published/`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import unknown_name

from ..grid.configure import blame, configure
from ..grid.plain_yaml import read_yaml
from .pairing import check_pairing, comparisons
from .reported import deployed_view
from .versions import newest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..grid.cell import Cell
    from ..records.record import Record

FILE = Path(__file__).parents[1] / "published" / "cosmos.yaml"
"""The published values of the COSMOS paper."""

PUBLISHED_VIEWS = {"cosmos": "server_oracle"}
"""The view that a method's published number is of, where it is not the deployed one."""


@dataclass(frozen=True)
class Curves:
    """The curves of one panel of a figure: one data set and one mix of client networks."""

    dataset: str
    nets: tuple[str, ...]
    """Families of the clients' networks; see `families`."""
    last: dict[str, float]
    """Percent at the last iteration, by method."""
    metric: Literal["top-1", "top-5"] = "top-1"
    first: dict[str, str] = field(default_factory=dict)
    """Percent at iteration 0, in words: COSMOS, and all others."""


@dataclass(frozen=True)
class Difference:
    """Where the published protocol and ours part."""

    number: str
    """What it is called, Q1 to Q22, or what it is about."""
    theirs: str
    here: str


@dataclass(frozen=True)
class Published:
    """A paper's curves, by the grid that runs its experiments again."""

    source: str
    precision: str
    """How exact the values are, in words."""
    curves: dict[str, tuple[Curves, ...]]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Row:
    """One view of one method on one data set with one mix of networks. Accuracies in percent, means over seeds."""

    dataset: str
    nets: tuple[str, ...]
    """Names of the clients' networks, as run; families where nothing was."""
    changes: tuple[str, ...]
    """What was run otherwise than the grid asks."""
    method: str
    view: str
    deployed: bool
    """Whether the view is the method's number."""
    badges: tuple[str, ...]
    first: float | None
    """Top-1 after the first round."""
    top1: float | None
    """Top-1 after the last round."""
    top1_std: float | None
    """Over seeds, with n - 1."""
    top5: float | None
    published: float | None
    """The published value that it may be held against."""
    metric: Literal["top-1", "top-5"] | None
    """What the published value counts."""
    seeds: tuple[str, ...]
    """Seeds that are averaged."""


@dataclass(frozen=True)
class Lacking:
    """What the paper shows of one data set and mix, the grid asks for, and no record has."""

    dataset: str
    nets: tuple[str, ...]
    runs: int
    """Runs that lack a record of a finished run."""
    asked: int
    """Runs that the grid asks for."""
    ended: tuple[str, ...]
    """Those of them that ended otherwise, and why."""


def read_published(grid: str) -> tuple[Published, tuple[Curves, ...]]:
    """What was published, and of it the curves that a grid runs again.

    Raises:
        ConfigError: nothing is known of a grid of that name.
    """
    with blame(str(FILE)):
        published = configure(Published, read_yaml(FILE), "")
    if grid not in published.curves:
        raise unknown_name("grid with published values", grid, published.curves)
    return published, published.curves[grid]


def families(nets: Sequence[str]) -> frozenset[str]:
    """What networks are called without size of inputs and normalisation: `resnet18-bn@224` is a `resnet18`."""
    return frozenset(net.partition("@")[0].removesuffix("-bn").removesuffix("-small") for net in nets)


def rows(records: Sequence[Record], cells: Sequence[Cell], curves: Sequence[Curves]) -> list[Row]:
    """A row per view of every method of the grid that was run on one of its data sets, whatever else was changed.

    Args:
        records: all records at hand.
        cells: the grid's cells.
        curves: what was published.
    Raises:
        DataError: records that would be compared did not have the same data or starting weights.
    """
    asked = {cell.label for cell in cells}
    names = {cell.dataset.name for cell in cells}
    mine = [record for record in records if record.cell["dataset"] in names and record.label in asked]
    check_pairing(mine)
    found = []
    for (dataset, _), methods in comparisons(mine).items():
        cell = next(iter(methods.values()))[0].cell
        nets = tuple(cell["models"]["names"])
        curve = next((one for one in curves if one.dataset == dataset and families(nets) == set(one.nets)), None)
        changes = _changes(cell, [one for one in cells if one.dataset.name == dataset])
        for label, group in methods.items():
            found += _views(dataset, nets, changes, label, group, curve)
    return found


def lacking(records: Sequence[Record], cells: Sequence[Cell], curves: Sequence[Curves]) -> list[Lacking]:
    """What the paper shows and no finished run exactly as the grid asks has, by data set and mix of networks."""
    known = {record.identity: record for record in newest(records)}
    shown = {(one.dataset, frozenset(one.nets)) for one in curves}
    asked: dict[tuple[str, tuple[str, ...]], list[Cell]] = defaultdict(list)
    for cell in cells:
        if (cell.dataset.name, families(cell.models.names)) in shown:
            asked[cell.dataset.name, cell.models.names].append(cell)
    result = []
    for (dataset, nets), wanted in asked.items():
        ends = [(cell, known.get(cell.identity)) for cell in wanted]
        without = [(cell, record) for cell, record in ends if record is None or record.status != "done"]
        ended = [
            f"{cell.label} with seed {cell.seed}: {record.status}, {record.reason}"
            for cell, record in without
            if record is not None
        ]
        if without:
            result.append(Lacking(dataset, nets, len(without), len(wanted), tuple(ended)))
    return result


def _views(
    dataset: str,
    nets: tuple[str, ...],
    changes: tuple[str, ...],
    label: str,
    group: Sequence[Record],
    curve: Curves | None,
) -> list[Row]:
    done = sorted((record for record in group if record.status == "done"), key=lambda record: record.repetition)
    if not done:
        return []
    deployed, method = deployed_view(done), str(done[0].cell["method"]["name"])
    compared = PUBLISHED_VIEWS.get(method, deployed)
    result = []
    for view in sorted(done[0].facts["views"], key=lambda view: (view != deployed, view)):
        last = _column(done, f"{view}.acc_mean", -1)
        facts = [(record.facts.get("badges", ()), record.facts.get("view_badges", {}).get(view, ())) for record in done]
        value = curve.last.get(method) if curve is not None and view == compared else None
        result.append(
            Row(
                dataset=dataset,
                nets=nets,
                changes=changes,
                method=label,
                view=view,
                deployed=view == deployed,
                badges=tuple(sorted({badge for parts in facts for part in parts for badge in part})),
                first=_mean(_column(done, f"{view}.acc_mean", 0)),
                top1=_mean(last),
                top1_std=stdev(last) if len(last) > 1 else None,
                top5=_mean(_column(done, f"{view}.top5_mean", -1)),
                published=value,
                metric=curve.metric if curve is not None and value is not None else None,
                seeds=tuple(str(record.repetition) for record in done),
            )
        )
    return result


def _changes(cell: Mapping[str, Any], asked: Sequence[Cell]) -> tuple[str, ...]:
    """What a run's setting has otherwise than the grid's nearest one, as `training.rounds: 2 for 10`."""
    nets = families(cell["models"]["names"])
    same = [one for one in asked if families(one.models.names) == nets] or list(asked)
    own = _flat({name: cell.get(name, {}) for name in ("partition", "models", "training")})
    theirs = _flat({name: same[0].setting()[name] for name in ("partition", "models", "training")})
    differing = [name for name in {**theirs, **own} if own.get(name) != theirs.get(name)]
    return tuple(f"{name}: {_words(own.get(name))} for {_words(theirs.get(name))}" for name in differing)


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"


def _column(done: Sequence[Record], name: str, place: int) -> list[float]:
    values = [record.rounds[place].get(name) for record in done if record.rounds]
    return [float(value) for value in values if isinstance(value, int | float)]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
