"""`--methods`, `--datasets`, `--settings` and `--json` of every command that reads records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from fl_bench.benchmarks.commands.cli import app, run_command
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome

READING = ("compare", "leaderboard", "figures", "report", "costs", "clients", "power", "reproduce", "contraction")
READING = (*READING, "fsck", "show")
GROUP: Any = typer.main.get_command(app)


@pytest.fixture
def short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_grid: Callable[..., Grid],
    outcome: Callable[..., Outcome],
) -> str:
    """Two data sets, two settings, three methods, two seeds; the name of the setting of two rounds."""
    monkeypatch.chdir(tmp_path)
    store = Store(Path("fl-bench-results"))
    methods = ("local", "fedmd", "fedavg")
    for rounds in (3, 2):
        grid = small_grid(datasets=("digits", "optdigits"), methods=methods, seeds=(0, 1), training={"rounds": rounds})
        for cell in grid.cells:
            store.write(cell, outcome({"client": [40.0 + (5 + cell.seed) * methods.index(cell.method)] * rounds}))
    return "rounds=2"


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command says as JSON."""

    def ask(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run_command([*arguments, "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.mark.parametrize("name", READING)
def test_every_command_that_reads_records_has_the_filters_and_json(name: str) -> None:
    options = {flag for one in GROUP.commands[name].params for flag in one.opts}
    assert options >= {"--methods", "--datasets", "--settings", "--json"}


def test_a_leaderboard_of_some_records_is_printed_and_not_written(
    short: str, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = answer("leaderboard", "--methods", "fedmd,local", "--datasets", "digits", "--settings", short)
    assert {(line["dataset"], line["method"]) for line in lines} == {("digits", "fedmd"), ("digits", "local")}
    assert all("; 2 rounds" in line["setting_text"] for line in lines)
    assert not Path("fl-bench-results/leaderboards").exists()
    assert run_command(["leaderboard", "--check", "--datasets", "digits"]) == 2
    assert "--check compares whole files" in capsys.readouterr().err
    assert run_command(["leaderboard", "--settings", "rounds=9"]) == 2
    assert "setting of these records" in capsys.readouterr().err


def test_compare_takes_one_setting_and_says_it_as_json(
    short: str, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, some = answer("compare", "--control", "local"), answer("compare", "--control", "local", "--settings", short)
    assert {one["setting_text"].partition("; ")[2][:17] for one in some["table"]["conditions"]} == {"mlp-8; 2 rounds, "}
    assert len(whole["table"]["conditions"]) == 2 * len(some["table"]["conditions"])
    capsys.readouterr()
    assert run_command(["compare", "--control", "local", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == whole
    assert run_command(["compare", "--json", "--format", "csv"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert run_command(["compare", "--settings", "rounds=9"]) == 2
    assert "setting of these records" in capsys.readouterr().err


def test_costs_and_power_take_the_filters(short: str, answer: Callable[..., Any]) -> None:
    asked = ("--control", "local", "--methods", "local,fedmd", "--datasets", "digits", "--settings", short)
    assert [(row["method"], row["other"]) for row in answer("costs", *asked)] == [("fedmd", "local")]
    assert len(answer("power", *asked)) == 1


def test_figures_and_report_say_what_they_wrote(short: str, answer: Callable[..., Any]) -> None:
    pytest.importorskip("matplotlib")
    drawn = answer("figures", "--kinds", "curves", "--datasets", "digits", "--settings", short)
    (figure,) = drawn["figures"]
    assert (figure["kind"], figure["files"]) == ("curves", ["figures/curves-digits.svg"])
    assert Path("figures/curves-digits.svg").is_file()
    page = answer("report", "--no-figures", "--methods", "fedmd,local", "--settings", short)
    assert (page["page"], page["records"]) == ("report/index.html", 2 * 2 * 2)
    text = Path("report/index.html").read_text(encoding="utf-8")
    assert "fedavg" not in text
    assert page["bytes"] == len(text.encode())


def test_fsck_looks_at_what_is_asked_for(short: str, answer: Callable[..., Any]) -> None:
    for folder in ("digits/fedmd-0-0123456789", "optdigits/local-0-0123456789"):
        (Path("fl-bench-results/runs") / folder).mkdir()
    assert len(answer("fsck", code=1)) == 2
    (one,) = answer("fsck", "--datasets", "digits", code=1)
    assert one["place"].endswith("digits/fedmd-0-0123456789")
    assert answer("fsck", "--datasets", "digits", "--methods", "local") == []
    assert answer("fsck", "--methods", "fedavg", "--settings", short) == []


def test_nothing_left_is_said(short: str, capsys: pytest.CaptureFixture[str]) -> None:
    del short
    for folder in Path("fl-bench-results/runs/digits").glob("local-*"):
        folder.rename(Path(folder.name))
    line = ["leaderboard", "--methods", "local", "--datasets", "digits", "--settings", "rounds=3"]
    assert run_command(line) == 2
    assert "is of methods local, data sets digits, settings rounds=3" in capsys.readouterr().err
