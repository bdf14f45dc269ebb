"""Every run for the drill-down (benchmarks room, report): compact plain values that the page draws when asked.

What many runs share (setting, a method's settings, provenance) is there once and referred to by number. A column of the
rounds that never changes is one value instead of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..grid.cell import method_settings
from ..leaderboard.clusterless import without_cluster
from ..leaderboard.pairing import comparisons, setting_text
from ..records.rows import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..records.record import Record
    from ..records.rows import Row

Plain = dict[str, Any]

EXTRA = {"val_acc_mean": "validation", "clusters": "clusters", "cluster_ari": "ARI"}
"""Columns of rounds.csv beside accuracies and bytes: name to heading."""


class Pool:
    """Distinct values by number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """The number of a value, a new one where it is new."""
        place = self._numbers.setdefault(repr(value), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def drill_down(records: Sequence[Record]) -> Plain:
    """All runs with what they share, as the page's script reads it.

    Raises:
        DataError: a record cannot be read.
    """
    settings, methods, origins = Pool(), Pool(), Pool()
    runs = []
    for (dataset, setting), group in comparisons(records).items():
        for label, own in group.items():
            for record in sorted(own, key=lambda record: record.repetition):
                method = record.cell["method"]
                shared = {"hash": setting, "text": setting_text(record.cell), "parts": _parts(record.cell)}
                runs.append(
                    {
                        "dataset": dataset,
                        "setting": settings.number(shared),
                        "label": label,
                        "method": methods.number(
                            {"name": method["name"], "settings": _texts(_flat(method_settings(method)))}
                        ),
                        "seed": record.repetition.shown,
                        "key": record.run["key"],
                        "status": record.status,
                        "reason": record.reason,
                        "badges": record.facts.get("badges", []),
                        "origin": origins.number(_texts(_flat(record.run["provenance"]))),
                        "started": record.run["clocks"].get("started"),
                        "seconds": round(record.seconds, 2),
                        **_course(record),
                    }
                )
    return {"settings": settings.values, "methods": methods.values, "origins": origins.values, "runs": runs}


def provenance(data: Mapping[str, Any]) -> list[Plain]:
    """Where the runs come from: a line per distinct origin, the one of most runs first."""
    counts = [0] * len(data["origins"])
    for run in data["runs"]:
        counts[run["origin"]] += 1
    rows = [{"runs": count, **origin} for count, origin in zip(counts, data["origins"], strict=True)]
    return sorted(rows, key=lambda row: -row["runs"])


def _course(record: Record) -> Plain:
    """The columns of the rounds; none for a run that has no rounds."""
    rows = record.rounds
    if not rows:
        return {}
    views = sorted(record.facts.get("views", ()), key=lambda view: (view != record.facts["deployed"], view))
    columns = {
        "accuracies": {view: _column(rows, f"{view}.acc_mean", 2) for view in views},
        "columns": {
            **{words: _column(rows, name, 3 if name == "cluster_ari" else 2) for name, words in EXTRA.items()},
            "bytes up": _column(rows, "bytes_up", 0),
            "bytes down": _column(rows, "bytes_down", 0),
            "seconds": _packed([round(seconds_of(row), 2) for row in rows]),
        },
    }
    if missing := without_cluster(record):
        columns["columns"]["in no cluster"] = _packed(missing)
    columns["columns"] = {words: column for words, column in columns["columns"].items() if column is not None}
    return {"rounds": len(rows), **columns}


def _column(rows: Sequence[Row], name: str, places: int) -> Any:
    values = [row.get(name) for row in rows]
    return _packed([round(value, places) if isinstance(value, int | float) else None for value in values])


def _packed(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _parts(cell: Mapping[str, Any]) -> Plain:
    """Partition, models, training and faults of a cell, flat."""
    return _texts(_flat({name: cell[name] for name in ("partition", "models", "training", "faults") if name in cell}))


def _flat(values: Mapping[str, Any], before: str = "") -> Plain:
    found: Plain = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _texts(values: Mapping[str, Any]) -> Plain:
    """Values as the page shows them."""
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
