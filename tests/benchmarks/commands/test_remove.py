"""Runs out of the way and again: `rm`, `run --force`, `run --exclude`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.running.executor import Event

GRID = """\
name: small
datasets: [digits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 2}
methods: [fedmd, "cosmos", {name: cosmos, label: other, settings: {clusters: 2}}]
always: [local]
seeds: [0]
"""
SUPERSEDED = Path("fl-bench-results/superseded")


@pytest.fixture
def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> Store:
    """The default folder with a run of `local` and one of `fedmd`, on digits."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    found = Store(Path("fl-bench-results"))
    for method in ("local", "fedmd"):
        found.write(cell_of(method), outcome({"client": [50.0]}))
    return found


def test_rm_moves_runs_away_and_deletes_nothing(
    store: Store,
    cell_of: Callable[..., Cell],
    snapshot: Callable[[Path], dict[str, bytes]],
    leave_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave_checkpoint(store, cell_of("fedmd"))
    before = snapshot(store.runs)
    assert run_command(["rm", "digits/fedmd-0", "--yes"]) == 0
    assert "moved 1 record to fl-bench-results/superseded" in capsys.readouterr().err
    after = snapshot(store.runs)
    assert {name.split("/")[1].split("-")[0] for name in after} == {"local"}
    moved = snapshot(SUPERSEDED)
    assert {**after, **moved} == before


def test_rm_takes_packed_runs_too(
    store: Store, snapshot: Callable[[Path], dict[str, bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(store.runs)
    assert run_command(["pack", "--remove"]) == 0
    assert run_command(["rm", "--methods", "fedmd", "--yes"]) == 0
    assert snapshot(SUPERSEDED) == {name: text for name, text in before.items() if "fedmd" in name}
    assert [name.split("-")[0] for name in Store(store.results).names()] == ["digits/local"]
    capsys.readouterr()
    assert run_command(["rm", "fedmd", "--yes"]) == 2
    assert "no record is named 'fedmd'" in capsys.readouterr().err


def test_rm_asks_and_says_what_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["rm", "fedmd"]
    assert run_command(line) == 2  # there is nobody to answer
    said = capsys.readouterr().err
    assert "  digits/fedmd-0-" in said
    assert "pass --yes to move 1 run" in said
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, code, left in ((False, 1, 2), (True, 0, 1)):
        monkeypatch.setattr("typer.confirm", lambda *_, answer=answer, **__: answer)
        assert run_command(line) == code
        assert len(Store(store.results).names()) == left


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["rm", "--yes"], "name the runs to move"),
        (["rm", "fedmd", "--datasets", "digitz", "--yes"], "did you mean 'digits'"),
        (["rm", "x", "--results", "nowhere", "--yes"], "nowhere has no records"),
        (["rm", "x", "--results", "a.tar.xz", "--yes"], "got the bundle a.tar.xz"),
    ],
)
def test_rm_refuses(store: Store, line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = store.names()
    assert run_command(line) == 2
    assert message in capsys.readouterr().err
    assert Store(store.results).names() == before


def test_rm_leaves_what_is_being_run(
    store: Store, cell_of: Callable[..., Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    with store.claim(cell_of("fedmd")):
        assert run_command(["rm", "--datasets", "digits", "--yes"]) == 2
    assert "is being run; stop that run first" in capsys.readouterr().err
    assert len(Store(store.results).names()) == 2


def test_force_runs_again_and_keeps_the_old_record(
    store: Store,
    outcome: Callable[..., Outcome],
    snapshot: Callable[[Path], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def again(cells: Sequence[Cell], store: Store, *_: object, **__: object) -> Iterator[Event]:
        for cell in cells:
            store.write(cell, outcome({"client": [70.0]}))
        yield from ()

    monkeypatch.setattr(local, "run_cells", again)
    before = {name: text for name, text in snapshot(store.runs).items() if "fedmd" in name}
    line = ["run", "grid.yaml", "--methods", "fedmd", "--exclude", "local", "--device", "cpu", "--force"]
    assert run_command([*line, "--dry-run", "--json"]) == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["to run"]
    assert not SUPERSEDED.exists()
    assert run_command([*line, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["method"], row["acc_mean"]) == ("fedmd", 70.0)
    assert snapshot(SUPERSEDED) == before
    assert run_command(line) == 0
    assert len({name.split("/")[1] for name in snapshot(SUPERSEDED)}) == 2  # the first is still there


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("local", ["fedmd", "cosmos", "other"]),
        ("cosmos,fedmd", ["other", "local"]),
        ("other", ["fedmd", "cosmos", "local"]),
    ],
)
def test_exclude_leaves_methods_out(
    store: Store, exclude: str, left: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", "grid.yaml", "--exclude", exclude, "--dry-run", "--json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)] == left


def test_exclude_by_the_method_of_several_entries(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["run", "grid.yaml", "--methods", "cosmos[clusters=2],cosmos[clusters=3],fedmd", "--dry-run", "--json"]
    assert run_command([*line, "--exclude", "cosmos"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)] == ["fedmd", "local"]
    assert run_command([*line, "--exclude", "fedmdd"]) == 2
    assert "did you mean 'fedmd'?" in capsys.readouterr().err
    assert run_command([*line, "--exclude", "cosmos,fedmd,local"]) == 2
    assert "no method is left" in capsys.readouterr().err
