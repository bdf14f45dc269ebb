"""The command `fl-bench run` (benchmarks room): what is missing of a grid is run, and the comparison is printed."""

from __future__ import annotations

import hashlib
import signal
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fl_bench.errors import ConfigError, DataError

from ..tables.terminal import make_console, say
from .damaged import say_damaged
from .options import FAILED, STOPPED, AsJson, Changes, DataDir, Download, Out, Plugins, Select, read_selection

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..grid.grid import Grid
    from ..leaderboard.reported import Selection
    from ..records.store import Store
    from ..running.executor import Event, Executor
    from ..running.runner import Ending
    from ..running.schedule import Schedule

STOPS = (signal.SIGINT, signal.SIGTERM)
"""What stops a grid: Ctrl-C, and what batch systems send."""


def run(
    grid: Annotated[
        str, typer.Argument(metavar="[GRID]", help="A YAML file, or a grid of `fl-bench list grids`.")
    ] = "quick",
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B[KEY=VALUE;...]", help="Methods instead of the grid's; `all` for every method."),
    ] = None,
    datasets: Annotated[str | None, typer.Option(metavar="A,B", help="Data sets instead of the grid's.")] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0-4", help="Seeds instead of the grid's: 0-4, or 0,2,5.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds instead of the grid's.")] = None,
    settings: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these of the grid's settings, which are named changes.")
    ] = None,
    changes: Changes = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time. Default: a run per core; on GPUs as many as memory and cores are there for."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="auto|cpu|cuda:0|mps", help="Where runs compute. Default: on a GPU, if there is one."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            metavar="NAME[KEY=VALUE;...]|FILE.yaml",
            help="What runs the cells, of `fl-bench list executors`; --jobs and --device are settings of it.",
        ),
    ] = "local",
    use: Annotated[
        list[str] | None,
        typer.Option(
            "--use",
            metavar="KEY=VALUE",
            help="How runs use the machine, results being the same but for rounding: threads=2, stack=50, "
            "graphs=false, channels_last=true, compile=true.",
        ),
    ] = None,
    out: Out = Path("results"),
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="End a run that takes longer. Its record keeps the finished rounds; --retry gives it as long again, "
            "from there.",
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run again what failed, timed out, diverged or was unsupported.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for runs that other processes have, and run what they leave undone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, with estimates; run nothing.")
    ] = False,
    select: Select = "last",
    as_json: AsJson = False,
) -> None:
    """Run a grid: every method on every data set with every seed, and print the comparison.

    Runs that are done are not run again, so the same command continues what was stopped. Ends with exit code 1
    when a run failed, timed out or is still in another process's hands, 2 when something asked for is impossible.

    \b
    fl-bench run --methods cosmos,fedmd
    fl-bench run --methods "cosmos[clusters=3],fedmd" --seeds 0-4 -o training.lr=0.01
    fl-bench run my-grid.yaml --jobs 4 --dry-run
    """
    from ...federation.settings import Execution
    from ..grid.configure import configure
    from ..grid.executors import read_executor
    from ..grid.grid import Overrides, expand, find_grid, read_grid
    from ..grid.plain_yaml import assignments
    from ..grid.plugins import load_plugins
    from ..records.recovery import recover
    from ..records.store import Store
    from ..running.runner import Options, finished
    from ..running.schedule import Schedule, earlier_runs, round_seconds
    from ..running.waiting import until_ended
    from .outdated import superseded_by

    selection = read_selection(select)
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"--timeout must be above 0 seconds, got {timeout:g}")
    plugins = plugin or []
    execution = configure(Execution, assignments(use or (), "--use", "threads=2"), "--use")
    load_plugins(plugins)
    chosen: Executor = read_executor(executor, {"jobs": jobs, "device": device})
    path = find_grid(grid)
    overrides = Overrides(methods, datasets, seeds, rounds, settings, changes or ())
    expanded = expand(read_grid(path), str(path), overrides)
    store = Store(out.absolute())  # wherever a plugin may go
    if dry_run:
        from .dry_run import print_plan

        print_plan(expanded, store, chosen.slots(), execution, retry=retry, as_json=as_json)
        return
    store.check_writable()
    for place in recover(store).values():
        say(f"put back, its process was killed while it was replaced: {place}")
    waiting, earlier = _look(expanded, store, retry=retry)
    _fetch(waiting, data_dir, download=download)
    chosen.slots()  # what is wrong with it is said before anything runs
    _say_what_is_there(expanded, store, waiting, earlier)
    _declare(expanded, path, store, len(expanded.cells) - len(waiting))
    for record in superseded_by(waiting, store.repeated(waiting)):
        store.drop_checkpoint_of(record)
    folder = None if data_dir is None else str(data_dir)
    options = Options(data_dir=folder, plugins=tuple(plugins), retry=retry, execution=execution)
    schedule = Schedule(waiting, round_seconds(earlier_runs(store, waiting)))
    run_cells = partial(chosen.run, timeout=timeout)
    running = (
        until_ended(run_cells, schedule.cells, store, options) if wait else run_cells(schedule.cells, store, options)
    )
    code, skipped = _run_all(schedule, running)
    if code == 0:
        code = _conclude(expanded, store, selection, as_json=as_json)
        missing = sum(finished(cell, store, retry=retry) is None for cell in skipped)
        if missing:
            say(
                f"not in yet, another process has them: {missing}; "
                f"run the same command again when it has ended, or with --wait"
            )
            code = FAILED
    raise typer.Exit(code)


def _run_all(schedule: Schedule, running: Generator[Event, None, None]) -> tuple[int, list[Cell]]:
    """Report what happens to the cells until they are run.

    Returns:
        The exit code, 0 unless stopped, or a record cannot be written, or what runs the cells is gone; and the cells
        left to other processes.
    """
    from ..records.record import RecordError
    from ..running.executor import ExecutorLost
    from .progress import reporter

    skipped: list[Cell] = []
    # A background job of a shell ignores Ctrl-C, and goes on doing so.
    heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heard}
    try:
        with (
            reporter(make_console(stderr=True), len(schedule.cells), schedule.left) as report,
            closing(running) as events,
        ):
            for event in events:
                schedule.take(event)
                report.take(event)
                if event.kind == "skipped":
                    skipped.append(event.cell)
    except (RecordError, ExecutorLost) as error:
        say(f"error: {error}\nwhat was running is kept; run the same command again to continue")
        return FAILED, skipped
    except KeyboardInterrupt as error:
        say(str(error) or "stopped; run the same command again to continue")
        return STOPPED, skipped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0, skipped


def _look(grid: Grid, store: Store, *, retry: bool) -> tuple[list[Cell], list[Ending]]:
    """The cells of a grid that have to run, and how others ended; one whose record is damaged is neither."""
    from ..running.runner import finished

    waiting, earlier = [], []
    for cell in grid.cells:
        with suppress(DataError):  # it is named when the grid ends
            ending = finished(cell, store, retry=retry)
            if ending is None:
                waiting.append(cell)
            else:
                earlier.append(ending)
    return waiting, earlier


def _declare(grid: Grid, path: Path, store: Store, recorded: int) -> None:
    """Write what the grid declares of its comparison beside the records, before any more of them are made."""
    from ..records.declarations import Declared, declare, now

    if grid.declaration is None:
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    before = declare(store, Declared(grid.name, digest, now(), recorded, len(grid.cells), grid.declaration))
    if before is not None:
        say(
            f"the grid {grid.name} declared another comparison at {before.date}: it is kept, and this one counts as "
            f"declared after {recorded} of {len(grid.cells)} runs"
        )


def _conclude(grid: Grid, store: Store, selection: Selection, *, as_json: bool) -> int:
    """Print the comparison of a grid's records; the exit code is 1 when a run failed or timed out, or is damaged."""
    from ..leaderboard.lines import lines
    from ..tables.results import print_lines_json, print_results

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
    board = lines(records, selection)
    if as_json:
        print_lines_json(board)
    else:
        print_results(make_console(), board)
    for cell, record in found:
        if record.status in ("failed", "timeout", "diverged"):
            on = f"; --retry goes on after round {len(record.rounds) - 1}" if store.has_checkpoint(cell) else ""
            say(f"{record.status}: {record.folder}: {record.reason}{on}")
    say(f"records: {store.runs}\nleaderboards of all records: fl-bench leaderboard {store.results}")
    say_damaged(damaged)
    return FAILED if damaged or any(record.status in ("failed", "timeout") for record in records) else 0


def _fetch(cells: Sequence[Cell], data_dir: Path | None, *, download: bool) -> None:
    """Make sure that all data are there before the first run starts."""
    from ...datasets.catalogue import available, load_dataset

    chosen = [choice for cell in cells for choice in (cell.dataset, cell.foreign) if choice is not None]
    for location in dict.fromkeys(choice.location for choice in chosen):
        if not available(location, data_dir=data_dir)[0]:
            load_dataset(location, data_dir=data_dir, download=download)  # downloads, or says what is missing


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


def _interrupt(*_: Any) -> NoReturn:
    """Stop; who asks again while workers are being stopped does not keep them from it."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
