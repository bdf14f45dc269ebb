"""The command `fl-bench run` (benchmarks room): what is missing of a grid is run, and the comparison is printed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import DataError

from ..tables.terminal import make_console, say
from .damaged import say_damaged
from .options import (
    FAILED,
    RESULTS,
    AsJson,
    Changes,
    Clients,
    Concentration,
    DataDir,
    Datasets,
    Device,
    Download,
    ExecutorName,
    Explain,
    GridName,
    Groups,
    Jobs,
    Methods,
    Mixing,
    Out,
    Participation,
    Plugins,
    Public,
    Rounds,
    Scheme,
    Select,
    Settings,
    Timeout,
    Trackers,
    Use,
    Verbose,
    Wait,
    check_timeout,
    given_flags,
    read_selection,
)
from .reasons import say_reasons
from .supervision import fetch, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid.cell import Cell
    from ..grid.grid import Grid
    from ..leaderboard.reported import Selection
    from ..records.store import Store
    from ..running.executor import Executor
    from ..running.runner import Ending


def run(
    grid: GridName = "quick",
    methods: Methods = None,
    exclude: Annotated[str | None, typer.Option("--exclude", metavar="A,B", help="Methods to leave out.")] = None,
    datasets: Datasets = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0-4", help="Seeds instead of the grid's, such as 0-4 or 0,2,5.")
    ] = None,
    rounds: Rounds = None,
    scheme: Scheme = None,
    clients: Clients = None,
    groups: Groups = None,
    alpha: Concentration = None,
    mixing: Mixing = None,
    public: Public = None,
    participation: Participation = None,
    settings: Settings = None,
    changes: Changes = None,
    jobs: Jobs = None,
    device: Device = None,
    executor: ExecutorName = "local",
    use: Use = None,
    out: Out = RESULTS,
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    timeout: Timeout = None,
    tracker: Trackers = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Repeat runs that failed, timed out, diverged or were unsupported.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Repeat all runs; existing records move to `superseded` in the folder."),
    ] = False,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Save the models that clients deploy at the end, beside each record."),
    ] = False,
    wait: Wait = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, with estimates; run nothing.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="As --dry-run, but measure the time of a training step again.")
    ] = False,
    verbose: Verbose = False,
    select: Select = "last",
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Run every method of a grid on every data set and seed.

    Prints the comparison. Finished runs are not repeated, so the same command resumes a grid that was stopped.

    Give an option several values to run the comparison once with each: --alpha 0.1,1 or -o "training.lr=[0.01,0.1]".

    The exit code is 1 if a run failed, timed out or is held by another process, and 2 if a value is invalid.

    \b
    fl-bench run --methods cosmos,fedmd
    fl-bench run --methods "cosmos[clusters=3],fedmd" --seeds 0-4 -o training.lr=0.01
    fl-bench run --scheme dirichlet-class --alpha 0.1,1,10 --methods "cosmos[clusters=2|3],fedmd"
    fl-bench run my-grid.yaml --jobs 4 --dry-run
    """
    from ...federation.settings import Execution
    from ..export.live import followed, read_tracker
    from ..grid.configure import configure
    from ..grid.dealing import dealt_otherwise
    from ..grid.exclusion import without
    from ..grid.executors import read_executor
    from ..grid.grid import Overrides, expand, find_grid, grid_words, read_grid, scheme_changes
    from ..grid.plain_yaml import assignments
    from ..grid.plugins import load_plugins
    from ..records.store import Store
    from ..running.executor import check_keeps_models
    from ..running.runner import Options, finished
    from ..running.schedule import Schedule, earlier_runs, round_seconds
    from ..running.waiting import until_ended
    from .outdated import superseded_by
    from .preparing import declare_comparison, look, look_for_shared_rows, open_results, say_without_models, tuning_of

    selection = read_selection(select)
    check_timeout(timeout)
    plugins = plugin or []
    execution = configure(Execution, assignments(use or (), "--use", "threads=2"), "--use")
    load_plugins(plugins)
    chosen: Executor = read_executor(executor, {"jobs": jobs, "device": device})
    if keep_models:
        check_keeps_models(chosen, executor)
    trackers = [read_tracker(text) for text in tracker or ()]
    path = find_grid(grid)
    flags = given_flags(
        scheme=scheme,
        clients=clients,
        groups=groups,
        alpha=alpha,
        mixing=mixing,
        public=public,
        participation=participation,
    )
    overrides = Overrides(methods, datasets, seeds, rounds, settings, changes or (), flags)
    file = read_grid(path)
    expanded = expand(file, grid_words(path), overrides)
    if exclude is not None:
        expanded = without(expanded, exclude)
    for sentence in scheme_changes(file, overrides):
        say(sentence)
    tuning = tuning_of(file, expanded, path)
    store = Store(out.absolute())  # wherever a plugin may go
    if dry_run or estimate:
        from .dry_run import print_plan

        ledger, slots = None if tuning is None else tuning[0], chosen.slots()
        print_plan(
            expanded,
            store,
            slots,
            execution,
            retry=retry,
            force=force,
            as_json=as_json,
            anew=estimate,
            ledger=ledger,
        )
        return
    open_results(store, tuning)
    waiting, earlier = look(expanded, store, retry=retry)
    fetch(expanded.cells if force else waiting, data_dir, download=download)
    chosen.slots()  # what is wrong with it is said before anything runs
    for one in trackers:
        one.ready()
    if force:
        _supersede(expanded, store)
        waiting, earlier = list(expanded.cells), []
    _say_what_is_there(expanded, store, waiting, earlier)
    if keep_models:
        say_without_models(earlier)
    for sentence in dealt_otherwise(expanded.cells):
        say(sentence)
    if waiting:
        look_for_shared_rows(expanded, store, data_dir)
    declare_comparison(expanded, path, store, len(expanded.cells) - len(waiting))
    for record in superseded_by(waiting, store.repeated(waiting)):
        store.drop_checkpoint_of(record)
    folder = None if data_dir is None else str(data_dir)
    options = Options(
        data_dir=folder, plugins=tuple(plugins), retry=retry, keep_models=keep_models, execution=execution
    )
    schedule = Schedule(waiting, round_seconds(earlier_runs(store, waiting)))
    run_cells = partial(chosen.run, timeout=timeout)
    running = (
        until_ended(run_cells, schedule.cells, store, options) if wait else run_cells(schedule.cells, store, options)
    )
    events = followed(running, trackers) if trackers else running
    code, skipped = run_all(schedule, events, store.results, verbose=verbose)
    if code == 0:
        code = _conclude(expanded, store, selection, as_json=as_json, explain=explain)
        missing = sum(finished(cell, store, retry=retry) is None for cell in skipped)
        if missing:
            say(
                f"not in yet, another process has them: {missing}; "
                f"run the same command again when it has ended, or with --wait"
            )
            code = FAILED
    raise typer.Exit(code)


def _supersede(grid: Grid, store: Store) -> None:
    """Move what there is of a grid out of the way."""
    from ..records.index import place_of
    from ..records.recovery import SUPERSEDED, supersede
    from ..statistics.verdicts import many

    moved = supersede(store, [place_of(cell.folder) for cell in grid.cells])
    if moved:
        say(
            f"moved {many(len(moved), 'record')} to {store.results / SUPERSEDED}; should this stop, the same command "
            "without --force goes on"
        )


def _conclude(grid: Grid, store: Store, selection: Selection, *, as_json: bool, explain: bool) -> int:
    """Print the comparison of a grid's records; the exit code is 1 when a run failed or timed out, or is damaged."""
    from ..leaderboard.lines import lines
    from ..tables.results import print_lines_json, print_results
    from ..tuning.travel import ledger_in

    store.look_again()  # workers and other processes have written records
    found, damaged = [], []
    for cell in grid.cells:
        try:
            record = store.find(cell)
            if record is not None:
                _ = record.rounds  # read now, so that a damaged table is named here
                found.append((cell, record))
        except DataError as error:
            damaged.append(str(error))
    records = [record for _, record in found]
    board = lines(records, selection, ledger_in(store.results))
    if as_json:
        print_lines_json(board)
    else:
        print_results(make_console(), board, explain=explain)
    cells = {record.name: cell for cell, record in found}
    say_reasons(
        records,
        lambda record: (
            f"; --retry goes on after round {len(record.rounds) - 1}"
            if store.has_checkpoint(cells[record.name])
            else ""
        ),
    )
    say(f"records: {store.runs}\nleaderboards of all records: fl-bench leaderboard {store.results}")
    say_damaged(damaged)
    return FAILED if damaged or any(record.status in ("failed", "timeout") for record in records) else 0


def _say_what_is_there(grid: Grid, store: Store, waiting: Sequence[Cell], earlier: Sequence[Ending]) -> None:
    from .outdated import outdated, sentence

    bad = [ending for ending in earlier if ending.status != "done"]
    damaged = len(grid.cells) - len(waiting) - len(earlier)
    parts = [f"{len(grid.cells)} runs", f"{len(earlier)} of them finished earlier"]
    if damaged:
        parts.append(f"{damaged} have a damaged record and are left out")
    if bad:
        parts.append(f"{len(bad)} of those not done (--retry runs them again)")
    say(f"{grid.name}: {', '.join(parts)}")
    moved = sentence(outdated(waiting, store.repeated(waiting)), grid.cells)
    if moved:
        say(moved)
