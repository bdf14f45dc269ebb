"""The command `fl-bench compare` (benchmarks room): from records or a table of numbers to what may be claimed."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import ConfigError, StorageError, unknown_name
from fl_bench.files import write_file

from ..tables.terminal import make_console, put, say
from .filters import OnlyDatasets, OnlySettings  # noqa: TC001 - typer reads annotations when it runs
from .options import (
    RESULTS,
    AsJson,
    BlocksOption,
    CompareFamilies,
    CompareMethods,
    CompareSelect,
    Control,
    DeclaredAlpha,
    DeclaredBy,
    Explain,
    Missing,
    Rope,
    Source,
)
from .question import Question, ask

if TYPE_CHECKING:
    from ..statistics.result import Comparison

FORMATS = ("table", "markdown", "csv", "json", "latex")


def compare(
    source: Source = RESULTS,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    rope: Rope = None,
    blocks: BlocksOption = "family",
    families: CompareFamilies = None,
    on_missing: Missing = "refuse",
    select: CompareSelect = None,
    methods: CompareMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    declared: DeclaredBy = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="|".join(FORMATS), help="Output format. Default: table.")
    ] = None,
    explain: Explain = False,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE|FOLDER",
            help="File to write to; with --page, a folder.",
        ),
    ] = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page",
            help="Write a page of one screen into RESULTS: README.md, with a plot and all tables in an appendix beside "
            "it.",
        ),
    ] = False,
) -> None:
    """Test which differences between methods may be claimed.

    Prints corrected tests, effect sizes and intervals, and says if there are too few data sets for any verdict.

    Seeds are averaged first, and a family of data sets is one observation. An incomplete table is refused, and missing
    values are named. A comparison that a grid declared before it ran is followed, and departures are marked.

    TABLE has a row per data set and a column per method (`dataset,cosmos,fedmd`), and optionally a column `seed`.

    \b
    fl-bench compare
    fl-bench compare results --methods cosmos,fedmd,local --control cosmos
    fl-bench compare sweep --settings alpha=0.1
    fl-bench compare table.csv --control ours --format latex --out table.tex
    fl-bench compare results --page
    """
    from ..statistics.comparison import compare as analyse
    from .progress import saying

    if as_json and form not in (None, "json"):
        raise ConfigError(f"--json is --format json, and --format {form} asks for another; give one of them")
    form = "json" if as_json else form or "table"
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    question = Question(
        control, alpha, rope, select, blocks, on_missing, methods, datasets, settings, families=families, grid=declared
    )
    if page:
        from .screen import write_screen

        raise typer.Exit(write_screen(source, question, out))
    asked, code = ask(source, question)
    with saying("testing, and drawing samples for intervals"):
        result = analyse(asked.table, asked.options, asked.plan)
    if out is None and form == "table":
        from ..tables.comparison import print_comparison

        print_comparison(make_console(), result, explain=explain)
    elif out is None:
        put(_text(result, form).removesuffix("\n"))
    else:
        if out.exists() and not out.is_file():
            raise StorageError(f"cannot write {out}: it is no ordinary file; without --out the comparison is printed")
        try:
            _ = out.read_bytes().decode() if out.is_file() else ""
        except UnicodeDecodeError:
            raise StorageError(
                f"cannot write {out}: it exists and is no UTF-8 text, so it may be something else than a "
                "comparison; it was left as it is. Give --out another name, or delete it first"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot write {out}: {error.strerror}") from None
        write_file(out, _text(result, form, label=f"tab:{out.stem}"))
        say(f"wrote {out}")
    raise typer.Exit(code)


def _text(result: Comparison, form: str, label: str = "tab:comparison") -> str:
    """The comparison in a form for files and pipes; `label` is that of a LaTeX table."""
    from ..tables.comparison import as_json, markdown, plain
    from ..tables.comparison_csv import as_csv
    from ..tables.latex import latex

    if form == "latex":
        return latex(result, label)
    return {"table": plain, "markdown": markdown, "csv": as_csv, "json": as_json}[form](result)
