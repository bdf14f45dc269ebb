"""The command `fl-bench tune` (benchmarks room): settings chosen on validation data, with as many trials for each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.files import write_file

from ..tables.terminal import make_console, say
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
    GridName,
    Groups,
    Jobs,
    Methods,
    Mixing,
    Participation,
    Plugins,
    Public,
    Rounds,
    Scheme,
    Settings,
    Timeout,
    Use,
    Verbose,
    Wait,
    check_timeout,
    given_flags,
)
from .supervision import fetch, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fl_bench.spaces import Space

    from ..grid.grid import GridFile
    from ..records.store import Store
    from ..running.executor import Executor
    from ..running.runner import Options
    from ..tuning.asked import Budget
    from ..tuning.ledger import Ledger
    from ..tuning.study import Study

SAMPLERS = ("random", "tpe")
KINDS = ("grid", "dataset")


def tune(
    grid: GridName = "quick",
    trials: Annotated[int, typer.Option(help="Trials per method, including the grid's own settings.")] = 8,
    seeds: Annotated[
        str, typer.Option(metavar="100-101", help="Seeds of the trials; they must differ from the grid's.")
    ] = "100-101",
    per: Annotated[
        str,
        typer.Option(metavar="grid|dataset", help="Choose settings once per method, or once per method and data set."),
    ] = "grid",
    sampler: Annotated[
        str, typer.Option(metavar="random|tpe", help="How trials are drawn; tpe is Optuna's (`fl-bench[tune]`).")
    ] = "random",
    spaces: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="NAME=SPACE",
            help="Also tune this setting of local training for all methods, such as batch_size=8|16|32.",
        ),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(help="Number of tuning repetitions, each with further seeds, to see how much the choice varies."),
    ] = 1,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="File for the tuned grid. Its ledger is FILE.tuning.json beside it."),
    ] = None,
    methods: Methods = None,
    datasets: Datasets = None,
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
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the trials' records.")] = (
        RESULTS / "tuning"
    ),
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    timeout: Timeout = None,
    retry: Annotated[bool, typer.Option("--retry", help="Repeat runs that failed or timed out, once.")] = False,
    wait: Wait = False,
    verbose: Verbose = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be tried, with estimates; run nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tune all methods of a grid with equal budgets.

    Every method gets the same number of trials, scored on validation data. Every trial is a run with a record, so the
    same command resumes a tuning that was stopped. The tuned grid names the ledger of all trials. `fl-bench run` copies
    the ledger into the results, and `fl-bench compare` states the budget from it.

    \b
    fl-bench tune quick --methods cosmos,fedmd --trials 4 --write tuned.yaml
    fl-bench run tuned.yaml --out tuned
    fl-bench tune my-grid.yaml --per dataset --sampler tpe --dry-run
    """
    from ...federation.settings import Execution
    from ..grid.configure import configure
    from ..grid.executors import read_executor
    from ..grid.grid import Overrides, find_grid, grid_words, read_grid, scheme_changes
    from ..grid.plain_yaml import assignments
    from ..grid.plugins import load_plugins
    from ..grid.seeds import parse_seeds
    from ..records.store import Store
    from ..running.runner import Options
    from ..tuning.asked import Asked, Budget
    from ..tuning.study import Study
    from .preparing import open_results
    from .tuning_view import print_choices, print_plan

    check_timeout(timeout)
    for value, known, what in ((per, KINDS, "value of --per"), (sampler, SAMPLERS, "sampler")):
        if value not in known:
            raise unknown_name(what, value, known)
    if write is None and not dry_run:
        raise ConfigError("--write names the file of the tuned grid, such as --write tuned.yaml; --dry-run needs none")
    if write is not None:
        _check_free(write)
    plugins = plugin or []
    execution = configure(Execution, assignments(use or (), "--use", "threads=2"), "--use")
    load_plugins(plugins)
    chosen: Executor = read_executor(executor, {"jobs": jobs, "device": device})
    path = find_grid(grid)
    budget = Budget(trials, tuple(parse_seeds(seeds)), cast("Any", per), cast("Any", sampler), repeat)
    flags = given_flags(
        scheme=scheme,
        clients=clients,
        groups=groups,
        alpha=alpha,
        mixing=mixing,
        public=public,
        participation=participation,
    )
    overrides = Overrides(methods, datasets, None, rounds, settings, changes or (), flags)
    file = read_grid(path)
    asked = Asked(file, grid_words(path), overrides, budget, dict(_space(text) for text in spaces or ()))
    for sentence in scheme_changes(file, overrides):
        say(sentence)
    store = Store(out.absolute())
    study = Study(asked, store, retry=retry)
    print_plan(asked, study, store, chosen.slots(), execution, as_json=as_json and dry_run)
    if dry_run:
        return
    assert write is not None
    open_results(store, None)
    folder = None if data_dir is None else str(data_dir)
    options = Options(data_dir=folder, plugins=tuple(plugins), retry=retry, execution=execution)
    code = _run(study, store, options, chosen, timeout=timeout, wait=wait, verbose=verbose, data=(data_dir, download))
    if code:
        raise typer.Exit(code)
    ledger = study.ledger()
    _write(asked.file, ledger, write, _command(grid, budget, overrides, spaces or ()))
    if as_json:
        make_console().print(ledger.text(), end="", markup=False, highlight=False, soft_wrap=True)
    else:
        print_choices(ledger)
    say(f"wrote {write} and {_ledger_of(write)}; fl-bench run {write} runs the grid with what was chosen")


def _run(
    study: Study,
    store: Store,
    options: Options,
    chosen: Executor,
    *,
    timeout: float | None,
    wait: bool,
    verbose: bool,
    data: tuple[Path | None, bool],
) -> int:
    """Run what the tuning asks for until it asks for nothing more; the exit code, 0 when all is recorded."""
    from ..running.schedule import Schedule, earlier_runs, round_seconds
    from ..running.waiting import until_ended

    run_cells = partial(chosen.run, timeout=timeout)
    before: set[str] = set()
    while cells := study.waiting():
        if before == {cell.key for cell in cells}:
            say(f"no record came of {len(cells)} runs; the same command asks for them again")
            return FAILED
        before = {cell.key for cell in cells}
        fetch(cells, data[0], download=data[1])
        say(f"{study.recorded} of at most {study.asked.most_runs} runs are recorded; {len(cells)} come next")
        schedule = Schedule(cells, round_seconds(earlier_runs(store, cells)))
        running = (
            until_ended(run_cells, schedule.cells, store, options)
            if wait
            else run_cells(schedule.cells, store, options)
        )
        code, skipped = run_all(schedule, running, store.results, verbose=verbose)
        if code:
            return code
        if skipped:
            say(
                f"not in yet, another process has them: {len(skipped)}; "
                "run the same command again when it has ended, or with --wait"
            )
            return FAILED
    return 0


def _write(file: GridFile, ledger: Ledger, write: Path, command: str) -> None:
    """The ledger first, so that there is no tuned grid without; the grid is named after its file."""
    from ..grid.grid import LedgerReference, expand
    from ..tuning.ledger import sha256
    from ..tuning.written import as_text, tuned_grid

    text, place = ledger.text(), _ledger_of(write)
    tuned = replace(tuned_grid(file, ledger, LedgerReference(place.name, sha256(text))), name=write.stem)
    expand(tuned, str(write))  # what could not be run is not written
    write_file(place, text)
    write_file(write, as_text(tuned, command))


def _ledger_of(write: Path) -> Path:
    return write.with_suffix(".tuning.json")


def _check_free(write: Path) -> None:
    """Refuse to write over a file that no tuning wrote.

    Raises:
        ConfigError: names it.
    """
    from ..grid.configure import check_name
    from ..tuning.written import HEADER

    if write.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write {write}: a grid is a file whose name ends in .yaml")
    check_name(write.stem, f"--write {write}: a grid's name")
    if write.exists():
        with write.open("rb") as file:
            if file.read(len(HEADER)) != HEADER.encode():
                raise ConfigError(f"--write {write}: there is a file that no tuning wrote; name another, or remove it")


def _space(text: str) -> tuple[str, Space]:
    """`batch_size=8|16|32`, `weight_decay=log(1e-6, 1e-2)`: a setting of local training with its space.

    Raises:
        ConfigError: it is written otherwise.
    """
    from fl_bench.spaces import parse_space

    name, mark, space = text.partition("=")
    if not mark:
        raise ConfigError(f'--space {text!r}: write NAME=SPACE, such as --space "batch_size=8|16|32"')
    return name.removeprefix("training."), parse_space(space)


def _command(grid: str, budget: Budget, overrides: Any, spaces: Sequence[str]) -> str:
    """What was asked for, as it would be typed."""
    seeds = ",".join(map(str, budget.seeds))
    parts = [grid, f"--trials {budget.trials}", f"--seeds {seeds}"]
    parts += [f"--per {budget.per}"] if budget.per != "grid" else []
    parts += [f"--sampler {budget.sampler}"] if budget.sampler != "random" else []
    parts += [f"--repeat {budget.repeat}"] if budget.repeat != 1 else []
    parts += [f'--space "{text}"' for text in spaces]
    given = {"methods": overrides.methods, "datasets": overrides.datasets, "settings": overrides.settings}
    parts += [f'--{name} "{value}"' for name, value in given.items() if value is not None]
    parts += overrides.changes
    return " ".join(" ".join(parts).split())
