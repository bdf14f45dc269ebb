"""A damaged record is named and left out: it never ends in a traceback, and never blocks the tables of the others."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.run_view import print_record
from fl_bench.benchmarks.grid.cell import Cell, safe_name, short_hash
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.records.audit import incomplete
from fl_bench.benchmarks.records.reading import parse_run
from fl_bench.benchmarks.records.record import Outcome, Record
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.report.runs import drill_down
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.errors import DataError
from fl_bench.limits import RECORD_BYTES, RECORD_DEPTH

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]

GONE = object()
"""A field that is removed."""

DAMAGES: tuple[Any, ...] = (
    *(GONE, None, "x", "", "\x1b[2J", True, -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf")),
    *([], {}, [1], ["x"], {"a": 1}, {"a": {"b": [None]}}),
)

CELLS = ("", "x", "nan", "inf", "-1", "1e308", "9" * 400, "9" * 5000, "\x1b[2J")
"""What may stand in a table in place of a number."""


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """Two methods with two seeds, and one that failed."""
    for seed in (0, 1):
        store.write(cell_of("local", seed), outcome({"client": [40.0, 50.0]}, validation=[1.0, 2.0]))
        store.write(cell_of("fedmd", seed), outcome({"client": [40.0, 60.0]}, validation=[1.0, 2.0]))
    store.write(cell_of("fedmd", 2), outcome(status="failed", reason="boom"))
    return store


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field, nested ones too."""
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


def damaged(values: Any, path: tuple[Any, ...], damage: Any) -> Any:
    """The values with one field changed or removed."""
    result = copy.deepcopy(values)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    if damage is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = damage
    return result


def read_all(record: Record, others: list[Record], screen: Any) -> None:
    """What commands make of a record that was let in: tables, a comparison, the report, a page of its own."""
    records = [*others, record]
    files(records)
    read_records(records, "val")
    drill_down(records)
    print_record(screen(), record)
    list(incomplete(record))


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_no_field_of_run_json_ends_in_a_traceback(filled: Store, screen: Any, step: int) -> None:
    name = next(name for name in filled.names() if name.startswith("digits/fedmd-1"))
    others = [record for record in filled.records() if record.name != name]
    texts = dict(filled.read(name).texts())
    run = json.loads(texts["run.json"])
    run["facts"] |= {"category": "x", "public_samples": 3, "view_badges": {"client": ["oracle"]}}
    refused, taken = 0, 0
    for path, damage in list(itertools.product(places(run), DAMAGES))[::step]:
        changed = damaged(run, path, damage)
        with contextlib.suppress(KeyError, ValueError, AttributeError):  # as one would who knows how keys are made
            changed["key"] = short_hash(changed["cell"], 10) if path[0] == "cell" else changed["key"]
        try:
            read = parse_run(json.dumps(changed), filled.runs / name / "run.json")
            read_all(Record(filled.runs / name, read, {**texts, "run.json": ""}), others, screen)
            taken += 1
        except DataError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{'.'.join(map(str, path))} = {damage!r}") from error
    assert refused > 700 / step
    assert taken > 100 / step  # settings of methods may be anything


@pytest.mark.parametrize("table", ["rounds.csv", "clients.csv"])
def test_no_cell_of_a_table_ends_in_a_traceback(filled: Store, screen: Any, table: str) -> None:
    name = next(name for name in filled.names() if name.startswith("digits/fedmd-1"))
    others = [record for record in filled.records() if record.name != name]
    record = filled.read(name)
    texts = dict(record.texts())
    heading, *rows = [line.split(",") for line in texts[table].splitlines()]
    refused = 0
    for column in range(len(heading)):
        for value in CELLS:
            changed = [[*row[:column], value, *row[column + 1 :]] if row is rows[-1] else row for row in rows]
            for lines in ([heading, *changed], [[*heading[:column], value or "y", *heading[column + 1 :]], *rows]):
                text = "\n".join(map(",".join, lines)) + "\n"
                try:
                    read_all(Record(record.folder, record.run, {**texts, table: text}), others, screen)
                except DataError:
                    refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run["cell"].update(seed=7), "has the key .*, but its cell makes"),
        (lambda run: run["cell"]["training"].update(lr=float("nan")), "garbles cell.training.lr"),
        (lambda run: run["facts"].update(deployed="other"), "garbles facts"),
        (lambda run: run["facts"].update(views=[]), "garbles facts"),
        (lambda run: run["clocks"].update(seconds_total="1"), r"garbles clocks\.seconds_total"),
        (lambda run: run["provenance"].update(x=json.loads("[" * 40 + "]" * 40)), f"more than {RECORD_DEPTH} lists"),
    ],
)
def test_what_is_wrong_is_named(filled: Store, change: Callable[[Any], None], message: str) -> None:
    path = filled.folders()[0] / "run.json"
    run = json.loads(path.read_text())
    change(run)
    path.write_text(json.dumps(run))
    with pytest.raises(DataError, match=message):
        filled.read(filled.names()[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_only_ordinary_files_of_a_bounded_size_are_read(filled: Store) -> None:
    first, second, *_ = filled.folders()
    (first / "run.json").unlink()
    os.mkfifo(first / "run.json")
    with (second / "run.json").open("r+b") as file:
        file.truncate(RECORD_BYTES + 1)
    problems = [one.problem for one in filled.readable()[1]]
    assert problems[0].startswith(f"{first / 'run.json'} cannot be read (it is no ordinary file); restore it")
    assert problems[1].startswith(f"{second / 'run.json'} has {RECORD_BYTES + 1} bytes, more than any record's")


@pytest.mark.parametrize("file", ["run.json", "rounds.csv"])
def test_commands_name_a_damaged_record_and_go_on(
    filled: Store, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = next(folder for folder in filled.folders() if folder.name.startswith("fedmd-1"))
    (bad / file).write_text("{")
    results = str(filled.results)
    for command in (
        ["leaderboard", results],
        ["compare", results, "--on-missing", "complete-blocks"],
        ["report", results, "--no-figures", "--out", str(tmp_path / "report")],
        ["pack", results, "--out", str(tmp_path / "x.tar.xz")],
        ["reproduce", "cosmos-paper", results],
    ):
        assert run_command(command) == 1, command
        said = capsys.readouterr()
        assert said.err.count("left out, damaged: ") == 1
        assert bad.name in said.err
    board = (filled.results / "leaderboards" / "digits.csv").read_text()
    assert [row["method"] for row in csv.DictReader(io.StringIO(board))] == ["fedmd", "local"]


def test_compare_takes_a_damaged_record_for_a_missing_one(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    bad = next(folder for folder in filled.folders() if folder.name.startswith("fedmd-1"))
    (bad / "run.json").write_text("{")
    damaged = run_command(["compare", str(filled.results)]), capsys.readouterr().err.partition("\n")[2]
    for path in bad.iterdir():
        path.unlink()
    bad.rmdir()
    assert damaged == (run_command(["compare", str(filled.results)]), capsys.readouterr().err)
    assert "fedmd" in damaged[1]


def test_a_run_goes_on_beside_a_damaged_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell_of: MakeCell, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(
        "name: g\ndatasets: [digits]\npartition: {clients: 5, groups: 5, min_test: 5}\nmodels: [mlp-8]\n"
        "training: {rounds: 2}\nmethods: [local, fedavg]\nseeds: [0]\n"
    )
    bad = Store(Path("fl-bench-results")).runs / cell_of("local").folder
    bad.mkdir(parents=True)
    (bad / "run.json").write_text("{}")
    assert run_command(["run", "g.yaml", "--dry-run", "--json"]) == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["damaged", "to run"]
    assert run_command(["run", "g.yaml", "--jobs", "1"]) == 1
    said = capsys.readouterr()
    assert "2 runs, 0 of them finished earlier, 1 have a damaged record" in said.err
    assert f"left out, damaged: {bad / 'run.json'} does not say its format" in said.err
    assert "fedavg" in said.out
    assert (bad / "run.json").read_text() == "{}"


def test_a_record_under_the_name_of_another_is_refused(filled: Store) -> None:
    folder = filled.folders()[0]
    other = folder.with_name(folder.name.replace("-0-", "-7-"))
    folder.rename(other)
    (found,) = filled.readable()[1]
    assert "holds the record of digits, seed 0" in found.problem
    assert safe_name("digits") in found.name
