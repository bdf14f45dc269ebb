"""Two methods client by client, from records (benchmarks room): what `mixed.py` takes, for every cell of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError

from ..leaderboard.pairing import comparisons
from ..leaderboard.reported import deployed_view, reported_in
from .mixed import mixed
from .multiple import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..grid.repetition import Repetition
    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from .mixed import Mixed

    Array = NDArray[np.float64]

NATURAL = "natural"
"""The partition whose clients are the same under every seed."""


@dataclass(frozen=True)
class OnClients:
    """Two methods on one data set and setting, for other clients and seeds like these."""

    dataset: str
    setting: str
    method: str
    other: str
    seeds: int
    clients: int
    same_clients: bool
    """Whether clients are the same under every seed, and so a sample of their own."""
    found: Mixed | None
    """None with fewer than three seeds or clients, or where nothing varies within them."""
    p_holm: float | None
    """Over all rows."""
    significant: bool


def on_clients(
    records: Sequence[Record], control: str, others: Sequence[str], alpha: float, selection: Selection = "last"
) -> tuple[OnClients, ...]:
    """Others against the control on every data set and setting that has both, corrected over all rows.

    Args:
        records: runs; those that are not done are left out, and seeds that one of the two lacks.
        control: a method's name in tables.
        others: names of further methods.
        alpha: level of tests and intervals.
        selection: which round is reported.
    Raises:
        DataError: the clients of a record cannot be read, or lack the view that is reported.
    """
    rows = []
    for (dataset, setting), methods in comparisons(records).items():
        if control not in methods:
            continue
        own = _runs(methods[control], selection)
        for other in others:
            theirs = _runs(methods.get(other, ()), selection)
            seeds = sorted(own.keys() & theirs.keys())
            if not seeds:
                continue
            differences = _differences([(theirs[seed], own[seed]) for seed in seeds])
            kept = methods[control][0].cell["partition"]["scheme"] == NATURAL
            found = mixed(differences, alpha, same_clients=kept)
            rows.append(
                OnClients(
                    dataset=dataset,
                    setting=setting,
                    method=other,
                    other=control,
                    seeds=len(seeds),
                    clients=differences.shape[1],
                    same_clients=kept,
                    found=found,
                    p_holm=None,
                    significant=False,
                )
            )
    tested = [place for place, row in enumerate(rows) if row.found is not None]
    for place, p in zip(tested, holm([row.found.p for row in rows if row.found is not None]), strict=True):
        rows[place] = replace(rows[place], p_holm=float(p), significant=bool(p <= alpha))
    return tuple(rows)


def _runs(group: Sequence[Record], selection: Selection) -> dict[Repetition, Mapping[int, float]]:
    """Accuracy by client, by repetition, at the reported round, in the method's own view."""
    view = deployed_view(group)
    found: dict[Repetition, Mapping[int, float]] = {}
    for record in group:
        row = reported_in(record.rounds, view, selection) if record.status == "done" else None
        if row is not None:
            found[record.repetition] = _accuracies(record, view, row["round"])
    return found


def _accuracies(record: Record, view: str, at: object) -> dict[int, float]:
    column = f"{view}.acc"
    rows = [row for row in record.clients if row["round"] == at]
    if not rows or column not in rows[0]:
        raise DataError(f"{record.folder / 'clients.csv'} lacks {column} in round {at}; run the cell again")
    found = {}
    for row in rows:
        client, accuracy = row["client"], row[column]
        if isinstance(client, int) and isinstance(accuracy, int | float):
            found[client] = float(accuracy)
    return found


def _differences(runs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> Array:
    """First minus second, shape (seeds, clients); NaN where one of the two has no number of a client."""
    clients = sorted({client for pair in runs for run in pair for client in run})
    return np.array([[one.get(at, np.nan) - two.get(at, np.nan) for at in clients] for one, two in runs], dtype=float)
