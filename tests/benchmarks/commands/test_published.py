"""What `results/` publishes is what its records say, to the last byte, and what is missing or edited is noticed."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.question import Question
from fl_bench.benchmarks.commands.screen import forest, tell
from fl_bench.benchmarks.figures.style import render
from fl_bench.benchmarks.manual.headings import headings
from fl_bench.benchmarks.records.bundle import NAME, write_bundle
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.report.screen import APPENDIX, PAGE, PICTURE, render_appendix, render_screen
from fl_bench.benchmarks.studies import published

RESULTS = Path(__file__).parents[3] / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob(f"*/{NAME}"))
OFFLINE = RESULTS / "offline"
OWN = ("runs", "tuning")
"""Folders that commands make there when nobody names another."""


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, str]]:
    return {record.name: dict(record.texts()) for record in Store(OFFLINE).records()}


def test_every_published_folder_has_one_bundle_and_leaderboards() -> None:
    assert PUBLISHED
    assert sorted(path for path in RESULTS.iterdir() if path.is_dir() and path.name not in OWN) == PUBLISHED
    for folder in PUBLISHED:
        assert (folder / NAME).stat().st_size < 15_000_000
        assert list((folder / "leaderboards").glob("*.csv"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_leaderboards_are_what_records_say(folder: Path) -> None:
    assert run_command(["leaderboard", str(folder), "--check"]) == 0


def test_an_edited_number_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(RESULTS / "faults", tmp_path / "copy")
    board = copy / "leaderboards" / "overall.csv"
    text = board.read_text(encoding="utf-8")
    place = text.index(".") + 1
    board.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :], encoding="utf-8")
    assert run_command(["leaderboard", str(copy), "--check"]) == 1
    assert "overall.csv" in capsys.readouterr().err


@pytest.mark.slow
def test_pages_and_their_index_are_what_make_results_writes(tmp_path: Path) -> None:
    told = [tell(folder, Question())[0] for folder in PUBLISHED]
    for folder, one in zip(PUBLISHED, told, strict=True):
        assert (folder / PAGE).read_text(encoding="utf-8") == render_screen(one), f"run `make results`: {folder.name}"
        appendix = render_appendix(one)
        assert (folder / APPENDIX).exists() == (folder / PICTURE).exists() == (appendix is not None)
        if appendix is not None:
            assert (folder / APPENDIX).read_text(encoding="utf-8") == appendix
            assert (folder / PICTURE).read_bytes() == render(forest(one), "svg")
    assert published.index(told) in (RESULTS / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_page_is_one_screen_and_its_links_lead_somewhere(folder: Path) -> None:
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 45
    for target, anchor in re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", page):
        assert (folder / target).exists()
        if anchor:
            found = {heading.anchor for heading in headings((folder / target).read_text(encoding="utf-8"))}
            assert anchor[1:] in found


def test_the_table_of_poisoned_clients_is_that_of_the_records() -> None:
    text = (RESULTS / "faults" / "leaderboards" / "digits.csv").read_text(encoding="utf-8")
    page = (RESULTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    shares: dict[str, dict[str, float]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        share = line["setting_text"].partition("clients=0.")[2][:1]
        if line["deployed"] == "yes" and share in ("", "4"):
            shares.setdefault(line["method"], {})[share] = float(line["acc_honest"] or line["acc_mean"])
    assert shares.keys() == {"fedavg", "cronus", "fedmd", "cosmos", "local"}
    for method, at in shares.items():
        (row,) = [line for line in page.splitlines() if line.startswith((f"| `{method}`", f"| `{method}["))]
        assert row.split("|")[2:4] == [f" {at['']:.2f} ", f" {at['4']:.2f} "]


def test_the_table_of_leaks_is_that_of_the_records() -> None:
    text = (RESULTS / "leakage" / "leaderboards" / "digits.csv").read_text(encoding="utf-8")
    page = (RESULTS.parent / "docs" / "leakage.md").read_text(encoding="utf-8")
    deployed = [line for line in csv.DictReader(io.StringIO(text)) if line["deployed"] == "yes"]
    assert len(deployed) == 15
    for line in deployed:
        labels, members = (
            f"{float(line[name]):.2f}" if line[name] else "not attacked" for name in ("leak_labels", "leak_membership")
        )
        assert f"| `{line['method']}` | {float(line['acc_mean']):.2f} | {labels} | {members} |" in page
    (prior,) = {line["leak_labels_prior"] for line in deployed if line["leak_labels_prior"]}
    assert f"is off by {float(prior):.2f}:" in page


@pytest.mark.slow
def test_a_missing_record_is_named_and_nothing_claimed(
    texts: dict[str, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {key: value for key, value in texts.items() if key.startswith(("vowel/", "digits/"))}
    some.pop(next(name for name in some if name.startswith("vowel/fedmd-2-")))
    write_bundle(tmp_path / "x.tar.xz", some)
    assert run_command(["compare", str(tmp_path / "x.tar.xz")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "seed 2, missing: fedmd" in said.err
    assert "vowel" in said.err
