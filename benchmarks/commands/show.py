"""The command `fl-bench show` (benchmarks room): one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..tables.terminal import make_console, say
from .options import AsJson, Out  # noqa: TC001 - typer reads annotations when it runs


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

    record, older = find_record(run, out)
    if older:
        say(f"not shown, of an older protocol: {', '.join(older)}")
    if as_json:
        print_json({**record.run, "rounds": record.rounds})
    else:
        print_record(make_console(), record)
