"""The command `fl-bench reproduce` (benchmarks room): a paper's experiments, ours beside the published values."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from ..tables.terminal import make_console, say
from .damaged import say_damaged
from .filters import OnlyDatasets, OnlyMethods, OnlySettings  # noqa: TC001 - typer reads annotations when it runs
from .options import FAILED, RESULTS, AsJson, DataDir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid.grid import GridFile
    from ..leaderboard.published import Lacking


def reproduce(
    grid: Annotated[str, typer.Argument(metavar="GRID", help="cosmos-paper or cosmos-paper-64.")],
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="Folder of records, or a bundle, that the grid was run into.")
    ] = RESULTS,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare records with the published results of a paper.

    Runs nothing. Prints our results beside the published values, what was not run and how to get its data, and a
    numbered list of differences between the protocols. Records of the grid with other settings count, and say what
    differs.

    \b
    fl-bench reproduce cosmos-paper
    fl-bench reproduce cosmos-paper-64 cosmos-results --json
    """
    from ...datasets.catalogue import available
    from ..grid.grid import Overrides, expand, find_grid, grid_words, read_grid
    from ..leaderboard.published import lacking, read_published, rows
    from ..records.store import Store
    from ..tables.printing import print_json
    from ..tables.reproduction import print_differences, print_lacking, print_rows

    published, curves = read_published(grid)
    path = find_grid(grid)
    file = read_grid(path)
    cells = expand(file, grid_words(path), Overrides(methods=methods, datasets=datasets, settings=settings)).cells
    records, damaged = Store(results).readable(["rounds"])
    say_damaged([one.problem for one in damaged])
    code = FAILED if damaged else 0
    if not records:
        say(f"{results} has no records yet")
    found, without = rows(records, cells, curves), lacking(records, cells, curves)
    data = {name: available(name, data_dir=data_dir) for name in dict.fromkeys(one.dataset for one in without)}
    commands = [
        f"fl-bench run {grid}{_settings(file, name, without)} --datasets {name} --out {shlex.quote(str(results))}"
        for name in data
    ]
    if as_json:
        print_json(
            {
                "grid": grid,
                "published": {
                    "source": published.source,
                    "precision": published.precision,
                    "curves": [asdict(one) for one in curves],
                },
                "rows": [asdict(row) for row in found],
                "not run": [asdict(one) for one in without],
                "data": [{"name": name, "found": there, "where": where} for name, (there, where) in data.items()],
                "commands": commands,
                "differences": [asdict(one) for one in published.differences],
            }
        )
        raise typer.Exit(code)
    console = make_console()
    print_rows(console, found, published, curves)
    print_lacking(console, without, data, commands)
    print_differences(console, published.differences)
    raise typer.Exit(code)


def _settings(file: GridFile, dataset: str, lacking: Sequence[Lacking]) -> str:
    """The option that names the settings of a grid whose mixes of networks lack, where it is not all of them."""
    from ..grid.cell import resolve_models
    from ..grid.changes import with_changes

    wanted = {one.nets for one in lacking if one.dataset == dataset}
    mixes = {
        name: resolve_models(with_changes(file.sections, changes, {})["models"]).names
        for name, changes in file.settings.items()
    }
    names = [name for name, nets in mixes.items() if nets in wanted]
    return "" if len(names) == len(file.settings) else f" --settings {','.join(names)}"
