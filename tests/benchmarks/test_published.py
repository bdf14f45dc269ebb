"""What `results/` publishes is what its records say, to the last byte, and what is missing or edited is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fl_bench.benchmarks.bundle import NAME, write_bundle
from fl_bench.benchmarks.cli import run_command
from fl_bench.benchmarks.records import Store

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob(f"*/{NAME}"))
OFFLINE = RESULTS / "offline"
VERDICTS = ["compare", str(OFFLINE), "--format", "markdown", "--out"]
"""The command that wrote the comparison into results/README.md."""


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, str]]:
    return {record.name: dict(record.texts()) for record in Store(OFFLINE).records()}


def test_every_published_folder_has_one_bundle_and_leaderboards() -> None:
    assert PUBLISHED
    assert sorted(path for path in RESULTS.iterdir() if path.is_dir() and path.name != "runs") == PUBLISHED
    for folder in PUBLISHED:
        assert (folder / NAME).stat().st_size < 5_000_000
        assert list((folder / "leaderboards").glob("*.csv"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_leaderboards_are_what_records_say(folder: Path) -> None:
    assert run_command(["leaderboard", str(folder), "--check"]) == 0


def test_an_edited_number_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(RESULTS / "fashion-mixed", tmp_path / "copy")
    board = copy / "leaderboards" / "overall.csv"
    text = board.read_text(encoding="utf-8")
    place = text.index(".") + 1
    board.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :], encoding="utf-8")
    assert run_command(["leaderboard", str(copy), "--check"]) == 1
    assert "overall.csv" in capsys.readouterr().err


@pytest.mark.slow
def test_the_verdicts_are_what_records_say(tmp_path: Path) -> None:
    page = shutil.copy(RESULTS / "README.md", tmp_path / "README.md")
    assert run_command([*VERDICTS, str(page)]) == 0
    assert page.read_bytes() == (RESULTS / "README.md").read_bytes()


@pytest.mark.slow
def test_a_missing_record_is_named_and_nothing_claimed(
    texts: dict[str, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(name for name in texts if name.startswith("vowel/fedmd-2-"))
    write_bundle(tmp_path / "x.tar.xz", {key: value for key, value in texts.items() if key != name})
    assert run_command(["compare", str(tmp_path / "x.tar.xz")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "seed 2, missing: fedmd" in said.err
    assert "vowel" in said.err
