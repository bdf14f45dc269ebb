"""`fl-bench contraction` as a user meets it: runs of a tiny grid, planted runs, every form of output, every refusal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.running.runner import Options, run_cell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

ROUNDS = 20


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def planted(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Path:
    """Five seeds of COSMOS, whose excess shrinks to 0.7 a round down to 0.2, and of Local-only: to 0.9, down to 0.4."""
    for seed in range(5):
        stream = np.random.default_rng(seed)
        for method, floor, rho in (("cosmos", 0.2, 0.7), ("local", 0.4, 0.9)):
            cell = cell_of(method, seed, training={"rounds": ROUNDS, "risks": True})
            made = outcome({"client": [50.0] * ROUNDS})
            starts = 1 + 0.1 * stream.normal(size=8)
            rows = [
                {
                    "round": t,
                    "client": i,
                    "cluster": None,
                    **{f"client.{name}": float(risk) for name in ("loss", "brier")},
                    "client.acc": 100 - 50 * float(risk),
                }
                for t in range(ROUNDS)
                for i in range(8)
                for risk in [floor + starts[i] * rho**t + 0.002 * stream.normal()]
            ]
            store.write(cell, type(made)(**{**vars(made), "clients": rows}))
    return store.results


def test_planted_runs_at_the_terminal(
    planted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["contraction", str(planted), "--draws", "100", "--reasons"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    text = flat(out)
    assert "digits: cross-entropy" in text
    assert "8 clients, 20 rounds, seeds 0 1 2 3 4" in text
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name in ("contracts", "rho-local", "floor-local", "end-local"):
        assert flat(lines[name]) == f"{name} supported supported"
    assert flat(lines["floor-frozen"]) == "floor-frozen not run not run"
    assert re.search(r"rho-local: it contracts faster than Local-only digits: supported: -0\.(19|20)", text)


def test_planted_runs_as_json_and_as_a_picture(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["contraction", str(planted), "--risk", "zero-one", "--draws", "50", "--json", "--out", str(out)]
    assert run_command(command) == 0
    said = capsys.readouterr()
    (found,) = json.loads(said.out)
    (study,) = found["studies"]
    assert (study["dataset"], found["risk"], study["clusters"]) == ("digits", "zero-one", "seed")
    cosmos = study["arms"]["cosmos"]
    # An accuracy of 100 - 50 r is a 0/1 risk of r / 2: half of the floor 0.2, the same rho.
    assert cosmos["judgement"]["step"]["rho"]["estimate"] == pytest.approx(0.7, abs=0.02)
    assert cosmos["judgement"]["step"]["floor"]["estimate"] == pytest.approx(0.1, abs=0.005)
    assert cosmos["judgement"]["fit"]["fits"]["line"]["rate"] is None
    assert cosmos["end"]["mean"] == pytest.approx(0.1, abs=0.005)
    assert (cosmos["control"], study["arms"]["local"]["control"]) == (False, True)
    verdicts = {one["name"]: one["verdict"] for one in found["predictions"]}
    assert verdicts["floor-local"] == "supported"
    assert json.loads((out / "contraction.json").read_text(encoding="utf-8")) == [found]
    picture = (out / "contraction-digits-zero-one.svg").read_text(encoding="utf-8")
    for text in ("digits", "cosmos", "local", "rho", "floor", "round", "zero-one"):
        assert f">{text}</text>" in picture


def test_runs_of_a_tiny_grid(store: Store, small_grid: Callable[..., Grid], capsys: pytest.CaptureFixture[str]) -> None:
    cosmos = {"clusters": 2, "distill_epochs": 1, "server_epochs": 1, "diagnostics": True}
    grid = small_grid(
        Overrides(seeds="0-1"),
        methods=("local", "centralized-group", {"cosmos": cosmos}),
        partition={"clients": 5, "groups": 5, "min_test": 5, "max_train": 400},
        training={"rounds": 7, "batch_size": 64, "risks": True},
    )
    assert {run_cell(cell, store, Options()).status for cell in grid.cells} == {"done"}
    assert run_command(["contraction", str(store.results), "--draws", "20", "--risk", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["risk"] for one in found] == ["cross-entropy", "brier", "zero-one"]
    (study,) = found[0]["studies"]
    assert (study["clients"], study["rounds"], study["seeds"]) == (5, 7, [0, 1])
    arms: dict[str, Any] = study["arms"]
    assert set(arms) == {"cosmos", "local"}
    assert set(arms["cosmos"]["other_views"]) == {"after_distill", "server_assigned", "server_oracle"}
    assert set(arms["cosmos"]["diagnostics"]) == {"distill_residual", "server_residual", "prediction_change"}
    assert study["references"]["centralized-group"]["badges"] == ["oracle: true groups (centralized-group)"]
    records = {(record.label, record.repetition.seed): record for record in store.records()}
    for label, view in (("cosmos", "client"), ("local", "client")):
        ends = [row[f"{view}.loss"] for seed in (0, 1) for row in records[label, seed].clients if row["round"] == 6]
        assert arms[label]["curve"][6] == pytest.approx(np.mean(ends))
    assert run_command(["contraction", str(store.results), "--draws", "20", "--risk", "brier"]) == 0
    text = flat(capsys.readouterr().out)
    assert "* oracle: true groups (centralized-group)" in text
    assert "Server and clients" in text
    assert "On the public pool" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--risk", "hinge"], "no risk is named 'hinge'"),
        (["--format", "gif"], "no format is named 'gif'"),
        (["--datasets", "letter"], "no data set of these records is named 'letter'"),
        (["--alpha", "1.5"], "--alpha must be in (0, 1), got 1.5"),
        (["--predictions", "none.yaml"], "there is no file none.yaml"),
    ],
)
def test_options_that_cannot_be(
    planted: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert run_command(["contraction", str(planted), *options]) == 2
    assert says in capsys.readouterr().err


def test_records_without_the_arm_or_without_risks(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(cell_of("local"), outcome({"client": [50.0, 60.0]}))
    assert run_command(["contraction", str(store.results)]) == 2
    assert "this record has no risks per client; run the grid with `training.risks: true`" in capsys.readouterr().err
