"""`fl-bench overlap` as a user meets it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.overlap import known_text, overlap

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(tmp_path: Path) -> str:
    """Half of digits in a file of the user's, on another scale."""
    digits = load_dataset("digits")
    np.savez(tmp_path / "mine.npz", x=digits.inputs.numpy().reshape(-1, 64)[:900] * 255, y=digits.labels.numpy()[:900])
    return f"npz:{tmp_path / 'mine.npz'}"


def test_shared_rows_are_said_with_the_families(
    copy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # the name of the user's file is as long as the folder of the test
    assert run_command(["overlap", "digits", copy]) == 0
    said = capsys.readouterr()
    text = " ".join(said.out.split())
    assert "900 rows of" in text
    assert "are rows of digits" in text
    assert "a comparison counts these rows twice" in text
    assert "1 of 1 pairs of data sets share rows" in said.err


def test_json_and_a_file(copy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.csv"
    assert run_command(["overlap", "digits", copy, "--json", "--out", str(out)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["first"], row["rows"], row["found"], row["other_found"]) == ("digits", 1797, 900, 900)
    found = overlap(load_dataset("digits"), load_dataset(copy))
    assert found is not None
    assert out.read_text() == known_text([found])


def test_one_data_set_overlaps_with_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["overlap", "digits"]) == 2
    assert "an overlap is between two data sets or more, got digits" in capsys.readouterr().err


def test_a_run_looks_at_a_user_s_data_and_compare_says_what_it_found(
    copy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, out = tmp_path / "grid.yaml", tmp_path / "out"
    grid.write_text(
        "name: mine\nmodels: [mlp-8]\ntraining: {rounds: 1}\nmethods: [local, fedavg]\nseeds: 0\n"
        f"partition: {{clients: 5, groups: 5, min_test: 5}}\ndatasets: [digits, '{copy}']\n",
        encoding="utf-8",
    )
    command = ["run", str(grid), "--out", str(out), "--jobs", "1"]
    assert run_command(command) == 0
    assert "all 900 rows of npz:mine.npz are rows of digits" in " ".join(capsys.readouterr().err.split())
    assert run_command(["compare", str(out), "--control", "local"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all 900 rows of npz:mine.npz are rows of digits: they count as two observations here" in said
    text = (out / "overlaps.csv").read_text()
    assert text == "first,second,rows,found,other_rows,other_found\ndigits,npz:mine.npz,1797,900,900,900\n"
    (out / "overlaps.csv").write_text("first\ndigits\n")
    assert run_command(["compare", str(out), "--control", "local"]) == 2
    assert "overlaps.csv does not say which data sets share rows" in capsys.readouterr().err
