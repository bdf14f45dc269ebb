"""The commands `leaderboard`, `figures` and `report` (benchmarks room): from records to tables, pictures and a page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from fl_bench.errors import ConfigError, FLBenchError, unknown_name
from fl_bench.files import write_file

from ..tables.terminal import make_console, say
from .damaged import read_undamaged
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import (
    FAILED,
    RESULTS,
    AsJson,
    CompareSelect,
    Control,
    DeclaredAlpha,
    Explain,
    Missing,
    Results,
    Rope,
    Select,
    read_selection,
)
from .progress import saying
from .question import Question, ask_records
from .reasons import say_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..figures.gallery import Drawing
    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..records.store import Store
    from ..report.page import About
    from ..statistics.result import Comparison

FORMATS = ("svg", "pdf", "png")

NARROWEST, WIDEST = 3.0, 12.0
"""Inches of a figure for a paper: below, names leave no room for data."""


def leaderboard(
    results: Results = RESULTS,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if files differ from the records.")
    ] = False,
    select: Select = "last",
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild and print the leaderboards from records.

    Writes RESULTS/leaderboards/*.csv; the same records give the same bytes. With a filter, the lines are printed and no
    file is written.

    \b
    fl-bench leaderboard
    fl-bench leaderboard results/offline --check
    fl-bench leaderboard results/offline --datasets digits --methods cosmos,fedmd
    """
    from ..leaderboard.files import differences, files, write
    from ..leaderboard.lines import lines
    from ..leaderboard.versions import newest
    from ..records.store import Store
    from ..tables.results import print_lines_json, print_results
    from ..tuning.travel import ledger_in

    selection = read_selection(select)
    filters = Filters(methods, datasets, settings)
    if check and filters:
        raise ConfigError("--check compares whole files; leave out --methods, --datasets and --settings")
    records, code = read_undamaged(results, "rounds")
    records = filters.take(records)
    content = files(records, selection)
    folder = Store(results).results / "leaderboards"
    if check:
        found = differences(folder, content)
        if found:
            say("\n".join(found))
            say(f"{folder} differs from the records; `fl-bench leaderboard {results}` rebuilds it")
            raise typer.Exit(FAILED)
        say(f"{folder} is what {len(records)} records say")
        raise typer.Exit(code)
    if not filters:
        write(folder, content)
    board = lines(records, selection, ledger_in(Store(results).results))
    if as_json:
        print_lines_json(board)
    else:
        print_results(make_console(), board, explain=explain)
        say_reasons(newest(records))
        say(f"wrote {', '.join(sorted(content))} to {folder}" if not filters else "no file written, with a filter")
    raise typer.Exit(code)


def figures(
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write to.")] = Path("figures"),
    form: Annotated[str, typer.Option("--format", metavar="svg,pdf,png", help="Formats to write.")] = "svg",
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="A,B",
            help="Any of ranks, effects, matrix, profiles, tradeoff, curves, costs, deciles, clusters, leakage, sweep.",
        ),
    ] = None,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    rope: Rope = None,
    on_missing: Missing = "refuse",
    select: CompareSelect = None,
    width: Annotated[
        float | None,
        typer.Option(
            "--width", metavar="INCHES", help="Width for a paper: 3.5 for a column, 7 for a page. Omits titles."
        ),
    ] = None,
    captions: Annotated[
        bool,
        typer.Option("--captions", help="Write captions to .txt files beside the figures instead of the terminal."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw figures from records.

    Draws curves, costs, clients and clusters of each data set, and the comparison over all data sets.

    \b
    fl-bench figures
    fl-bench figures results --kinds curves,costs --datasets digits --format pdf,png --out paper
    fl-bench figures results --methods cosmos,fedmd,fedavg,local
    fl-bench figures doses --kinds sweep
    fl-bench figures results --width 3.5 --format pdf --captions --out paper
    """
    from ..figures.gallery import KINDS
    from ..figures.style import Format, caption, check_matplotlib, save
    from ..grid.brackets import split_list
    from ..leaderboard.pairing import cautions
    from ..tables.printing import print_json

    check_matplotlib()
    formats = split_list(form, "--format")
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    wanted = list(KINDS) if kinds is None else split_list(kinds, "--kinds")
    for name in wanted:
        if name not in KINDS:
            raise unknown_name("kind of figure", name, KINDS)
    if width is not None and not NARROWEST <= width <= WIDEST:
        raise ConfigError(f"--width takes {NARROWEST:g} to {WIDEST:g} inches, got {width:g}; 3.5 is a column, 7 a page")
    records, others, code = _records(results, Filters(methods, datasets, settings))
    question = Question(control, alpha, rope, select, on_missing=on_missing)
    comparison, obstacle, selection = _compare(results, records, others, question)
    possible, no_sweep = _drawings(records, comparison, selection, methods, width)
    drawings = [drawing for drawing in possible if drawing.kind in wanted]
    written = []
    for drawing in drawings:
        with saying(f"drawing {drawing.title}"):
            figure = drawing.draw()
        for name in formats:
            save(figure, out / drawing.name, cast("Format", name))
        say(f"{', '.join(str(out / f'{drawing.name}.{name}') for name in formats)}: {drawing.title}")
        if captions:
            write_file(out / f"{drawing.name}.txt", caption(figure) + "\n")
        elif width is not None:
            say(caption(figure))
        files = [str(out / f"{drawing.name}.{name}") for name in formats]
        written.append({"kind": drawing.kind, "title": drawing.title, "caption": caption(figure), "files": files})
    lacking = [name for name in wanted if name not in {drawing.kind for drawing in drawings}]
    if lacking:
        say(f"not drawn: {', '.join(lacking)}")
    if kinds is not None and "sweep" in wanted:
        for reason in no_sweep:
            say(f"no sweep: {reason}")
    if obstacle:
        say(f"no comparison: {obstacle}")
    if as_json:
        print_json({"figures": written, "not drawn": lacking, "no comparison": obstacle or None})
    for caution in cautions(records):
        say(caution)
    raise typer.Exit(code)


def report(
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write to.")] = Path("report"),
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    control: Control = None,
    alpha: DeclaredAlpha = None,
    rope: Rope = None,
    on_missing: Missing = "refuse",
    select: CompareSelect = None,
    with_figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Include figures, which need matplotlib.")
    ] = True,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a report as one HTML page that needs no network.

    It shows the finding, methods by data sets, costs, clients, and every run.

    \b
    fl-bench report
    fl-bench report results/offline --open
    fl-bench report results/offline --out page --on-missing complete-blocks
    """
    from ..report.page import write_page
    from ..tables.printing import print_json

    question = Question(control, alpha, rope, select, on_missing=on_missing)
    page = page_of(results, Filters(methods, datasets, settings), question, with_figures=with_figures)
    text, obstacle, records = page.text, page.obstacle, page.records
    path = write_page(out, text)
    say(f"wrote {path} ({len(text.encode()) / 1e6:.1f} MB){'' if show else '; --open shows it in the browser'}")
    if show and not webbrowser.open(path.resolve().as_uri()):
        say("found no browser that could be started")
    if obstacle:
        say(f"without a comparison: {obstacle}")
    if as_json:
        size = len(text.encode())
        print_json({"page": str(path), "bytes": size, "records": len(records), "no comparison": obstacle or None})
    raise typer.Exit(page.code)


class Page(NamedTuple):
    """The page of a results folder, and what it is made of."""

    text: str
    records: list[Record]
    about: About
    comparison: Comparison | None
    obstacle: str
    """Why there is no comparison."""
    code: int
    """The exit code that a command ends with when all else goes well."""


def page_of(results: Path, filters: Filters, question: Question, *, with_figures: bool) -> Page:
    """Make the page of a results folder or a bundle.

    Raises:
        ConfigError: an option is impossible, or a name is unknown.
        DataError: no record can be read.
    """
    from ..figures.style import check_matplotlib
    from ..records.store import Store
    from ..report.page import render_page
    from ..report.pictures import ON_PAGE, take_pictures
    from ..tuning.travel import ledger_in

    if with_figures:
        check_matplotlib()
    records, others, code = _records(results, filters)
    comparison, obstacle, selection = _compare(results, records, others, question)
    drawings = _drawings(records, comparison, selection, filters.methods)[0] if with_figures else []
    drawings = [drawing for drawing in drawings if drawing.kind in ON_PAGE]
    with saying(f"drawing {len(drawings)} figures"):
        pictures = take_pictures(drawings)
    store = Store(results)
    about = _about(store)
    with saying("writing the page"):
        text = render_page(
            records,
            about=about,
            selection=selection,
            comparison=comparison,
            obstacle=obstacle,
            pictures=pictures,
            ledger=ledger_in(store.results),
        )
    return Page(text, records, about, comparison, obstacle, code)


def _about(store: Store) -> About:
    """The grid that declared the records' comparison, or else their folder; and what the grid asks, or what it is for
    if it is a packaged one that has not changed since.

    Raises:
        DataError: the declarations cannot be read.
    """
    from hashlib import sha256

    from ..grid.grid import GRIDS, read_grid
    from ..records.declarations import history, read_declarations
    from ..report.page import About

    declared = history(read_declarations(store))
    if not declared:
        return About(store.results.resolve().name or "fl-bench")
    last, packaged = declared[-1], GRIDS / f"{declared[-1].grid}.yaml"
    same = packaged.is_file() and sha256(packaged.read_bytes()).hexdigest() == last.sha256
    said = read_grid(packaged).description if same else ""
    return About(last.grid, last.question or said)


def _records(results: Path, filters: Filters) -> tuple[list[Record], list[str], int]:
    """The records that were asked for, the federated methods that were not, the exit code.

    Raises:
        ConfigError: there are none, or a name is unknown.
        DataError: none can be read.
    """
    from ..grid.brackets import split_list
    from ..statistics.reading import POOLED

    records, code = read_undamaged(results, "rounds", "clients")
    kept = filters.take(records)
    if filters.methods is None:
        return kept, [], code
    federated = {one.label for one in records if one.facts.get("deployed") != POOLED}
    return kept, sorted(federated.difference(split_list(filters.methods, "--methods"))), code


def _compare(
    results: Path, records: Sequence[Record], others: Sequence[str], question: Question
) -> tuple[Comparison | None, str, Selection]:
    """The comparison of the records, or nothing and why; and which round is reported.

    Raises:
        ConfigError: an option is impossible, or the control is no method of these records.
    """
    from ..records.declarations import read_declarations
    from ..records.shared_rows import overlaps_in
    from ..records.store import Store
    from ..statistics.comparison import compare
    from ..tuning.travel import ledger_in

    store = Store(results)
    asked = ask_records(
        records, read_declarations(store), question, others, ledger_in(store.results), overlaps_in(store.results)
    )
    if question.control is not None and question.control not in asked.table.methods:
        raise unknown_name("method of this comparison", question.control, asked.table.methods)
    try:
        with saying("comparing"):
            return compare(asked.table, asked.options, asked.plan), "", asked.selection
    except ConfigError:
        raise
    except FLBenchError as error:
        return None, str(error), asked.selection


def _drawings(
    records: Sequence[Record],
    comparison: Comparison | None,
    selection: Selection,
    methods: str | None,
    width: float | None = None,
) -> tuple[list[Drawing], list[str]]:
    """What can be drawn, and for each data set without a sweep, why.

    Highlighted are the control (or COSMOS), then what `--methods` names, then the best.
    """
    from ..figures.gallery import from_records
    from ..grid.brackets import split_list

    named = [] if methods is None else split_list(methods, "--methods")
    return from_records(records, comparison, selection, named, width)
