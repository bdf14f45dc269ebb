"""The command `fl-bench compare` (benchmarks room): from records or a table of numbers to what may be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fl_bench.errors import StorageError, unknown_name
from fl_bench.files import write_file

from ..tables.terminal import make_console, put, say
from .damaged import read_undamaged
from .options import Alpha, CompareSelect, Control, Missing, Rope, read_selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..statistics.result import Comparison, OnMissing
    from ..statistics.table import Blocks, Table

TABLES = (".csv", ".tsv", ".md", ".markdown", ".tex")
"""Suffixes of files that hold a table rather than records."""

FORMATS = ("table", "markdown", "csv", "json", "latex")

PLACE = ("<!-- comparison -->\n", "<!-- /comparison -->\n")
"""Lines of a page between which a comparison belongs."""


def compare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="[RESULTS|TABLE.csv|.md|.tex]", help="Folder of records, or a file with a table of numbers."
        ),
    ] = Path("results"),
    control: Control = None,
    alpha: Alpha = 0.05,
    rope: Rope = 1.0,
    blocks: Annotated[
        str,
        typer.Option(
            metavar="family|cluster|dataset|setting",
            help="One independent observation: a family of data sets, averaged; the same, with data sets that change "
            "signs together; each data set; each setting.",
        ),
    ] = "family",
    families: Annotated[
        str | None,
        typer.Option(metavar="A=F,B=F", help="Other families than declared: name=family, or how names of one begin."),
    ] = None,
    on_missing: Missing = "refuse",
    select: CompareSelect = "last",
    methods: Annotated[
        str | None, typer.Option(metavar='A,B,"A · VIEW"', help="Compare only these; a view after a dot.")
    ] = None,
    datasets: Annotated[str | None, typer.Option(metavar="A,B", help="Compare on these data sets only.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How to say it.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write to a file instead; in one with the lines `<!-- comparison -->` and `<!-- /comparison -->`, "
            "between them.",
        ),
    ] = None,
) -> None:
    """Say what may be claimed: tests with their correction, effect sizes, intervals, and whether there is power at all.

    A family of data sets is one observation, seeds are averaged first. An incomplete table is refused, the gaps named.
    TABLE has a line per data set and a column per method (`dataset,cosmos,fedmd`), optionally a column `seed`.

    \b
    fl-bench compare
    fl-bench compare results --methods cosmos,fedmd,local --control cosmos
    fl-bench compare table.csv --control ours --format latex --out table.tex
    """
    from ..statistics.comparison import compare as analyse
    from ..statistics.families import regrouped
    from ..statistics.result import Options

    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    options = Options(control, alpha, rope, cast("Blocks", blocks), cast("OnMissing", on_missing))
    table, code = _read(source, select, _names(methods, "--methods"))
    chosen = _names(datasets, "--datasets")
    for name in chosen:
        if name not in table.datasets:
            raise unknown_name("data set of this table", name, table.datasets)
    if chosen:
        table = table.take_conditions(lambda condition: condition.dataset in chosen)
    if asked := _names(families, "--families"):
        table = regrouped(table, asked)
    result = analyse(table, options)
    if out is None and form == "table":
        from ..tables.comparison import print_comparison

        print_comparison(make_console(), result)
    elif out is None:
        put(_text(result, form).removesuffix("\n"))
    else:
        text = _text(result, form)
        if out.exists() and not out.is_file():
            raise StorageError(f"cannot write {out}: it is no ordinary file; without --out the comparison is printed")
        try:
            page = out.read_bytes().decode() if out.is_file() else ""
        except UnicodeDecodeError:
            raise StorageError(
                f"cannot write {out}: it exists and is no UTF-8 text, so it may be something else than a page for a "
                "comparison; it was left as it is. Give --out another name, or delete it first"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot write {out}: {error.strerror}") from None
        write_file(out, _placed(page, text))
        say(f"wrote {out}")
    raise typer.Exit(code)


def _placed(page: str, text: str) -> str:
    """A page with the text in its place, or the text alone where the page has no place for it."""
    before, begin, rest = page.partition(PLACE[0])
    _, end, after = rest.partition(PLACE[1])
    return f"{before}{begin}\n{text.strip()}\n\n{end}{after}" if begin and end else text


def _read(source: Path, select: str, methods: Sequence[str]) -> tuple[Table, int]:
    """The table of a CSV file or of records, and the exit code; damaged records are gaps, as what was not run."""
    from ..statistics.numbers import read_table
    from ..statistics.reading import read_records

    selection = read_selection(select)
    if source.suffix in TABLES:
        table = read_table(source)
        return (table.take_methods(methods) if methods else table), 0
    records, code = read_undamaged(source, "rounds")
    return read_records(records, selection, methods), code


def _names(text: str | None, option: str) -> list[str]:
    from ..grid.brackets import split_list

    return [] if text is None else split_list(text, option)


def _text(result: Comparison, form: str) -> str:
    """The comparison in a form for files and pipes."""
    from ..tables.comparison import as_csv, as_json, markdown, plain
    from ..tables.latex import latex

    writers = {"table": plain, "markdown": markdown, "csv": as_csv, "json": as_json, "latex": latex}
    return writers[form](result)
