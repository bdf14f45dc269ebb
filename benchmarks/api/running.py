"""Grids from Python (benchmarks room): `run` does what `fl-bench run` does, and takes classes as methods."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...federation.settings import Execution
from ...methods.base import Method
from ...methods.registry import METHODS
from ..commands.options import RESULTS
from ..commands.preparing import (
    declare_comparison,
    look,
    look_for_shared_rows,
    open_results,
    say_without_models,
    tuning_of,
)
from ..commands.progress import reporter
from ..commands.supervision import fetch
from ..export.live import Live, read_tracker
from ..grid.changes import SECTIONS, scheme_change, with_changes
from ..grid.choices import choose_methods, parse_method
from ..grid.dealing import deals, dealt_otherwise
from ..grid.executors import read_executor
from ..grid.grid import Overrides, expand, find_grid, grid_of, grid_words, scheme_changes
from ..grid.plain_yaml import read_yaml
from ..grid.plugins import known_here_only, load_plugins, method_of_class
from ..records.store import Store
from ..running.executor import check_keeps_models
from ..running.inside import run_inside
from ..running.runner import Options
from ..running.schedule import Schedule, earlier_runs, round_seconds
from ..tables.terminal import make_console, say
from .results import Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..grid.cell import Cell
    from ..running.executor import Event


def run(
    methods: Iterable[str | Mapping[str, Any] | type[Method[Any]]] | str | None = None,
    datasets: Iterable[str] | str | None = None,
    seeds: Iterable[int] | str | int | None = None,
    *,
    grid: str | Path = "quick",
    out: str | Path = RESULTS,
    partition: Mapping[str, Any] | None = None,
    models: Any = None,
    training: Mapping[str, Any] | None = None,
    faults: Mapping[str, Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    executor: str = "local",
    jobs: int | None = None,
    device: str | None = None,
    plugins: Sequence[str | Path] = (),
    data_dir: str | Path | None = None,
    download: bool = False,
    retry: bool = False,
    keep_models: bool = False,
    timeout: float | None = None,
    trackers: Iterable[str] = (),
    progress: bool = True,
) -> Results:
    """Run every method on every data set with every seed, and read the records.

    Runs that have a record are not run again, so the same call goes on after an interruption. What is not given is as
    the grid has it.

    Args:
        methods: names (`"cosmos"`, `"cosmos[clusters=3]"`), entries as in a grid (`{"cosmos": {"clusters": 3}}`), or
            subclasses of `fl_bench.Method`. A class needs no file: its source is part of the key of its runs, and
            what stands beside it is not. It is run in this process, one run after the other.
        datasets: data sets of `fl-bench list datasets`, or data of your own.
        seeds: numbers from 0, or text such as `"0-4"`.
        grid: a grid of `fl-bench list grids`, or a YAML file.
        out: the folder of the records.
        partition: changes of how the grid deals data; a new scheme leaves out what it does not know of the grid's.
        models: the clients' networks, as in a grid.
        training: changes of the grid's rounds and local training.
        faults: changes of the grid's faults.
        settings: named changes by dotted key; the comparison runs once for each.
        executor: what runs the cells, of `fl-bench list executors`.
        jobs: runs at a time; None: one per core.
        device: where runs compute; None: on a GPU if there is one.
        plugins: plugin files to load.
        data_dir: the folder to look for data in first.
        download: whether missing data may be fetched.
        retry: whether runs that are not `done` are run again.
        keep_models: whether runs keep the models that clients deploy, for `Results.model`. Runs that are recorded
            already keep none.
        timeout: seconds that a run may take.
        trackers: where to show accuracy by round meanwhile, `tensorboard` or `mlflow[folder=here]`.
        progress: whether to show what runs.
    Returns:
        The records of this grid, whatever their status.

    Raises:
        ConfigError: something asked for does not exist or is impossible; said before anything runs.
        DataError: data are missing.
        RecordError: a record cannot be written.
    """
    load_plugins([str(path) for path in plugins])
    path = find_grid(str(grid))
    with ExitStack() as lent:
        changes = {"partition": partition, "training": training, "faults": faults}
        written = _written(read_yaml(path), changes, models=models, settings=settings)
        entries = None if methods is None else [methods] if isinstance(methods, str) else list(methods)
        chosen_here = entries is not None and not all(isinstance(one, str) for one in entries)
        if entries is not None and chosen_here:  # another grid than the one that declared a comparison
            written["methods"] = [entry for one in entries for entry in _entries(one, written, lent)]
            written.pop("comparison", None)
        asked = Overrides(
            methods=None if entries is None or chosen_here else ",".join(map(str, entries)),
            datasets=_joined(datasets),
            seeds=_joined(seeds),
            dealt_as_written=deals(partition or {}),
        )
        file = grid_of(written)
        expanded = expand(file, grid_words(path), asked)
        store = Store(Path(out).absolute())
        open_results(store, tuning_of(file, expanded, path))
        cells, earlier = look(expanded, store, retry=retry)
        chosen = read_executor(executor, {"jobs": jobs, "device": device})
        if keep_models:
            check_keeps_models(chosen, executor)
        following = [read_tracker(text) for text in trackers]
        for tracker in following:
            tracker.ready()
        folder = None if data_dir is None else Path(data_dir)
        fetch(cells, folder, download=download)
        here = [cell for cell in cells if known_here_only(METHODS[cell.method])]
        if here and not executor.startswith("local"):
            raise ConfigError(
                f"{here[0].method} is a class of this session, which no other process knows: run it with "
                "executor='local', or write it to a file and give that in `plugins`"
            )
        if keep_models:
            say_without_models(earlier)
        if progress:
            for sentence in (*scheme_changes(file, asked), *dealt_otherwise(expanded.cells)):
                say(sentence)
        if cells:
            look_for_shared_rows(expanded, store, folder)
        declare_comparison(expanded, path, store, len(expanded.cells) - len(cells))
        options = Options(
            data_dir=None if folder is None else str(folder),
            plugins=tuple(map(str, plugins)),
            retry=retry,
            keep_models=keep_models,
            execution=Execution(),
        )
        _run(
            cells,
            here,
            store,
            options,
            chosen,
            [Live(tracker) for tracker in following],
            timeout=timeout,
            progress=progress,
        )
        store.look_again()
        return Results.of_cells(expanded.cells, store)


def _run(
    cells: Sequence[Cell],
    here: Sequence[Cell],
    store: Store,
    options: Options,
    executor: Any,
    lives: Sequence[Live],
    *,
    timeout: float | None,
    progress: bool,
) -> None:
    """Run the cells: those of classes here, the others by the executor."""
    if not cells:
        return
    apart = [cell for cell in cells if not known_here_only(METHODS[cell.method])]
    schedule = Schedule(apart, round_seconds(earlier_runs(store, apart)))
    report = reporter(make_console(stderr=True), len(cells), schedule.left) if progress else None

    def hear(event: Event) -> None:
        if report is not None:
            report.take(event)
        for live in lives:
            live.take(event)

    with ExitStack() as shown:
        for live in lives:
            shown.callback(live.close)
        if report is not None:
            shown.enter_context(report)
        if apart:
            with closing(executor.run(schedule.cells, store, options, timeout=timeout)) as events:
                for event in events:
                    schedule.take(event)
                    hear(event)
        run_inside(here, store, replace(options, device=executor.slots()[0]), hear)


def _written(
    grid: Mapping[str, Any],
    changes: Mapping[str, Mapping[str, Any] | None],
    *,
    models: Any,
    settings: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """A grid as it would be written with what was given; a new scheme leaves out what it does not know, and says so."""
    written = dict(grid)
    given = {f"{section}.{name}": value for section, own in changes.items() if own for name, value in own.items()} | (
        {} if models is None else {"models": models}
    )
    if given:
        sections: dict[str, Mapping[str, Any]] = {
            name: {} if name == "models" else grid.get(name) or {} for name in SECTIONS
        }
        move = scheme_change(sections, {}, given)
        if move is not None:
            say(str(move))
        changed = with_changes(sections, {}, given)
        written |= {name: changed[name] for name in SECTIONS if name != "models" or models is not None}
    if settings is not None:
        written["settings"] = settings
    if given or settings is not None:
        for key in ("tuning", "comparison"):  # what was tuned and declared was so for the grid as it is
            written.pop(key, None)
    return written


def _joined(values: Iterable[Any] | str | int | None) -> str | None:
    """Names or numbers as the command line has them: `a,b`."""
    return None if values is None else str(values) if isinstance(values, str | int) else ",".join(map(str, values))


def _entries(one: Any, written: Mapping[str, Any], lent: ExitStack) -> list[Any]:
    """What one element of `methods` is in a grid: entries of the grid keep their settings."""
    if isinstance(one, type) and issubclass(one, Method):
        return [lent.enter_context(method_of_class(one))]
    if isinstance(one, Mapping):
        return [dict(one)]
    configured = [parse_method(entry, "methods") for entry in written.get("methods", ())]
    return [
        {
            "name": choice.name,
            "label": choice.label,
            "codec": choice.codec,
            "settings": dict(choice.settings),
            "training": dict(choice.training),
        }
        for choice in choose_methods(str(one), configured)
    ]
