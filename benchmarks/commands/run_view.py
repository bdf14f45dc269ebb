"""One record for the eye (benchmarks room): its head, its rounds, its curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...federation.settings import UNSEEN
from ..grid.cell import method_settings
from ..leaderboard.clusterless import clusterless, without_cluster
from ..leaderboard.own_rate import OWN_RATE, OWN_STEPS
from ..leaderboard.pairing import setting_text
from ..leaderboard.training_rules import recorded_rules
from ..records.rows import seconds_of
from ..tables.charts import curves
from ..tables.printing import print_table
from ..tables.values import show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from ..records.record import Record

COLUMNS = ("round", "val_acc_mean", "bytes_up", "bytes_down", "clusters", "cluster_ari")
"""Columns of rounds.csv that the table shows beside the accuracies of all views."""

BY_DRAW = {"took part %": "acc_drawn", "never %": "acc_new"}
"""And those of the deployed view, where some clients never took part."""

HONEST = {"honest %": "acc_honest"}
"""And where some are poisoned."""


def print_record(console: Console, record: Record) -> None:
    """Head, table and curve."""
    facts = record.facts
    rules, settings = recorded_rules([record]), method_settings(record.cell["method"])
    reason = f": {record.reason}" if record.reason else ""
    lines = [
        f"{record.cell['dataset']}  {record.label}  seed {record.repetition}  ({record.run['key']})",
        f"{record.status}{reason}, {show_seconds(record.seconds)}",
        setting_text(record.cell),
        f"{record.cell['method']['name']}: "
        + (", ".join(f"{key}={value}" for key, value in settings.items()) or "no settings"),
        f"protocol: {record.protocol}",
        *facts.get("badges", []),
        *([f"{OWN_RATE}: {rules.own}"] if rules is not None and rules.own else []),
        *([f"{OWN_STEPS}: {rules.own_steps}"] if rules is not None and rules.own_steps else []),
        *_one_off(facts),
        *filter(None, [clusterless([record])]),
    ]
    console.print("\n".join(lines), markup=False, highlight=False)
    trace = record.run.get("traceback")
    if trace:
        console.print(trace.rstrip(), markup=False, highlight=False)
    rows = rounds_table(record)
    if UNSEEN in facts.get("views", ()):
        last = record.rounds[-1]
        accuracy, clients = float(last[f"{UNSEEN}.acc_mean"] or 0), last[f"{UNSEEN}.clients"]
        console.print(
            f"{UNSEEN}: {accuracy:.2f} %, mean over {clients} clients that were kept out of training and admitted at "
            f"the end, with {last['steps_unseen']} steps of all",
            markup=False,
            highlight=False,
        )
    if rows:
        print_table(console, rows)
        deployed = facts["deployed"]
        views = sorted(set(facts["views"]) - {UNSEEN}, key=lambda view: (view != deployed, view))
        courses = {view: _course(record, view) for view in views}
        console.print("mean client accuracy, %", markup=False)
        console.print(curves(courses), markup=False, highlight=False)


def rounds_table(record: Record) -> list[dict[str, Any]]:
    """A row per round with the columns worth reading."""
    views = [view for view in record.facts.get("views", []) if view != UNSEEN]
    missing = without_cluster(record)
    deployed = record.facts.get("deployed")
    kinds = (("acc_new", BY_DRAW), ("acc_honest", HONEST))
    columns = {
        name: f"{deployed}.{column}"
        for told, kind in kinds
        if any(row.get(f"{deployed}.{told}") is not None for row in record.rounds)
        for name, column in kind.items()
    }
    rows = []
    for place, row in enumerate(record.rounds):
        shown: dict[str, Any] = {name: row[name] for name in COLUMNS if row.get(name) is not None}
        if missing:
            shown["in no cluster"] = missing[place]
        accuracies = {f"{view} %": row[f"{view}.acc_mean"] for view in views}
        accuracies.update({name: row[column] for name, column in columns.items()})
        traffic = {name: show_bytes(float(shown.pop(name, 0) or 0)) for name in ("bytes_up", "bytes_down")}
        rows.append(
            {"round": shown.pop("round"), **accuracies, **shown, **traffic, "time": show_seconds(seconds_of(row))}
        )
    return rows


def _one_off(facts: Mapping[str, Any]) -> list[str]:
    """What the bytes of the rounds leave out."""
    parts = {
        "shipping the public data once": facts.get("bytes_one_off"),
        "messages not delivered after the last round": facts.get("bytes_undelivered"),
    }
    said = [f"{what}, {show_bytes(float(number))}" for what, number in parts.items() if number]
    return [f"not counted in the bytes of rounds: {'; '.join(said)}"] if said else []


def _course(record: Record, view: str) -> list[float]:
    return [float(row[f"{view}.acc_mean"] or 0) for row in record.rounds]
