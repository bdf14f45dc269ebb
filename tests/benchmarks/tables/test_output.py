"""What people see: numbers, tables, pictures, progress."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from fl_bench.benchmarks.commands.progress import Bars, Lines, reporter
from fl_bench.benchmarks.commands.run_view import find_record
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.provenance import revision, software
from fl_bench.benchmarks.running.runner import Ending
from fl_bench.benchmarks.tables.charts import curves, shaded
from fl_bench.benchmarks.tables.printing import print_table
from fl_bench.benchmarks.tables.results import print_results
from fl_bench.benchmarks.tables.values import show_bytes, show_seconds
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


def console(*, terminal: bool = False, width: int = 120) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width)


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (999.6, "1.0 kB"), (1234, "1.2 kB"), (5e6, "5.0 MB"), (3e15, "3000.0 TB")],
)
def test_bytes(count: float | None, shown: str) -> None:
    assert show_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (180, "3 min"), (9000, "2.5 h")]
)
def test_seconds(seconds: float | None, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_a_curve_puts_values_where_they_belong() -> None:
    # three rounds from 0 to 10 on three lines: bottom left, middle, top right
    drawn = curves({"up": [0.0, 5.0, 10.0]}, height=3).splitlines()
    assert drawn[0].index("●") > drawn[1].index("●") > drawn[2].index("●")
    assert drawn[0].strip().startswith("10.00")
    assert drawn[2].strip().startswith("0.00")
    assert drawn[-1] == "● up"


def test_a_flat_curve_and_a_single_round() -> None:
    assert "●" in curves({"flat": [3.0, 3.0]})
    assert "●" in curves({"one": [3.0]})


def test_shades_grow_with_counts_and_any_sample_shows() -> None:
    drawn = shaded(np.array([[0, 1], [50, 100]]), rows=["a", "client b"]).splitlines()
    assert drawn[1:] == ["       a    ░░  1", "client b  ▒▒██  150"]


def test_markup_in_names_is_shown_as_it_is() -> None:
    shown = console()
    print_table(shown, [{"method": "cosmos[clusters=1]", "n": 1}], title="[bold]x")
    assert "cosmos[clusters=1]" in text(shown)
    assert "[bold]x" in text(shown)


def test_results_show_every_view_and_name_what_is_missing(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    store.write(cell_of("local", 0), outcome({"client": [50.0]}))
    store.write(cell_of("local", 1), outcome({"client": [52.0]}))
    facts = {"view_badges": {"best_oracle": ["oracle: test labels"]}}
    store.write(cell_of("fedmd", 0), outcome({"client": [60.0], "best_oracle": [70.0]}, facts=facts))
    store.write(cell_of("cosmos", 0), outcome(status="failed", reason="x"))
    shown = console()
    print_results(shown, lines(store.records()))
    said = text(shown)
    assert "51.00 ± 1.41" in said  # std of 50 and 52 is sqrt(2)
    assert "+10.00" in said
    assert "1, no seed 1" in said
    assert "0, 1 failed, no seed 1" in said
    assert "· best_oracle *" in said
    assert "* oracle: test labels" in said
    assert "in-group share 92.0 %" in said
    assert "seeds 0 1, at the last round" in said


def test_lines_where_there_is_no_terminal_and_bars_where_there_is(store: Store, cell_of: Callable[..., Cell]) -> None:
    cell = cell_of()
    done = Event("ended", cell, ending=Ending("done", None, store.runs), seconds=3.0)
    failed = Event("ended", cell, ending=Ending("failed", "ValueError: x", store.runs), seconds=3.0)
    plain = console()
    with reporter(plain, 2) as report:
        assert isinstance(report, Lines)
        for event in (Event("started", cell), Event("round", cell), done, Event("skipped", cell, reason="taken")):
            report.take(event)
    assert text(plain).splitlines() == [
        "[1/2] digits local seed 0: done, 3.0 s",
        "[2/2] digits local seed 0: skipped, taken",
    ]
    fancy = console(terminal=True)
    with reporter(fancy, 2) as report:
        assert isinstance(report, Bars)
        for event in (Event("started", cell), Event("round", cell, round=1, accuracy=51.26), failed):
            report.take(event)
    assert "failed (ValueError: x)" in text(fancy)


def test_provenance_names_versions() -> None:
    facts = software()
    assert facts["packages"]["numpy"] == np.__version__
    assert set(revision()) == {"revision", "dirty"}


def test_a_record_whose_name_begins_so_comes_before_those_that_contain_it(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    asked = cell_of("local", datasets=("digits",))
    other = cell_of("local", datasets=("optdigits",))
    for cell in (asked, other):
        store.write(cell, outcome({"client": [50.0]}))
    assert find_record("digits/local", store.results).cell["dataset"] == "digits"
    assert find_record("optdigits", store.results).cell["dataset"] == "optdigits"
    with pytest.raises(ConfigError, match="part of 2 records"):
        find_record("local-0", store.results)
