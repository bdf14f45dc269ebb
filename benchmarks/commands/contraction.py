"""The command `fl-bench contraction` (benchmarks room): does the personalization risk contract, and because of what?"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.files import write_file

from ..tables.terminal import make_console, say
from .damaged import read_undamaged
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings, chosen
from .options import RESULTS, Alpha, AsJson, Results

if TYPE_CHECKING:
    from ..figures.style import Format

FORMATS = ("svg", "pdf", "png")


def contraction(
    results: Results = RESULTS,
    risk: Annotated[
        str, typer.Option(metavar="cross-entropy|brier|zero-one|all", help="Risk to analyse.")
    ] = "cross-entropy",
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml", help="File with predictions to test. Default: those that come with fl-bench."
        ),
    ] = None,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    reasons: Annotated[
        bool, typer.Option("--reasons", help="Also print each prediction and the number that decided its verdict.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 1000,
    alpha: Alpha = 0.05,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Also write a figure per data set, and all results as JSON."),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="svg|pdf|png", help="Format of the figures.")] = "svg",
) -> None:
    """Test whether risks contract, and how fast.

    Prints rho and the floor of every arm, and a verdict on each prediction. A prediction is supported, not
    supported, or not identified, if floor and rate cannot be told apart. The records need `training.risks: true`,
    several seeds and at least 20 rounds.

    \b
    fl-bench run contraction --out study
    fl-bench run contraction-doses --out study
    fl-bench contraction study --reasons --out pictures
    """
    from ..contraction.outcomes import outcomes
    from ..contraction.predictions import PREDICTIONS, read_predictions
    from ..contraction.reading import RISKS, read_blocks
    from ..contraction.study import Study, base_blocks
    from ..figures.contraction import draw
    from ..figures.style import check_matplotlib, save
    from ..grid.cell import safe_name
    from ..tables.contraction import as_plain, print_predictions, print_study
    from ..tables.printing import print_json

    if risk not in (*RISKS, "all"):
        raise unknown_name("risk", risk, (*RISKS, "all"))
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    if not 0 < alpha < 1:
        raise ConfigError(f"--alpha must be in (0, 1), got {alpha}")
    if out is not None:
        check_matplotlib()
    predicted = read_predictions(predictions or PREDICTIONS)
    records, code = read_undamaged(results, "rounds", "clients")
    blocks = read_blocks(Filters(methods, None, settings).take(records))
    bases = base_blocks(blocks, predicted)
    if not bases:
        labels = sorted({label for block in blocks for label in block.arms})
        raise ConfigError(f"no records of the arm {predicted.claim!r} that the predictions are about, only of {labels}")
    names = [block.dataset for block in bases]
    wanted = names if datasets is None else chosen(datasets, "--datasets", "data set", names)
    console, plain = make_console(), []
    for one in [known for known in RISKS if risk in (known, "all")]:
        studies = [Study(block, predicted, one, draws=draws, alpha=alpha) for block in bases if block.dataset in wanted]
        held = [(prediction, outcomes(prediction, studies, blocks)) for prediction in predicted.predictions]
        plain.append(as_plain(one, studies, held))
        if not as_json:
            for study in studies:
                print_study(console, study)
            print_predictions(console, one, held, reasons=reasons)
        for study in studies if out is not None else []:
            place = out / f"contraction-{safe_name(study.block.dataset)}-{one}"  # type: ignore[operator]  # it is not None
            say(f"wrote {save(draw(study, title=study.block.dataset), place, cast('Format', form))}")
    if as_json:
        print_json(plain)
    if out is not None:
        write_file(out / "contraction.json", json.dumps(plain, indent=1) + "\n")
        say(f"wrote {out / 'contraction.json'}")
    raise typer.Exit(code)
