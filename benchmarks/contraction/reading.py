"""From records to the arms of the contraction study (benchmarks room): risks as arrays over seeds and clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fl_bench.errors import ConfigError, DataError

from ...federation.settings import UNSEEN
from ..leaderboard.naming import in_setting
from ..leaderboard.pairing import check_pairing, comparisons, names_of, setting_text
from ..leaderboard.reported import deployed_view
from ..statistics.verdicts import many

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..grid.repetition import Repetition
    from ..records.record import Record

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

Risk = Literal["cross-entropy", "brier", "zero-one"]
RISKS: tuple[Risk, ...] = get_args(Risk)
"""The risks that a record with `training.risks` has for each client."""

COLUMNS: dict[Risk, str] = {"cross-entropy": "loss", "brier": "brier", "zero-one": "acc"}
"""What each is called in clients.csv, after the view and a dot."""

DIAGNOSTICS = ("distill_residual", "server_residual", "prediction_change")
"""Columns of rounds.csv under `cosmos[diagnostics=true]`."""

LEAST_ROUNDS = 7
"""Fewer leave no room for the correction of AICc: six from round 1 on, and four numbers to a curve."""


@dataclass(frozen=True)
class Arm:
    """One method over seeds, clients and rounds."""

    label: str
    deployed: str
    """The view that is the method's number."""
    views: tuple[str, ...]
    risks: Mapping[tuple[str, Risk], Array]
    """By view and risk, shape (seeds, clients, rounds)."""
    clusters: Labels | None
    """Cluster of each client after the last round, shape (seeds, clients); None for a method without clusters."""
    diagnostics: Mapping[str, Array]
    """Those of `DIAGNOSTICS` that were recorded, shape (seeds, rounds); NaN in rounds without one."""
    badges: tuple[str, ...]
    """What the method was told that it should not know."""

    def of(self, view: str, risk: Risk) -> Array | None:
        """One risk of a view, shape (seeds, clients, rounds); None where the arm has no such view.

        An arm whose deployed view has another name is known by that one under `client`, too.
        """
        own = self.deployed if view == "client" and "client" not in self.views else view
        return self.risks.get((own, risk))


@dataclass(frozen=True)
class Block:
    """Arms that may be compared: one data set and setting, the same seeds and clients in all of them."""

    dataset: str
    setting: str
    """Hash of partition, models and training."""
    setting_text: str
    cell: Mapping[str, Any]
    """The resolved cell of one of its runs."""
    seeds: tuple[Repetition, ...]
    clients: int
    """Clients of each seed that have a risk in every arm and round."""
    rounds: int
    arms: Mapping[str, Arm]
    left_out: tuple[str, ...]
    """Runs and clients that are in no number, in words."""


def read_blocks(records: Sequence[Record]) -> list[Block]:
    """All blocks of the records, sorted by data set and setting; each holds the seeds that all of its arms have done.

    Raises:
        ConfigError: no record has risks, or those that have are of too few rounds or of no seed in common.
        DataError: a record cannot be read, or methods of one block did not run on the same data.
    """
    risky = [record for record in records if record.cell["training"].get("risks")]
    if not risky:
        raise ConfigError(
            f"{'this record has no' if len(records) == 1 else f'none of these {len(records)} records has'} risks per "
            "client; run the grid with `training.risks: true`, as "
            "`fl-bench run contraction` does"
        )
    check_pairing(risky)
    found = comparisons(risky)
    names = names_of(found)
    without = len(records) - len(risky)
    return [
        _block(*place, methods, where=in_setting(place[0], names[place]), without=without)
        for place, methods in found.items()
    ]


def _block(dataset: str, setting: str, methods: Mapping[str, Sequence[Record]], *, where: str, without: int) -> Block:
    cell = next(iter(methods.values()))[0].cell
    rounds = int(cell["training"]["rounds"])
    if rounds < LEAST_ROUNDS:
        raise ConfigError(
            f"{where} has {rounds} rounds, too few to tell a rate from a floor; it takes {LEAST_ROUNDS} to say "
            "anything, and 20 to 30 to say it well"
        )
    left_out = [f"{many(without, 'record')} without risks"] if without else []
    done: dict[str, dict[Repetition, Record]] = {}
    for label, group in methods.items():
        left_out += [f"{label} seed {run.repetition} ({run.status})" for run in group if run.status != "done"]
        mine = {run.repetition: run for run in group if run.status == "done"}
        if mine:
            done[label] = mine
    common = sorted(set.intersection(*map(set, done.values()))) if done else []
    if not common:
        raise ConfigError(f"{where}: the arms have no seed in common that is done; run the grid to its end")
    for label, mine in done.items():
        left_out += [f"{label} seed {seed} (another arm lacks it)" for seed in sorted(mine) if seed not in common]
    runs = {label: [mine[seed] for seed in common] for label, mine in done.items()}
    arms = {label: _arm(label, group, rounds) for label, group in runs.items()}
    whole = np.all([np.isfinite(risk).all(axis=(0, 2)) for arm in arms.values() for risk in arm.risks.values()], axis=0)
    if not whole.any():
        raise ConfigError(f"{where}: no client has test samples under every seed")
    if not whole.all():
        left_out.append(f"{many(int((~whole).sum()), 'client')} without test samples under some seed")
    return Block(
        dataset=dataset,
        setting=setting,
        setting_text=setting_text(cell),
        cell=cell,
        seeds=tuple(common),
        clients=int(whole.sum()),
        rounds=rounds,
        arms={label: _clients(arm, whole) for label, arm in arms.items()},
        left_out=tuple(left_out),
    )


def _arm(label: str, runs: Sequence[Record], rounds: int) -> Arm:
    """The done runs of one method, in the order of the block's seeds."""
    views = tuple(sorted(set.intersection(*(_views(run) for run in runs))))
    tables = [_table(run, rounds) for run in runs]
    risks: dict[tuple[str, Risk], Array] = {}
    for view in views:
        for risk, column in COLUMNS.items():
            values = np.stack([table[f"{view}.{column}"] for table in tables])
            risks[view, risk] = 1 - values / 100 if risk == "zero-one" else values
    clusters = None
    if all(np.isfinite(table["cluster"][:, -1]).all() for table in tables):
        clusters = np.stack([table["cluster"][:, -1] for table in tables]).astype(np.int64)
    found = {
        name: np.array([[_number(row.get(name)) for row in run.rounds] for run in runs])
        for name in DIAGNOSTICS
        if any(row.get(name) is not None for run in runs for row in run.rounds)
    }
    badges = {str(badge) for run in runs for badge in run.facts.get("badges", ())}
    return Arm(label, deployed_view(runs), views, risks, clusters, found, tuple(sorted(badges)))


def _views(run: Record) -> set[str]:
    """The views that have a row for each client and round: those of clients that were kept out have none."""
    return set(run.facts["views"]) - {UNSEEN}


def _table(run: Record, rounds: int) -> dict[str, Array]:
    """The numbers of clients.csv by column, shape (clients, rounds); NaN where there is none."""
    names = [f"{view}.{column}" for view in _views(run) for column in COLUMNS.values()]
    rows = run.clients
    clients = len(rows) // rounds
    lacking = [name for name in names if rows and name not in rows[0]]
    if lacking or clients * rounds != len(rows) or not clients:
        what = f"lacks {lacking[0]}" if lacking else f"has {len(rows)} rows for {rounds} rounds"
        raise DataError(f"{run.folder / 'clients.csv'} {what}; remove the record and run it again")
    ordered = sorted(rows, key=lambda row: (_number(row["round"]), _number(row["client"])))
    return {
        name: np.array([_number(row.get(name)) for row in ordered]).reshape(rounds, clients).T
        for name in ("cluster", *names)
    }


def _clients(arm: Arm, kept: NDArray[np.bool_]) -> Arm:
    clusters = None if arm.clusters is None else arm.clusters[:, kept]
    risks = {name: values[:, kept] for name, values in arm.risks.items()}
    return Arm(arm.label, arm.deployed, arm.views, risks, clusters, arm.diagnostics, arm.badges)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
