"""What a grid would do (benchmarks room): each cell's state, bytes and steps in closed form, estimated time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fl_bench.errors import DataError

from ...datasets.catalogue import family_of
from ...methods.planning import KINDS
from ...methods.registry import METHODS
from ..grid.cell import short_hash
from ..grid.dealing import dealt_otherwise
from ..grid.repetition import Repetition
from ..leaderboard.naming import in_setting, setting_hash, setting_names
from ..leaderboard.own_rate import MARK, OWN_RATE, OWN_STEPS, STEPS_MARK, own_rates
from ..leaderboard.training_rules import planned_rules
from ..records.continuing import finished_rounds
from ..records.index import place_of
from ..running.estimates import Estimates
from ..running.forecast import forecast
from ..running.schedule import round_seconds
from ..tables.printing import print_json, print_table
from ..tables.terminal import make_console, say
from ..tables.values import show_count, show_seconds
from .outdated import outdated, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...federation.settings import Execution
    from ...methods.planning import Kind
    from ..grid.cell import Cell
    from ..grid.grid import Grid
    from ..leaderboard.training_rules import LocalRules
    from ..records.record import Record
    from ..records.store import Store
    from ..running.forecast import Forecast
    from ..statistics.plan import Plan
    from ..statistics.table import Blocks
    from ..tuning.ledger import Ledger

REMARKS = {
    "most": "steps depend on the data; these are approximate upper limits",
    "expected": "steps depend on the data or on random draws; these are expected values",
}
"""What a `Plan` may say of its steps, in words."""


def print_plan(
    grid: Grid,
    store: Store,
    devices: Sequence[str],
    execution: Execution,
    *,
    retry: bool,
    as_json: bool,
    anew: bool = False,
    ledger: Ledger | None = None,
    force: bool = False,
) -> None:
    """Print what would happen to each cell, and what the grid will not be able to show; see `plan_grid`."""
    rows = plan_grid(grid, store, devices, execution, retry=retry, anew=anew, force=force)
    if as_json:
        print_json(rows)
        return
    console = make_console()
    kinds = [kind for kind in KINDS if any(row[f"steps_{kind}"] for row in rows)]
    for (dataset, setting), own in groupby(rows, key=itemgetter("dataset", "setting")):
        title = in_setting(dataset, setting)
        print_table(console, [_shown(row, kinds) for row in own], title=title, folding=("method", "seed", "state"))
    waiting = [row["estimated_seconds"] for row in rows if row["estimated_seconds"] is not None]
    remarks = [
        "up, down: bytes per client and round, from the plan of the method; the public pool may be larger by one "
        "sample per class, and so may the steps on it.",
        *([f"{', '.join(kinds)}: training steps of a run, for clients of equal size."] if kinds else ()),
        *_remarks(rows),
        *dict.fromkeys(f"{MARK} {row['method']}: {OWN_RATE}, {row['own_rate']}" for row in rows if row["own_rate"]),
        *dict.fromkeys(
            f"{STEPS_MARK} {row['method']}: {OWN_STEPS}, {row['own_steps']}" for row in rows if row["own_steps"]
        ),
        f"Estimate: {len(waiting)} of {len(rows)} runs take {show_seconds(sum(waiting))}, or "
        f"{show_seconds(sum(waiting) / min(len(devices), max(len(waiting), 1)))} with {len(devices)} at a time",
    ]
    held = sum(row["state"] == "running" for row in rows)
    if held:
        remarks.append(
            f"Running elsewhere: {held} of {len(rows)} runs; `run` leaves them out, and `run --wait` waits for them."
        )
    for remark in remarks:
        console.print(remark, markup=False, highlight=False)
    moved = sentence({row["key"]: row["moved"] for row in rows if row["moved"]}, grid.cells)
    notes = [*dealt_otherwise(grid.cells), *grid_rates(grid, ledger), *grid_power(grid), *grid_chances(grid, store)]
    unwritable = store.why_not_writable()
    for said in (*([moved] if moved else ()), *notes, *([unwritable] if unwritable else ())):
        say(said)


def _shown(row: Mapping[str, Any], kinds: Sequence[Kind]) -> dict[str, Any]:
    """The cells of a row that fit into 80 columns."""
    return {
        "method": " ".join(
            [row["method"], *([MARK] if row["own_rate"] else []), *([STEPS_MARK] if row["own_steps"] else [])]
        ),
        "seed": Repetition.of(row).shown,
        "state": row["state"],
        "up": show_count(row["up_bytes_per_client_round"]),
        "down": show_count(row["down_bytes_per_client_round"]),
        **{kind: show_count(row[f"steps_{kind}"]) for kind in kinds},
        "time": show_seconds(row["estimated_seconds"]),
    }


def _remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """By which engine cells would run, what times are estimated from, why cells do not run: each with its cells."""
    everything = dict.fromkeys(f"{row['dataset']}/{row['method']}" for row in rows)
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        moved = f"protocol: {row['moved']}" if row["moved"] and not row["reason"] else None
        for what, words in (
            ("engine: ", row["engine"]),
            ("time from: ", row["estimated_from"]),
            ("", REMARKS.get(row["steps"])),
            ("", row["reason"] or moved),
        ):
            if words:
                found.setdefault(what + words, {})[f"{row['dataset']}/{row['method']}"] = None
    return [
        words if cells.keys() == everything.keys() else f"{words} ({', '.join(cells)})"
        for words, cells in found.items()
    ]


def plan_grid(
    grid: Grid,
    store: Store,
    devices: Sequence[str],
    execution: Execution,
    *,
    retry: bool,
    anew: bool = False,
    force: bool = False,
) -> list[dict[str, Any]]:
    """A row per cell: what would happen to it, how, bytes and seconds.

    Args:
        grid: the cells.
        store: where records are looked for.
        devices: the device of each job.
        execution: how runs use them.
        retry: whether cells that ended badly would run again.
        anew: whether a step of each net is timed again that was timed before.
        force: whether all would, from their first round.
    Raises:
        DataError: the bundle cannot be read.
    """
    records, bad = store.readable()
    recorded = {place_of(record.name): record for record in records}
    damaged = {place_of(one.name): one.problem for one in bad}
    if force:
        recorded, damaged = {}, {}
    places = {cell.key: place_of(cell.folder) for cell in grid.cells}
    there = recorded.keys() | damaged.keys()
    moved = outdated([cell for cell in grid.cells if places[cell.key] not in there], records)
    estimates = Estimates(devices, execution, round_seconds(records), anew=anew)
    states, alikes = {}, {}
    for cell in grid.cells:
        record, problem = recorded.get(places[cell.key]), damaged.get(places[cell.key])
        state = "damaged" if problem else _state(cell, record, grid, retry=retry)
        states[cell.key] = state, store.holder(cell) if state.startswith("to run") else None
        draws = cell.repetition.seeds.draws if _draws_clients(cell) else None
        # Repetitions do the same work.
        alikes[cell.key] = short_hash({**cell.as_dict(), "seed": draws, "varied": None}, 10)
    running = {key for key, (state, holder) in states.items() if state.startswith("to run") and holder is None}
    estimates.prepare({alikes[cell.key]: cell for cell in grid.cells if cell.key in running}.values())
    settings = {cell.key: setting_hash(cell.as_dict()) for cell in grid.cells}
    names = setting_names({(cell.dataset.name, settings[cell.key]): cell.as_dict() for cell in grid.cells})
    forecasts: dict[tuple[str, bool], Forecast | None] = {}
    engines: dict[str, str] = {}
    rows = []
    for cell in grid.cells:
        place = places[cell.key]
        record, problem = recorded.get(place), damaged.get(place)
        (state, holder), alike, to_run = states[cell.key], alikes[cell.key], cell.key in running
        checkpoint = store.checkpoint(cell) if to_run and not force else None
        state = "running" if holder is not None else state if checkpoint is None else "to continue"
        if (alike, to_run) not in forecasts:
            forecasts[alike, to_run] = forecast(cell, estimates.weigh(cell) if to_run else None)
        if to_run and alike not in engines:
            engines[alike] = estimates.engine(cell)
        planned, rules = forecasts[alike, to_run], planned_rules(cell)
        up, down = (planned.up_bytes, planned.down_bytes) if planned is not None and planned.sent else (None, None)
        seconds, basis = estimates.seconds(cell, planned) if to_run else (None, "")
        if seconds is not None:
            seconds *= 1 - min(finished_rounds(checkpoint) / cell.training.rounds, 1)
        earlier = None if record is None else record.reason
        rows.append(
            {
                "dataset": cell.dataset.name,
                "setting": names[cell.dataset.name, settings[cell.key]],
                "method": cell.label,
                **cell.repetition.as_dict(),
                "state": state,
                "up_bytes_per_client_round": up if to_run else None,
                "down_bytes_per_client_round": down if to_run else None,
                **{f"steps_{kind}": None if planned is None else round(planned.work[kind].steps) for kind in KINDS},
                # Before the data are dealt, sizes are averages: what a plan has exactly is known within a few percent.
                "steps": None if planned is None else planned.steps.replace("exact", "about"),
                "engine": engines[alike] if to_run else None,
                "estimated_seconds": seconds,
                "estimated_from": basis,
                "reason": grid.unsupported.get(cell.key) or problem or (earlier if holder is None else str(holder)),
                "moved": moved.get(cell.key),
                "own_rate": rules.own or None,
                "own_steps": rules.own_steps or None,
                "key": cell.key,
            }
        )
    return rows


def grid_rates(grid: Grid, ledger: Ledger | None = None) -> list[str]:
    """A caution for each setting in which methods would train with different optimizers or rates that nobody tuned.

    Args:
        grid: what would be run.
        ledger: of the tuning that it names.
    """
    settings: dict[str, dict[str, LocalRules | None]] = {}
    for cell in grid.cells:
        if cell.key not in grid.unsupported:
            settings.setdefault(setting_hash(cell.as_dict()), {})[cell.label] = planned_rules(cell, ledger)
    return [caution for caution in dict.fromkeys(map(own_rates, settings.values())) if caution]


def grid_power(grid: Grid, alpha: float = 0.05) -> list[str]:
    """What a grid will not be able to show, whatever comes out; nothing where all tests can reject.

    Args:
        grid: what would be run.
        alpha: the level of the tests.
    """
    from ..statistics.power import families, one_dataset

    plan, methods, control = _plan(grid)
    sizes, (blocks, unit) = plan.sizes(methods, control), _blocks(grid)
    if blocks == 1 and unit == "dataset":
        tests = next(iter(sizes.values()))  # none of a single method
        return [f"power guard, {one_dataset(tests, alpha)}"] if tests else []
    return [f"power guard, {family.sentence}" for family in families(sizes, blocks, alpha, unit) if family.sentence]


def _blocks(grid: Grid) -> tuple[int, Blocks]:
    """How many independent observations a grid has, and of what."""
    chosen = [cell.dataset for cell in grid.cells if cell.key not in grid.unsupported]
    independent = {family_of(one.name, one.digest) for one in chosen}
    twins = len(independent) < len({one.name for one in chosen})
    return len(independent), "family" if twins else "dataset"


def grid_chances(grid: Grid, store: Store) -> list[str]:
    """How likely the grid shows differences, from the spread of those of its runs that are there; else nothing."""
    plan, methods, control = _plan(grid)
    records = []
    for cell in grid.cells:
        with suppress(DataError):  # `fsck` names it
            record = store.find(cell)
            if record is not None and record.status == "done" and cell.label in methods:
                records.append(record)
    there = {record.label for record in records}
    if control not in there or len(there) < 2:
        return []
    from ..statistics.chances import chances  # SciPy takes a second to load
    from ..statistics.reading import read_records
    from ..statistics.result import Options
    from ..tables.power import in_short

    meant = grid.declaration
    options = Options(control, on_missing="complete-blocks")
    if meant is not None:
        options = replace(options, alpha=meant.level, rope=meant.rope)
    seeds = {cell.seed for cell in grid.cells}
    try:
        found = chances(
            read_records(records, methods=sorted(there)),
            options,
            plan,
            blocks=_blocks(grid)[0],
            seeds=len(seeds),
            methods=methods,
            needs=False,
        )
    except DataError:  # one run of each, for one
        return []
    return [f"{said}, from the spread of {len(records)} runs that are there" for said in map(in_short, found)]


def _plan(grid: Grid) -> tuple[Plan, list[str], str | None]:
    """The tests of a grid's comparison, the methods that would be compared, and the control."""
    from ..statistics.plan import CONTROL, Plan, whole_table

    meant = grid.declaration
    pooled = {
        cell.label: METHODS[cell.method].requires.pooled_data for cell in grid.cells if cell.key not in grid.unsupported
    }
    if meant is not None:
        return Plan(meant.families(), declared=True), [name for name in meant.compared if name in pooled], meant.control
    methods = [label for label, own in pooled.items() if not own]
    control = CONTROL if CONTROL in methods else None
    return whole_table(methods, control), methods, control


def _state(cell: Cell, record: Record | None, grid: Grid, *, retry: bool) -> str:
    if record is not None:
        if record.status == "done":
            return "done"
        if not retry:
            return f"{record.status} earlier"
    if cell.key in grid.unsupported:
        return "unsupported"
    return "to run" if record is None else "to run again"


def _draws_clients(cell: Cell) -> bool:
    """Whether the seed decides who works in a round."""
    return cell.training.participation < 1 or cell.faults.absent > 0 or cell.faults.late > 0
