"""The command `fl-bench merge` (benchmarks room): the records of several results folders in one."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import Annotated

import typer

from fl_bench.errors import ConfigError

from ..tables.terminal import say
from .options import AsJson  # noqa: TC001 - typer reads annotations when it runs


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of records, or bundles.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to create.")],
    as_json: AsJson = False,
) -> None:
    """Merge the records of several results folders into a new one.

    Records of the same run must agree in everything but clocks, machine and versions. If they do not, the run is named
    and nothing is written. Tuning ledger and declarations are copied if the folders agree in them.

    \b
    fl-bench merge mine theirs.tar.xz --out both
    """
    from ..records.merging import merge_records
    from ..records.shared_rows import text_of
    from ..records.store import Store
    from ..tables.printing import print_json
    from ..tuning.ledger import NAME
    from ..tuning.travel import agreed_ledger

    if len(sources) < 2:
        raise ConfigError(f"merge takes two folders or more, got {sources[0]} alone")
    folders = [Store(source).results for source in sources]
    ledger = agreed_ledger(folders)
    beside = {**text_of(folders), **({} if ledger is None else {NAME: ledger})}
    merged = merge_records(sources, out, beside)
    left_out = [NAME] if ledger is None and any((folder / NAME).exists() for folder in folders) else []
    left_out += [] if merged.declared else ["comparison.json"]
    if as_json:
        print_json({"out": str(out), "runs": merged.runs, "in several": merged.several, "left out": left_out})
        return
    say(f"wrote {merged.runs} runs of {len(sources)} folders to {out}, {merged.several} of which several had")
    for name in left_out:
        say(f"left out {name}, in which the folders differ")
