"""The command `fl-bench power` (benchmarks room): what a comparison can be expected to show, and what it would take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..tables.terminal import make_console
from .filters import OnlyDatasets, OnlySettings  # noqa: TC001 - typer reads annotations when it runs
from .options import (
    RESULTS,
    AsJson,
    CompareFamilies,
    CompareMethods,
    CompareSelect,
    Control,
    DeclaredAlpha,
    DeclaredBy,
    Source,
)
from .question import Question, ask


def power(
    source: Source = RESULTS,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    on_missing: Annotated[
        str,
        typer.Option(
            metavar="complete-blocks|refuse",
            help="What to do if accuracies are missing, for example while runs are unfinished.",
        ),
    ] = "complete-blocks",
    select: CompareSelect = None,
    methods: CompareMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    families: CompareFamilies = None,
    declared: DeclaredBy = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Number of independent data sets to plan for. Default: as in RESULTS."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds to plan for. Default: as in RESULTS.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the power of a comparison.

    Prints the probability of detecting differences of 1, 2 and 3 points, and what a power of 80 % would take. The
    tests of `fl-bench compare` are simulated with the observed spread over data sets and seeds.

    \b
    fl-bench power results --control cosmos
    fl-bench power table.csv --control ours --blocks 14 --seeds 5
    """
    from ..statistics.chances import chances
    from ..tables.power import print_power
    from ..tables.printing import print_json
    from .progress import saying

    question = Question(
        control,
        alpha,
        None,
        select,
        on_missing=on_missing,
        methods=methods,
        datasets=datasets,
        settings=settings,
        families=families,
        grid=declared,
    )
    asked, code = ask(source, question)
    with saying("simulating comparisons"):
        found = chances(asked.table, asked.options, asked.plan, blocks=blocks, seeds=seeds)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        print_power(make_console(), found)
    raise typer.Exit(code)
