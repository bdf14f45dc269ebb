"""The command line `fl-bench` (benchmarks room): reads arguments, calls the modules that do the work.

Importing this module imports neither torch nor anything else that takes long: commands import what they need.
"""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import fl_bench
from fl_bench.errors import ConfigError, FLBenchError, unknown_name

from ..tables.terminal import make_console as _console
from ..tables.terminal import read_selection as _selection
from ..tables.terminal import say as _say
from .compare import compare, grid_power
from .packing import pack, unpack
from .publish import figures, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...federation.settings import Execution
    from ..grid.cell import Cell
    from ..grid.grid import Grid
    from ..leaderboard.reported import Selection
    from ..records.store import Store
    from ..running.runner import Options

WRONG, FAILED, STOPPED = 2, 1, 130
"""Exit codes: asked for something impossible; something did not end well; stopped by Ctrl-C."""

app = typer.Typer(
    help="fl-bench compares federated-learning methods: same data, same clients, same starting weights, many seeds.\n\n"
    "\b\nfl-bench run                       the quick comparison, in about a minute\n"
    "fl-bench run --methods all         every method, on the same clients\n"
    "fl-bench list methods              what there is\n"
    "fl-bench new method my-method      start a method of your own",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
new_app = typer.Typer(help="Write a file to start a plugin from.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new_app, name="new")

Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Load a plugin file; may be given again.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of records and leaderboards.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Look for data here first, and download to here.")
]
Download = Annotated[bool, typer.Option("--download", help="Fetch data that are missing.")]
Select = Annotated[
    str, typer.Option("--select", metavar="last|val", help="Report the last round, or the best on validation data.")
]
Changes = Annotated[
    list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="Change a setting; the value is YAML.")
]


def main() -> NoReturn:
    """Run the command line and end the process."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; every mistake of the user's is one message on standard error.

    Args:
        arguments: what follows `fl-bench`.
    Returns:
        The exit code.
    """
    try:
        code = app(list(arguments), prog_name="fl-bench", standalone_mode=False)
    except FLBenchError as error:
        _say(f"error: {error}")
        return WRONG
    except (KeyboardInterrupt, typer.Abort):
        return STOPPED
    except Exception as error:
        # typer brings click's exceptions under a name that depends on its version; all of them have this method.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        text = message()
        _say(text if text.startswith("Usage") else f"error: {text}")
        return WRONG
    return code if isinstance(code, int) else 0


def _version(asked: bool) -> None:
    if asked:
        print(f"fl-bench {fl_bench.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of `fl-bench` itself."""


@app.command()
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
    changes: Changes = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time. Default: a run per core; on GPUs as many as memory and cores are there for."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda:0", help="Where runs compute.")] = "auto",
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
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="End a run that takes longer.")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run again what failed, timed out, diverged or was unsupported.")
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
    from ..grid.configure import assignments, configure
    from ..grid.grid import Overrides, expand, find_grid, read_grid
    from ..grid.plugins import load_plugins
    from ..records.store import Store
    from ..running.local import choose_devices
    from ..running.provenance import available_cores
    from ..running.runner import Options, finished

    selection = _selection(select)
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"--timeout must be above 0 seconds, got {timeout:g}")
    plugins = plugin or []
    execution = configure(Execution, assignments(use or (), "--use", "threads=2"), "--use")
    load_plugins(plugins)
    path = find_grid(grid)
    expanded = expand(read_grid(path), str(path), Overrides(methods, datasets, seeds, rounds, changes or ()))
    store = Store(out)
    if dry_run:
        devices = choose_devices(device, jobs)
        _dry_run(expanded, store, devices, execution, retry=retry, as_json=as_json)
        return
    store.check_writable()
    waiting = [cell for cell in expanded.cells if finished(cell, store, retry=retry) is None]
    _fetch(waiting, data_dir, download=download)
    devices = choose_devices(device, jobs)
    _say_what_is_there(expanded, store, waiting)
    folder = None if data_dir is None else str(data_dir)
    options = Options(data_dir=folder, plugins=tuple(plugins), retry=retry, execution=execution)
    code, skipped = _run_all(waiting, store, options, devices, most=0 if jobs else available_cores(), timeout=timeout)
    if code == 0:
        code = _conclude(expanded, store, selection, as_json=as_json)
        missing = sum(finished(cell, store, retry=retry) is None for cell in skipped)
        if missing:
            _say(f"not in yet, another process has them: {missing}; run the same command again when it has ended")
            code = FAILED
    raise typer.Exit(code)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(metavar="methods|datasets|models|partitions|grids", help="What to list.")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List what there is to choose from, plugins included.

    \b
    fl-bench list methods
    fl-bench list datasets --json
    """
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table
    from .listing import CAPTIONS, COLUMNS, LISTINGS

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    load_plugins(plugin or [])
    rows = LISTINGS[what]()
    if as_json:
        print_json(rows)
    else:
        shown = [{name: row[name] for name in COLUMNS.get(what, row)} for row in rows]
        print_table(_console(), shown, caption=CAPTIONS.get(what, ""))


@app.command()
def describe(
    method: Annotated[str, typer.Argument(help="A method of `fl-bench list methods`.")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Explain a method: its paper and formulas, what it needs and sends, all its settings, a command to try.

    \b
    fl-bench describe cosmos
    fl-bench describe ditto --json
    """
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table, print_text
    from ..tables.values import show
    from .listing import SYMBOLS
    from .listing import describe as look_up

    load_plugins(plugin or [])
    facts = look_up(method)
    if as_json:
        print_json(facts)
        return
    console = _console()
    print_text(console, facts.pop("text"))
    settings, example = facts.pop("settings"), facts.pop("example")
    rows = [{"": name, method: show(value) or "none"} for name, value in facts.items() if name != "name"]
    print_table(console, rows, caption=SYMBOLS if facts["payloads"] else "")
    console.print()
    if settings:
        print_table(console, settings, title="settings")
        console.print()
    print_text(console, f"To try it:\n\n    {example}")


@app.command()
def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A record's folder, or a part of its name that no other has.")
    ],
    out: Out = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Show one run: its settings, a row per round and a curve.

    \b
    fl-bench show results/runs/digits/cosmos-0-1a2b3c4d5e
    fl-bench show cosmos-0
    """
    from ..tables.printing import print_json
    from .run_view import find_record, print_record

    record = find_record(run, out)
    if as_json:
        print_json({**record.run, "rounds": record.rounds})
    else:
        print_record(_console(), record)


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Argument(metavar="[RESULTS]", help="Folder of records, or a bundle.")] = Path(
        "results"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if files differ from the records.")
    ] = False,
    select: Select = "last",
    as_json: AsJson = False,
) -> None:
    """Rebuild the leaderboards from the records, byte for byte: RESULTS/leaderboards/*.csv.

    \b
    fl-bench leaderboard
    fl-bench leaderboard results --check
    """
    from ..leaderboard.files import differences, files, write
    from ..leaderboard.lines import lines
    from ..records.store import Store, read_results
    from ..tables.results import print_lines_json, print_results

    selection = _selection(select)
    records = read_results(results)
    content = files(records, selection)
    folder = Store(results).results / "leaderboards"
    if check:
        found = differences(folder, content)
        if found:
            _say("\n".join(found))
            _say(f"{folder} differs from the records; `fl-bench leaderboard {results}` rebuilds it")
            raise typer.Exit(FAILED)
        _say(f"{folder} is what {len(records)} records say")
        return
    write(folder, content)
    board = lines(records, selection)
    if as_json:
        print_lines_json(board)
    else:
        print_results(_console(), board)
        _say(f"wrote {', '.join(sorted(content))} to {folder}")


app.command()(compare)
app.command()(figures)
app.command()(report)
app.command()(pack)
app.command()(unpack)


@app.command()
def doctor(data_dir: DataDir = None, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Say what this machine has: versions, devices, threads, data.

    \b
    fl-bench doctor
    """
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table
    from .doctor import examine

    load_plugins(plugin or [])
    rows = examine(data_dir)
    if as_json:
        print_json(rows)
    else:
        print_table(_console(), rows)


@app.command()
def partition(
    dataset: Annotated[str, typer.Argument(help="A data set of `fl-bench list datasets`.")],
    scheme: Annotated[str, typer.Option(help="A scheme of `fl-bench list partitions`.")] = "latent-groups",
    clients: Annotated[int | None, typer.Option(help="Number of clients.")] = None,
    groups: Annotated[int | None, typer.Option(help="Number of latent groups.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Dirichlet concentration.")] = None,
    mixing: Annotated[float | None, typer.Option(help="Share of samples mixed between groups.")] = None,
    public: Annotated[float | None, typer.Option(help="Share of samples in the public pool.")] = None,
    changes: Changes = None,
    seed: Annotated[int, typer.Option(help="Seed of the partition.")] = 0,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the picture as PNG.")] = None,
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Show how a data set would be dealt to clients: sizes, a picture, measured heterogeneity.

    Settings of a scheme that have no option of their own are given with -o, as in a grid's `partition`.

    \b
    fl-bench partition digits --scheme latent-groups --clients 25
    fl-bench partition digits --scheme shards -o shards_per_client=2 --png shards.png
    """
    from ..grid.cell import resolve_partition
    from ..grid.grid import Overrides, parse_options, parse_seeds
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json
    from .partition_view import examine, print_partition, write_png

    load_plugins(plugin or [])
    options = {"clients": clients, "groups": groups, "alpha": alpha, "mixing": mixing, "public": public}
    given = {name: value for name, value in options.items() if value is not None}
    values = parse_options(Overrides(options=changes or ()))
    for name in values.keys() & given.keys():
        raise ConfigError(f"--{name} and -o {name} are the same setting; give one of them")
    chosen, settings = resolve_partition({"scheme": scheme, **given, **values})
    parse_seeds([seed])
    view = examine(dataset, chosen, settings, seed, data_dir=data_dir, download=download)
    if as_json:
        print_json(view)
    else:
        print_partition(_console(), view)
    if png is not None:
        write_png(view, png)
        _say(f"wrote {png}")


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens, such as my-method.")],
    folder: Annotated[Path, typer.Option("--dir", metavar="FOLDER", help="Where to write.")] = Path(),
) -> None:
    """Write a complete working method to change, and its test.

    \b
    fl-bench new method my-method
    fl-bench run --plugin my_method.py --methods my-method,fedmd
    pytest test_my_method.py
    """
    from .scaffold import new_method as write_files

    plugin, test = write_files(name, folder)
    _say(f"wrote {plugin} and {test}; next:")
    print(f"fl-bench run --plugin {plugin} --methods {name},fedmd\npytest {test}")


def _run_all(
    cells: Sequence[Cell],
    store: Store,
    options: Options,
    devices: Sequence[str],
    *,
    most: int,
    timeout: float | None,
) -> tuple[int, list[Cell]]:
    """Run the cells in workers and report.

    Returns:
        The exit code, 0 unless stopped or a record could not be written, and the cells left to other processes.
    """
    from ..records.record import RecordError
    from ..running.local import run_cells
    from .progress import reporter

    skipped: list[Cell] = []
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with (
            reporter(_console(stderr=True), len(cells)) as report,
            closing(run_cells(cells, store, options, devices=devices, most=most, timeout=timeout)) as events,
        ):
            for event in events:
                report.take(event)
                if event.kind == "skipped":
                    skipped.append(event.cell)
    except RecordError as error:
        _say(f"error: {error}\nwhat was running is kept; run the same command again to continue")
        return FAILED, skipped
    except KeyboardInterrupt:
        _say("stopped; run the same command again to continue")
        return STOPPED, skipped
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0, skipped


def _conclude(grid: Grid, store: Store, selection: Selection, *, as_json: bool) -> int:
    """Print the comparison of a grid's records; the exit code is 1 when a run failed or timed out."""
    from ..leaderboard.lines import lines
    from ..tables.results import print_lines_json, print_results

    records = [record for record in map(store.find, grid.cells) if record is not None]
    board = lines(records, selection)
    if as_json:
        print_lines_json(board)
    else:
        print_results(_console(), board)
    for record in records:
        if record.status in ("failed", "timeout", "diverged"):
            _say(f"{record.status}: {record.folder}: {record.reason}")
    _say(f"records: {store.runs}\nleaderboards of all records: fl-bench leaderboard {store.results}")
    return FAILED if any(record.status in ("failed", "timeout") for record in records) else 0


def _dry_run(
    grid: Grid, store: Store, devices: Sequence[str], execution: Execution, *, retry: bool, as_json: bool
) -> None:
    from ..grid.repetition import Repetition
    from ..tables.printing import print_json, print_table
    from ..tables.values import show_bytes, show_seconds
    from .dry_run import plan_grid

    rows, jobs = plan_grid(grid, store, devices, execution, retry=retry), len(devices)
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            "dataset": row["dataset"],
            "method": row["method"],
            "seed": Repetition.of(row).shown,
            "state": row["state"],
            "up": show_bytes(row["up_bytes_per_client_round"]),
            "down": show_bytes(row["down_bytes_per_client_round"]),
            "engine": row["engine"],
            "time": show_seconds(row["estimated_seconds"]),
            "estimated from": row["estimated_from"],
            "reason": row["reason"],
        }
        for row in rows
    ]
    waiting = [row for row in rows if row["estimated_seconds"] is not None]
    total = sum(row["estimated_seconds"] for row in waiting)
    print_table(
        _console(),
        shown,
        caption="up, down: bytes per client and round in closed form; each class may round the public pool up by one.\n"
        f"Estimate: {len(waiting)} of {len(rows)} runs take "
        f"{show_seconds(total)}, or {show_seconds(total / min(jobs, max(len(waiting), 1)))} with {jobs} at a time",
    )
    for sentence in grid_power(grid):
        _say(sentence)


def _fetch(cells: Sequence[Cell], data_dir: Path | None, *, download: bool) -> None:
    """Make sure that all data are there before the first run starts."""
    from ...datasets.catalogue import available, load_dataset

    for location in dict.fromkeys(cell.dataset.location for cell in cells):
        if not available(location, data_dir=data_dir)[0]:
            load_dataset(location, data_dir=data_dir, download=download)  # downloads, or says what is missing


def _say_what_is_there(grid: Grid, store: Store, waiting: Sequence[Cell]) -> None:
    keys = {cell.key for cell in waiting}
    earlier = [store.find(cell) for cell in grid.cells if cell.key not in keys]
    bad = [record for record in earlier if record is not None and record.status != "done"]
    parts = [f"{len(grid.cells)} runs", f"{len(earlier)} of them finished earlier"]
    if bad:
        parts.append(f"{len(bad)} of those not done (--retry runs them again)")
    _say(f"{grid.name}: {', '.join(parts)}")


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
