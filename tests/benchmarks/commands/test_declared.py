"""A declared comparison as a user meets it: `run` writes it, `compare` follows it, and every format says where not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import Declared, declare, read_declarations
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from pathlib import Path

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]

GRID = """
name: tiny
datasets: [digits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 1}
comparison: {control: fedmd, rope: 2}
question: Does FedMD win?
methods: [fedmd, local, fedavg]
seeds: 0-1
"""

MEANT = Declaration("fedmd", ("local",), bounds=("fedavg",), rope=2.0, datasets=("digits",), seeds=(0, 1, 2))


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def results(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Path:
    """Three seeds of four methods, one of which is in no declaration."""
    numbers = {"fedmd": [60, 61, 63], "local": [50, 52, 52], "fedavg": [55, 57, 57], "ditto": [60, 60, 60]}
    for method, values in numbers.items():
        for seed, value in enumerate(values):
            store.write(cell_of(method, seed), outcome({"client": [float(value)]}))
    declare(store, Declared("small", "0" * 64, "2025-12-31T00:00:00+00:00", 0, 9, MEANT, "Does FedMD win?"))
    return store.results


def test_run_writes_it_before_the_first_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, out = tmp_path / "tiny.yaml", tmp_path / "out"
    grid.write_text(GRID, encoding="utf-8")
    command = ["run", str(grid), "--out", str(out), "--methods", "fedmd,local", "--seeds", "0", "--jobs", "1"]
    assert run_command([*command, "--dry-run"]) == 0
    assert not out.exists()
    assert run_command(command) == 0
    (first,) = read_declarations(Store(out))
    assert (first.grid, first.recorded, first.runs) == ("tiny", 0, 2)
    assert first.question == "Does FedMD win?"
    assert first.comparison.methods == ("local", "fedavg")
    started = [record.run["clocks"]["started"] for record in Store(out).records()]
    assert len(started) == 2
    assert first.date <= min(started)
    grid.write_text(GRID.replace("rope: 2", "rope: 1"), encoding="utf-8")
    capsys.readouterr()
    assert run_command(command) == 0
    said = flat(capsys.readouterr().err)
    assert f"the grid tiny declared another comparison at {first.date}: it is kept" in said
    assert "declared after 2 of 2 runs" in said
    assert [one.comparison.rope for one in read_declarations(Store(out))] == [2.0, 1.0]


def test_compare_follows_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(results)]) == 0
    text = flat(capsys.readouterr().out)
    assert "3 methods on 1 block" in text
    assert "control fedmd, level .05, ROPE and tie margin 2 points" in text
    assert "declared before its first run, by the grid small at 2025-12-31T00:00:00+00:00" in text
    assert "not as declared" not in text
    assert "Bounds, " in text
    assert "ditto" not in text


def test_a_declaration_after_the_runs_says_so(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = Declared("small", "0" * 64, "2026-06-01T00:00:00+00:00", 9, 9, replace(MEANT, rope=1.0))
    declare(Store(results), late)
    assert run_command(["compare", str(results)]) == 0
    text = flat(capsys.readouterr().out)
    assert (
        "declared after 9 of 9 runs, by the grid small at 2026-06-01T00:00:00+00:00; declared otherwise at 2025" in text
    )


def test_every_format_marks_what_was_not_declared(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", str(results), "--methods", "fedmd,local,ditto", "--control", "local"]
    mark = "control local instead of fedmd; 1 method left out (fedavg); 1 method added (ditto)"
    found = {}
    for form in ("table", "markdown", "csv", "json", "latex"):
        assert run_command([*command, "--format", form]) == 0
        found[form] = capsys.readouterr().out
    assert f"not as declared: {mark}" in flat(found["table"])
    assert f"not as declared: {mark}" in found["markdown"]
    assert f"% not as declared: {mark}" in found["latex"]
    assert "Not as declared." in found["latex"]
    assert "; ".join(json.loads(found["json"])["departures"]) == mark
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert {row["declared"] for row in rows if row["family"] == "primary"} == {f"not as declared: {mark}"}
    assert run_command(["compare", str(results), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["declared"] for row in rows if row["family"] == "primary"} == {"as declared"}


def test_the_report_follows_it_too(results: Path, tmp_path: Path) -> None:
    command = ["report", str(results), "--no-figures", "--out", str(tmp_path / "page")]
    assert run_command(command) == 0
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "declared before its first run, by the grid small" in page
    assert '<p class="question">Does FedMD win?</p>' in page
    assert "not as declared" not in page
    assert run_command([*command, "--methods", "fedmd,fedavg", "--rope", "1"]) == 0
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "not as declared: 1 method left out (local); ROPE 1 instead of 2 points" in page
    assert "(declared)</option>" in page  # the control is
    assert run_command([*command, "--methods", "fedmd,local", "--control", "local"]) == 0
    assert "(the control)</option>" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_one_of_several_grids_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(MEANT, control="local", methods=("ditto",), bounds=())
    declare(Store(results), Declared("other", "0" * 64, "2025-12-31T12:00:00+00:00", 0, 6, other))
    assert run_command(["compare", str(results)]) == 0
    assert "by the grid other" in flat(capsys.readouterr().out)
    assert run_command(["compare", str(results), "--declared", "small"]) == 0
    assert "by the grid small" in flat(capsys.readouterr().out)
    assert run_command(["compare", str(results), "--declared", "smal"]) == 2
    assert "no grid 'smal' declared a comparison here (known: small, other)" in capsys.readouterr().err


def test_a_comparison_without_the_declared_control_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(results), "--methods", "local,ditto"]
    assert run_command(command) == 2
    assert "the grid small declared the control fedmd, which is not among the methods compared (ditto, local)" in flat(
        capsys.readouterr().err
    )
    assert run_command([*command, "--control", "local"]) == 0


def test_methods_left_out_without_a_declaration_are_counted_too(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "comparison.json").unlink()
    assert run_command(["compare", str(results), "--methods", "fedmd,local,ditto", "--control", "fedmd"]) == 0
    assert "Holm over 2 of 3 possible tests" in flat(capsys.readouterr().out)


def test_power_of_records_and_tables(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["power", str(results)]) == 0
    text = flat(capsys.readouterr().out)
    assert (
        "fedmd against the methods with 1 data set and 3 seeds (t paired by seed, Holm over 1 test, level .05)" in text
    )
    assert "fedmd against the bounds with 1 data set and 3 seeds" in text
    assert "Seeds for a power of 80 % (typical method: local)" in text
    path = tmp_path / "table.csv"
    rows = [
        f"d{place},{seed},{60 + place + seed},{60 + 2 * seed},{55 + place * seed}"
        for place in range(6)
        for seed in (0, 1)
    ]
    path.write_text("\n".join(["dataset,seed,ours,a,b", *rows]), encoding="utf-8")
    command = ["power", str(path), "--control", "ours", "--blocks", "12", "--seeds", "4"]
    assert run_command(command) == 0
    text = flat(capsys.readouterr().out)
    assert "ours against the methods with 12 data sets and 4 seeds (signed rank, Holm over 2 tests, level .05)" in text
    assert "Data sets for a power of 80 %" in text
    assert run_command([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["tests"], found["blocks"], found["seeds"], found["floor"]) == (2, 12, 4, 7)
    assert [row["method"] for row in found["rows"]] == ["a", "b"]
    assert run_command(["power", str(path)]) == 2
    assert "name it with --control" in capsys.readouterr().err


def test_a_dry_run_tells_the_chance_from_the_runs_that_are_there(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "tiny.yaml"
    grid.write_text(GRID.replace("rounds: 1", "rounds: 2").replace("0-1", "0-2"), encoding="utf-8")
    command = ["run", str(grid), "--dry-run", "--out", str(store.results)]
    assert run_command(command) == 0
    assert "power, fedmd" not in capsys.readouterr().err
    for method, values in (("fedmd", [60, 61, 63]), ("local", [50, 52, 52])):
        for seed, value in enumerate(values):
            store.write(cell_of(method, seed), outcome({"client": [float(value)] * 2}))
    assert run_command(command) == 0
    said = flat(capsys.readouterr().err)
    assert "power, fedmd against the methods with 1 data set and 3 seeds (t paired by seed, Holm over 2 tests" in said
    assert "from the spread of 6 runs that are there" in said
