"""The command `fl-bench export` (benchmarks room): records as tables in files, or as runs of a tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..tables.terminal import say
from .damaged import read_undamaged
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import RESULTS, AsJson, Results, Select, read_selection


def export(
    results: Results = RESULTS,
    to: Annotated[
        str, typer.Option("--to", metavar="csv|parquet|tensorboard|mlflow|trackio|wandb", help="Format or tracker.")
    ] = "csv",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write to.")] = Path("export"),
    select: Select = "last",
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    as_json: AsJson = False,
) -> None:
    """Export records to other tools.

    csv and parquet are four tables: runs, rounds, clients and leaderboard. The others are experiment trackers: each
    run becomes a run of the tracker, with its settings, a step per round and its status. All of it is written to
    files below --out; nothing is sent.

    \b
    fl-bench export results/catalogue --to csv --out tables
    fl-bench export results/catalogue --to tensorboard --out logs
    """
    from ..export.export import export_records
    from ..records.store import Store
    from ..tables.printing import print_json
    from ..tuning.travel import ledger_in

    selection = read_selection(select)
    records, code = read_undamaged(results, "rounds")
    records = Filters(methods, datasets, settings).take(records)
    written = export_records(records, to, out, select=selection, ledger=ledger_in(Store(results).results))
    if as_json:
        print_json({"to": to, "runs": len(records), "written": [str(path) for path in written]})
    else:
        say(f"wrote {len(records)} runs to {', '.join(map(str, written))}")
    raise typer.Exit(code)
