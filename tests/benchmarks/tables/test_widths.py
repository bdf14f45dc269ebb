"""Tables read back: no word, number, unit or badge is lost or broken, however narrow the terminal is."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.plan import whole_table
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.tables.comparison import print_comparison
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome

WIDTHS = (60, 80, 100, 200)
WIDE = 2000
RESULTS = Path(__file__).parents[3] / "results"

GRID = """\
name: small
datasets: [digits, optdigits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 2}
methods: [local, fedmd, {name: fedmd, label: "fedmd[digest_epochs=3;temperature=1.25]", settings: {digest_epochs: 3}}]
seeds: 0-1
"""


@pytest.fixture
def filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_grid: Callable[..., Grid], outcome: Callable[..., Outcome]
) -> Store:
    """A bound, a method with an oracle, one with a long name that lacks a seed, on two data sets."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    store = Store(Path("fl-bench-results"))
    methods = (
        "local",
        "fedmd",
        {"name": "fedmd", "label": "fedmd[digest_epochs=3;temperature=1.25]", "settings": {"digest_epochs": 3}},
    )
    for cell in small_grid(datasets=("digits", "optdigits"), seeds=(0, 1), methods=methods).cells:
        facts = (
            {"category": "bound"} if cell.method == "local" else {"view_badges": {"oracle": ["oracle: test labels"]}}
        )
        views = {"client": [50.123, 50.126 + cell.seed + len(cell.label)], "oracle": [97.4, 97.51 + 2 * cell.seed]}
        if cell.seed == 1 and "[" in cell.label:
            store.write(cell, outcome(status="unsupported", reason="needs public data"))
        else:
            store.write(
                cell,
                outcome(views if cell.method != "local" else {"client": [40.0, 41.0 + 3 * cell.seed]}, facts=facts),
            )
    return store


def words(text: str) -> Counter[str]:
    """The words of a text without rules."""
    return Counter(word for word in text.split() if set(word) != {"─"})


def printed(what: Callable[[Console], None], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    what(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_results_and_comparisons_keep_every_word(filled: Store) -> None:
    records = filled.records()
    board = lines(records)
    table = read_records(records)
    options = Options("fedmd", on_missing="skillings-mack")
    result = compare(table, options, whole_table(table.methods, "fedmd"))
    for what in (
        lambda console: print_results(console, board, explain=True),
        lambda console: print_comparison(console, result, explain=True),
    ):
        whole = words(printed(what, WIDE))
        assert any("*" in word for word in whole)
        for width in WIDTHS:
            text = printed(what, width)
            assert not whole - words(text), width
            assert all(len(line) <= width for line in text.splitlines()), width


COMMANDS = (
    "list methods",
    "list partitions",
    "describe cosmos",
    "show optdigits/fedmd-0",
    "leaderboard",
    "partition digits --clients 5",
    "costs --control fedmd",
    "compare --control fedmd --on-missing skillings-mack --explain",
    "power --control fedmd --methods fedmd,local",
    "clients --control fedmd",
    "reproduce cosmos-paper",
    "doctor",
    "fsck",
    "run grid.yaml",
    pytest.param(f"contraction {RESULTS / 'contraction'} --datasets letter", marks=pytest.mark.slow),
    pytest.param("run grid.yaml --dry-run", marks=pytest.mark.slow),
    pytest.param("tune grid.yaml --dry-run --trials 2", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_keep_every_word(
    command: str, filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del filled

    def said(width: int | None) -> Counter[str]:
        if width is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        run_command(command.split())
        shown = capsys.readouterr()
        return words(shown.out + shown.err if "tune" in command else shown.out)

    whole = said(WIDE)
    assert whole
    timed = "--dry-run" in command  # a step of a net is timed each time, so seconds may differ
    for width in (60, None) if timed or "contraction" in command else (*WIDTHS, None):
        lost = whole - said(width)
        assert not {word for word in lost if not timed or any(char in word for char in "k%/=_")}, (width, lost)


def test_a_narrow_list_of_data_sets_names_what_it_hides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, parts, hidden in ((80, 2, True), (250, 1, False)):
        monkeypatch.setenv("COLUMNS", str(width))
        assert run_command(["list", "datasets"]) == 0
        text = capsys.readouterr().out
        assert ("hidden: family, summary" in text, "Handwritten" in text) == (hidden, not hidden)
        assert sum(line.startswith("name ") for line in text.splitlines()) == parts
