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
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Load a plugin file; repeat for several.")
]
RESULTS = Path("fl-bench-results")
"""The results folder of every command that is given no other."""

Results = Annotated[Path, typer.Argument(metavar="[RESULTS]", help="Folder of records, or a bundle.")]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="[RESULTS|TABLE.csv|.md|.tex]",
        help="Folder of records, a bundle, or a file with a table of accuracies.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of records and leaderboards.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Folder to search for data first, and to download to."),
]
Download = Annotated[bool, typer.Option("--download", help="Download missing data sets.")]
Select = Annotated[
    str,
    typer.Option("--select", metavar="last|val", help="Report the last round, or the best round on validation data."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-o", metavar="KEY=VALUE", help="Change a setting. The value is YAML; [A,B] runs once with A and once with B."
    ),
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
        help="Methods to run instead of the grid's; `all` for every method.",
        autocompletion=completion.methods,
    ),
]
Datasets = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Data sets to run on instead of the grid's.", autocompletion=completion.datasets),
]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds instead of the grid's.")]
Settings = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...|A,B",
        help="Run only these settings of the grid, or values of axes.",
    ),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        metavar="A[,B]",
        help="How data are partitioned into clients (`fl-bench list partitions`). Drops the grid's settings that the "
        "scheme does not have. Default: the grid's; natural for data with clients that the grid does not name.",
        autocompletion=completion.schemes,
    ),
]
Clients = Annotated[str | None, typer.Option(metavar="N[,N]", help="Number of clients.")]
Groups = Annotated[str | None, typer.Option(metavar="N[,N]", help="Number of latent groups.")]
Concentration = Annotated[
    str | None, typer.Option("--alpha", metavar="A[,B]", help="Dirichlet concentration; smaller is more skewed.")
]
Mixing = Annotated[
    str | None, typer.Option(metavar="A[,B]", help="Share of a client's samples that come from all groups.")
]
Public = Annotated[str | None, typer.Option(metavar="A[,B]", help="Share of samples held out as public pool.")]
Participation = Annotated[str | None, typer.Option(metavar="A[,B]", help="Share of clients sampled in each round.")]
Jobs = Annotated[
    int | None,
    typer.Option(help="Number of parallel runs. Default: one per core; on GPUs, as many as memory and cores allow."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="auto|cpu|cuda:0|mps", help="Device to train on. Default: a GPU, if there is one."),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME[KEY=VALUE;...]|FILE.yaml",
        help="Where runs execute (`fl-bench list executors`). --jobs and --device are settings of the executor.",
    ),
]
Use = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        metavar="KEY=VALUE",
        help="How runs use the machine; results change only by rounding: threads=2, stack=50, graphs=false, "
        "channels_last=true, compile=true.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME[KEY=VALUE;...]",
        help="Report accuracy per round to tensorboard, mlflow, trackio or wandb during runs; repeat for several.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Stop a run that takes longer. Its record keeps the finished rounds; --retry resumes it with a new limit.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for runs of other processes, and run those that they leave unfinished.")
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print a line for every round.")]

Explain = Annotated[bool, typer.Option("--explain", help="Explain each column below the tables.")]

Control = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD", help="Method to compare all others with. Default: as declared, else cosmos if present."
    ),
]
Alpha = Annotated[float, typer.Option(help="Significance level of tests and intervals.")]
DeclaredAlpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Significance level of tests and intervals. Default: as declared, else 0.05."),
]
Rope = Annotated[
    float | None,
    typer.Option(help="Difference in points below which methods are equivalent, or tie. Default: as declared, else 1."),
]
BlocksOption = Annotated[
    str,
    typer.Option(
        "--blocks",
        metavar="family|cluster|dataset|setting",
        help="What counts as one observation: a family of data sets, averaged; its data sets, with signs flipped "
        "together; each data set; each setting.",
    ),
]
CompareFamilies = Annotated[
    str | None,
    typer.Option(
        "--families",
        metavar="A=F,B=F",
        help="Assign data sets to families: name=family, or a prefix that the names of a family share.",
    ),
]
CompareMethods = Annotated[
    str | None,
    typer.Option("--methods", metavar='A,B,"A · VIEW"', help="Compare only these; a view follows a dot."),
]
DeclaredBy = Annotated[
    str | None,
    typer.Option(
        "--declared", metavar="GRID", help="Follow the declaration of this grid. Default: the last declaration."
    ),
]
Missing = Annotated[
    str, typer.Option(metavar="refuse|complete-blocks|skillings-mack", help="What to do if accuracies are missing.")
]
CompareSelect = Annotated[
    str | None,
    typer.Option(
        "--select",
        metavar="last|val",
        help="Compare the last round, or the best round on validation data. Default: as declared, else last.",
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
