"""What commands share (benchmarks room): options that several of them read, and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import unknown_name

if TYPE_CHECKING:
    from ..leaderboard.reported import Selection

WRONG, FAILED, STOPPED = 2, 1, 130
"""Exit codes: asked for something impossible; something did not end well; stopped by Ctrl-C."""

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

Control = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD", help="Compare all others with it. Default: as declared, or cosmos, where it is there."
    ),
]
Alpha = Annotated[float, typer.Option(help="Level of tests and intervals.")]
DeclaredAlpha = Annotated[
    float | None, typer.Option("--alpha", help="Level of tests and intervals. Default: as declared, or 0.05.")
]
Rope = Annotated[
    float | None,
    typer.Option(help="Points within which two methods are equivalent, and tie. Default: as declared, or 1."),
]
BlocksOption = Annotated[
    str,
    typer.Option(
        "--blocks",
        metavar="family|cluster|dataset|setting",
        help="One independent observation: a family of data sets, averaged; the same, with data sets that change signs "
        "together; each data set; each setting.",
    ),
]
CompareFamilies = Annotated[
    str | None,
    typer.Option(
        "--families",
        metavar="A=F,B=F",
        help="Other families than declared: name=family, or how names of one begin.",
    ),
]
CompareMethods = Annotated[
    str | None,
    typer.Option("--methods", metavar='A,B,"A · VIEW"', help="Compare only these; a view after a dot."),
]
CompareDatasets = Annotated[
    str | None, typer.Option("--datasets", metavar="A,B", help="Compare on these data sets only.")
]
DeclaredBy = Annotated[
    str | None,
    typer.Option(
        "--declared", metavar="GRID", help="Follow what this grid declared. Default: the grid that declared last."
    ),
]
Missing = Annotated[
    str, typer.Option(metavar="refuse|complete-blocks|skillings-mack", help="What to do when numbers are missing.")
]
CompareSelect = Annotated[
    str | None,
    typer.Option(
        "--select",
        metavar="last|val",
        help="Compare the last round, or the best on validation data. Default: as declared, or last.",
    ),
]


def read_selection(name: str) -> Selection:
    """The value of `--select`.

    Raises:
        ConfigError: it is neither `last` nor `val`.
    """
    if name == "last":
        return "last"
    if name == "val":
        return "val"
    raise unknown_name("selection", name, ("last", "val"))
