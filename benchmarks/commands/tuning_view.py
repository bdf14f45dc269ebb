"""What `fl-bench tune` prints (benchmarks room): the plan before anything runs, and what was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..leaderboard.budgets import how_choices_vary
from ..running.estimates import Estimates
from ..running.forecast import forecast
from ..running.schedule import round_seconds
from ..statistics.verdicts import many
from ..tables.printing import print_json, print_table
from ..tables.terminal import make_console, say
from ..tables.values import show_seconds

if TYPE_CHECKING:
    from ...federation.settings import Execution
    from ..records.store import Store
    from ..tuning.asked import Asked
    from ..tuning.ledger import Ledger
    from ..tuning.study import Study


def print_plan(
    asked: Asked, study: Study, store: Store, devices: list[str], execution: Execution, *, as_json: bool
) -> None:
    """What would be tried of each method, how many runs that are at most, and how long they take."""
    budget = asked.budget
    waiting = len(study.waiting())
    estimates = Estimates(devices, execution, round_seconds(store.readable()[0]))
    runs = [
        [cell for place in asked.places for cell in method.cells({}, place, budget.seeds[:1], 0)]
        for method in asked.methods
    ]
    estimates.prepare(cell for cells in runs for cell in cells)
    rows: list[dict[str, Any]] = []
    for method, cells in zip(asked.methods, runs, strict=True):
        seconds = [estimates.seconds(cell, forecast(cell))[0] for cell in cells]
        found = [value for value in seconds if value is not None]
        each = sum(found) * len(budget.seeds) if len(found) == len(seconds) else None
        rows.append(
            {
                "method": method.entry.label,
                "tuned": {name: str(space) for name, space in method.spaces.items()},
                "fixed": method.fixed,
                "capped": method.capped,
                "trials": budget.trials * budget.repeat,
                "seconds_per_trial": each,
            }
        )
    unknown = [row["method"] for row in rows if row["seconds_per_trial"] is None]
    total = sum(row["trials"] * row["seconds_per_trial"] for row in rows if row["seconds_per_trial"] is not None)
    plan = {
        "grid": asked.file.name,
        "methods": rows,
        "unsupported": asked.unsupported,
        "runs_at_most": asked.most_runs,
        "runs_recorded": study.recorded,
        "core_hours_at_most": None if unknown else total / 3600,
    }
    if as_json:
        print_json(plan)
        return
    console = make_console(stderr=True)
    shown = [
        {
            "method": row["method"],
            "tuned": ", ".join(f"{name} {over}" for name, over in row["tuned"].items()) or "nothing",
            "a trial": show_seconds(row["seconds_per_trial"]),
        }
        for row in rows
    ]
    print_table(console, shown, title=f"tuning of {asked.file.name}", folding=("method", "tuned"))
    repeated = f", {budget.repeat} times" if budget.repeat > 1 else ""
    say(
        f"{many(len(rows), 'method')} x {budget.trials} trials x {many(len(asked.places), 'data set')} x "
        f"{many(len(budget.seeds), 'seed')}{repeated}: at most {asked.most_runs} runs, "
        f"{study.recorded} of them recorded, {waiting} to begin with"
    )
    for label, reason in asked.unsupported.items():
        say(f"not tuned: {label} cannot run in this grid: {reason}")
    fixed = [f"{row['method']} {', '.join(row['fixed'])}" for row in rows if row["fixed"]]
    if fixed:
        say(f"not tuned, because the grid sets it: {'; '.join(fixed)}")
    if uncapped := [row["method"] for row in rows if not row["capped"]]:
        say(f"batch size, epochs and the like are not tuned, as steps are not known in advance: {', '.join(uncapped)}")
    for row in rows:
        if not row["tuned"]:
            say(f"{row['method']}: has nothing to tune; only its entry in the grid is tried")
    if len(unknown) == len(rows):
        say("the time cannot be estimated before some runs are recorded")
        return
    at_once = f"; {show_seconds(total / len(devices))} with {len(devices)} at a time" if len(devices) > 1 else ""
    without = f", not counting {', '.join(unknown)}, whose time is not known" if unknown else ""
    say(
        f"at most {total / 3600:.2g} core-hours ({show_seconds(total)}{at_once}){without}, on an idle machine and "
        "without the start of processes; no trial takes more steps than its method's entry in the grid"
    )


def print_choices(ledger: Ledger) -> None:
    """What was chosen of each method, and what it gained."""
    rows = []
    for search in ledger.tunings[0].searches:
        first, best = search.curve[0], search.curve[-1]
        usual = search.trials[0].settings
        changed = {name: value for name, value in search.choice.settings.items() if value != usual[name]}
        rows.append(
            {
                "method": search.method,
                **({"data set": search.places[0]} if ledger.per == "dataset" else {}),
                "trials": len(search.trials),
                "stopped": sum(trial.status == "stopped" for trial in search.trials),
                "failed": sum(trial.status == "failed" for trial in search.trials),
                "val %": "" if best is None else f"{best:.2f}",
                "gain": "" if best is None or first is None else f"{best - first:+.2f}",
                "chosen": ", ".join(f"{name}={_short(value)}" for name, value in changed.items()) or "as in the grid",
                "at an edge": ", ".join(f"{name} {side}" for name, side in search.edges.items()),
            }
        )
    if not any(row["at an edge"] for row in rows):
        rows = [{name: value for name, value in row.items() if name != "at an edge"} for row in rows]
    print_table(make_console(), rows, title="chosen by validation accuracy", folding=("method", "chosen", "at an edge"))
    for search in ledger.tunings[0].searches:
        for step in search.widened:
            say(
                f"{search.method}: {step.setting} was best at its {step.side} edge, and searched over {step.space} "
                f"from trial {step.before} on"
            )
        if search.exhausted:
            say(f"{search.method}: all there was to try was tried, in {many(len(search.trials), 'trial')}")
    if varied := how_choices_vary(ledger):
        say(varied)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
