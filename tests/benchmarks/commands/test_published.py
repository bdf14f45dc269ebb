"""What `results/` publishes is what its records say, to the last byte, and what is missing or edited is noticed."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from statistics import fmean

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.compare import PLACE
from fl_bench.benchmarks.records.bundle import NAME, write_bundle
from fl_bench.benchmarks.records.store import Store

RESULTS = Path(__file__).parents[3] / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob(f"*/{NAME}"))
OFFLINE = RESULTS / "offline"
OWN = ("runs", "tuning")
"""Folders that commands make there when nobody names another."""
PAGES = {RESULTS / "README.md": OFFLINE, RESULTS / "offline-mixed" / "README.md": RESULTS / "offline-mixed"}
"""Pages with a comparison, and the folder whose records it was written from."""


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, str]]:
    return {record.name: dict(record.texts()) for record in Store(OFFLINE).records()}


def test_every_published_folder_has_one_bundle_and_leaderboards() -> None:
    assert PUBLISHED
    assert sorted(path for path in RESULTS.iterdir() if path.is_dir() and path.name not in OWN) == PUBLISHED
    for folder in PUBLISHED:
        assert (folder / NAME).stat().st_size < 7_000_000
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


def test_every_comparison_that_is_published_is_known_here() -> None:
    assert {path for path in RESULTS.rglob("*.md") if PLACE[0] in path.read_text(encoding="utf-8")} == set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("published", PAGES, ids=lambda page: page.parent.name)
def test_the_verdicts_are_what_records_say(published: Path, tmp_path: Path) -> None:
    page = shutil.copy(published, tmp_path / "README.md")
    assert run_command(["compare", str(PAGES[published]), "--format", "markdown", "--out", str(page)]) == 0
    assert page.read_bytes() == published.read_bytes()


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


def test_what_is_said_of_mixed_networks_in_short() -> None:
    # "better than no other method but FedDF": the tool's sentence on the page behind the link
    assert "FedMD or any other method but FedDF there" in (RESULTS / "README.md").read_text(encoding="utf-8")
    page = (RESULTS / "offline-mixed" / "README.md").read_text(encoding="utf-8")
    assert "- cosmos is better than feddf; equivalent to cosmos-k1; undecided against" in page


@pytest.mark.slow
def test_five_rounds_with_one_network_and_with_mixed_networks() -> None:
    after = {
        (folder.name, method): _mean_after(5, folder, method)
        for folder in (OFFLINE, RESULTS / "offline-mixed")
        for method in ("cosmos", "local")
    }
    page = " ".join((RESULTS / "offline-mixed" / "README.md").read_text(encoding="utf-8").split())
    for folder in ("offline", "offline-mixed"):
        assert f"{after[folder, 'cosmos']:.2f} % against {after[folder, 'local']:.2f} %" in page


def _mean_after(rounds: int, folder: Path, method: str) -> float:
    """Mean over data sets of the means over seeds after so many rounds, percent."""
    found: dict[str, list[float]] = {}
    for record in Store(folder).records():
        if record.label == method:
            found.setdefault(record.cell["dataset"], []).append(record.rounds[rounds - 1]["client.acc_mean"])
    return fmean(map(fmean, found.values()))


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
