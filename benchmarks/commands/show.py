"""The command `fl-bench show` (benchmarks room): one run."""

from __future__ import annotations

from typing import Annotated

import typer

from ..tables.terminal import make_console, say
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import RESULTS, AsJson, Results


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a record, or a unique part of its name.")],
    results: Results = RESULTS,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    as_json: AsJson = False,
) -> None:
    """Show one run: its settings, a row per round and a curve.

    \b
    fl-bench show digits/cosmos-0
    fl-bench show digits/cosmos-0 results/catalogue
    fl-bench show fl-bench-results/runs/digits/cosmos-0-1a2b3c4d5e
    """
    from ..tables.printing import print_json
    from .naming import find_record
    from .run_view import print_record

    record, older = find_record(run, results, Filters(methods, datasets, settings))
    if older:
        say(f"not shown, of an older protocol: {', '.join(older)}")
    if as_json:
        print_json({**record.run, "rounds": record.rounds})
    else:
        print_record(make_console(), record)
