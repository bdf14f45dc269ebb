"""`fl-bench compare RESULTS --page` (benchmarks room): the page of one screen, its plot and its appendix, written."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError, DataError, FLBenchError, StorageError
from fl_bench.files import write_file

from ..tables.terminal import say
from .damaged import read_undamaged
from .question import TABLES, ask_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from ..records.declarations import Declared
    from ..records.record import Record
    from ..report.screen import Told
    from ..statistics.result import Comparison
    from ..statistics.table import Table
    from .question import Asked, Question

NOTE_BYTES, PAGE_BYTES = 20_000, 2**20
"""Of a note at most, since a screen holds less; and of a page that is looked at before it is written again."""

UNDECLARED = (
    "No comparison was declared for these runs, so that this page ranks nothing. What they would allow one to say: "
    "`fl-bench compare`, or this page with `--control METHOD`."
)
"""What is said where nobody asked for a comparison."""


def write_screen(source: Path, question: Question, out: Path | None) -> int:
    """Write the page of a results folder, its plot and its appendix; the exit code.

    Args:
        source: the folder or a bundle.
        question: the command line.
        out: another folder to write to.
    Raises:
        ConfigError: an option is impossible, or matplotlib is not installed.
        DataError: nothing can be read.
        StorageError: a page that somebody wrote is in the way, or the folder takes nothing.
    """
    from ..figures.style import check_matplotlib, save
    from ..records.store import Store
    from ..report.screen import APPENDIX, PAGE, PICTURE, render_appendix, render_screen

    check_matplotlib()
    told, code = tell(source, question)
    folder = Store(source).results if out is None else out
    for name in (PAGE, APPENDIX):
        _check_place(folder / name)
    appendix = render_appendix(told)
    if appendix is None or told.comparison is None:
        for name in (APPENDIX, PICTURE):  # of an earlier page: nothing would lead there
            (folder / name).unlink(missing_ok=True)
    else:
        write_file(folder / APPENDIX, appendix)
        save(forest(told), (folder / PICTURE).with_suffix(""), "svg")
    write_file(folder / PAGE, render_screen(told))
    say(f"wrote {folder / PAGE}" + ("" if appendix is None else f", {APPENDIX} and {PICTURE} beside it"))
    if told.obstacle:
        say(f"without a comparison: {told.obstacle}")
    return code


def forest(told: Told) -> Figure:
    """The plot of a page that has a comparison."""
    from ..figures.gallery import from_comparison

    assert told.comparison is not None  # else there is nothing to draw
    (drawing,) = [one for one in from_comparison(told.comparison) if one.kind == "effects"]
    return drawing.draw()


def tell(source: Path, question: Question) -> tuple[Told, int]:
    """What the page of a results folder is made of, and the exit code so far.

    Raises:
        ConfigError: an option is impossible.
        DataError: nothing can be read.
    """
    from ..leaderboard.versions import newest
    from ..records.declarations import history, read_declarations
    from ..records.shared_rows import overlaps_in
    from ..records.store import Store
    from ..report.screen import Told
    from ..tuning.travel import ledger_in

    if source.suffix in TABLES:
        raise ConfigError(f"--page describes runs, and {source} is a table of numbers; give a folder of records")
    records, code = read_undamaged(source, "rounds")
    store = Store(source)
    declared = read_declarations(store)
    asked = ask_records(
        records, declared, question, ledger=ledger_in(store.results), overlaps=overlaps_in(store.results)
    )
    wanted = asked.plan.declared or question.control is not None
    comparison, obstacle = _compare(asked) if wanted else (None, UNDECLARED)
    name = store.results.resolve().name
    found = history(declared, question.grid)
    return (
        Told(
            name=name,
            question=question_of(found, name, records),
            note=_note(store.results),
            table=asked.table,
            options=asked.options,
            plan=asked.plan,
            records=_of(asked.table, newest(records), question),
            comparison=comparison,
            obstacle=obstacle,
        ),
        code,
    )


def _of(table: Table, records: Sequence[Record], question: Question) -> Sequence[Record]:
    """The records of what the command line names of methods and data sets; all where it names none."""
    from ..statistics.reading import SEPARATOR

    methods = {name.partition(SEPARATOR)[0] for name in table.methods}
    return [
        record
        for record in records
        if (question.methods is None or record.label in methods)
        and (question.datasets is None or record.cell["dataset"] in table.datasets)
    ]


def _compare(asked: Asked) -> tuple[Comparison | None, str]:
    """What may be claimed, or nothing and why."""
    from ..statistics.comparison import compare

    try:
        found = compare(asked.table, asked.options, asked.plan)
    except ConfigError:
        raise
    except FLBenchError as error:
        return None, "Nothing is compared:\n\n" + indent(str(error), "    ")
    if not found.decisions:
        return None, "Nothing is compared: there is no control (`--control METHOD` names one), or no other method."
    return found, ""


def question_of(declared: Sequence[Declared], name: str, records: Sequence[Record]) -> str:
    """What was asked: by the grid that declared, or by that of ours which has the folder's name and its data sets."""
    from ..grid.cell import DatasetChoice
    from ..grid.grid import GRIDS, read_grid

    if declared and declared[-1].question:
        return declared[-1].question
    path = GRIDS / f"{declared[-1].grid if declared else name}.yaml"
    if not path.is_file():
        return ""
    grid = read_grid(path)
    known = {DatasetChoice.of(location).name for location in grid.datasets}
    return grid.question if {str(record.cell["dataset"]) for record in records} <= known else ""


def _note(folder: Path) -> str:
    """Words of one's own beside the records; nothing where there are none.

    Raises:
        DataError: the file cannot be read, or is too long for a screen.
    """
    from ..records.texts import read_text
    from ..report.screen import NOTE

    path = folder / NOTE
    return "\n".join(read_text(path, NOTE_BYTES).split("\r\n")).strip() if path.exists() else ""


def _check_place(path: Path) -> None:
    """Refuse to write over what a person wrote.

    Raises:
        StorageError: there is something that this command did not write.
    """
    from ..records.texts import read_text
    from ..report.screen import BEGIN

    if not path.exists():
        return
    try:
        ours = BEGIN in read_text(path, PAGE_BYTES)
    except DataError:
        ours = False
    if not ours:
        raise StorageError(
            f"cannot write {path}: it is there, and `compare --page` did not write it; move its words into note.md and "
            "delete it, or name another folder with --out"
        )
