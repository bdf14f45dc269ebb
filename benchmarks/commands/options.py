"""What commands share (benchmarks room): options that several of them read, and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import ConfigError, unknown_name

from . import completion

if TYPE_CHECKING:
    from ..leaderboard.reported import Selection

WRONG, FAILED, STOPPED = 2, 1, 130
"""Exit codes: asked for something impossible; something did not end well; stopped by Ctrl-C."""

Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Load a plugin file; may be given again.")
]
RESULTS = Path("fl-bench-results")
"""The results folder of every command that is given no other."""

Results = Annotated[Path, typer.Argument(metavar="[RESULTS]", help="Folder of records, or a bundle.")]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="[RESULTS|TABLE.csv|.md|.tex]", help="Folder of records, or a file with a table of numbers."
    ),
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
    list[str] | None,
    typer.Option("-o", metavar="KEY=VALUE", help="Change a setting; the value is YAML, and [A,B] are two of them."),
]

GridName = Annotated[
    str,
    typer.Argument(
        metavar="[GRID]", help="A YAML file, or a grid of `fl-bench list grids`.", autocompletion=completion.grids
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="A,B[KEY=VALUE;...]",
        help="Methods instead of the grid's; `all` for every method.",
        autocompletion=completion.methods,
    ),
]
Datasets = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Data sets instead of the grid's.", autocompletion=completion.datasets),
]
Rounds = Annotated[int | None, typer.Option(help="Rounds instead of the grid's.")]
Settings = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...|A,B", help="Only these of the grid's settings: its named changes and values of its axes."
    ),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        metavar="A[,B]",
        help="How data are dealt to clients, of `fl-bench list partitions`; what the grid says for another scheme is "
        "left out. Default: the grid's, but natural for data that come with clients and are not the grid's own.",
        autocompletion=completion.schemes,
    ),
]
Clients = Annotated[str | None, typer.Option(metavar="N[,N]", help="Number of clients.")]
Groups = Annotated[str | None, typer.Option(metavar="N[,N]", help="Number of latent groups.")]
Concentration = Annotated[
    str | None, typer.Option("--alpha", metavar="A[,B]", help="Dirichlet concentration: small is skewed.")
]
Mixing = Annotated[str | None, typer.Option(metavar="A[,B]", help="Share of samples mixed between groups.")]
Public = Annotated[str | None, typer.Option(metavar="A[,B]", help="Share of samples in the public pool.")]
Participation = Annotated[
    str | None, typer.Option(metavar="A[,B]", help="Share of the clients that is drawn in each round.")
]
Jobs = Annotated[
    int | None,
    typer.Option(help="Runs at a time. Default: a run per core; on GPUs as many as memory and cores are there for."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="auto|cpu|cuda:0|mps", help="Where runs compute. Default: on a GPU, if there is one."),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME[KEY=VALUE;...]|FILE.yaml",
        help="What runs the cells, of `fl-bench list executors`; --jobs and --device are settings of it.",
    ),
]
Use = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        metavar="KEY=VALUE",
        help="How runs use the machine, results being the same but for rounding: threads=2, stack=50, "
        "graphs=false, channels_last=true, compile=true.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME[KEY=VALUE;...]",
        help="Show accuracy by round while runs run: tensorboard, mlflow, trackio or wandb; may be given again.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="End a run that takes longer. Its record keeps the finished rounds; --retry gives it as long again, "
        "from there.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for runs that other processes have, and run what they leave undone.")
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="A line for every round, too.")]

Explain = Annotated[bool, typer.Option("--explain", help="Say below tables what each column means.")]

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


def given_flags(**flags: str | None) -> dict[str, str]:
    """What options that stand for settings were given, by their names in `grid.flags.FLAGS`."""
    return {name: text for name, text in flags.items() if text is not None}


def check_timeout(seconds: float | None) -> None:
    """Refuse a value of `--timeout` that no run could keep.

    Raises:
        ConfigError: it is not above 0.
    """
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--timeout must be above 0 seconds, got {seconds:g}")


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
