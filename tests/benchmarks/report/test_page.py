"""What the page says, as text: every line, run and obstacle, and nothing that a record could smuggle in."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.grid.grid import GRIDS, read_grid
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.records.declarations import Declared, declare
from fl_bench.benchmarks.records.record import Record
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.report.board import entries
from fl_bench.benchmarks.report.page import About, render_page
from fl_bench.benchmarks.report.runs import drill_down, provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome


def page(records: Sequence[Record], obstacle: str = "why") -> str:
    return render_page(records, selection="last", comparison=None, obstacle=obstacle, pictures=[])


def embedded(text: str) -> dict[str, Any]:
    """The data that the page's script reads."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def test_lines_are_ordered_and_placed_within_their_data_set(filled: Path) -> None:
    records = Store(filled).records()
    board = entries(records, lines(records))
    digits = [entry for entry in board if entry.dataset == "digits"]
    assert [(entry.method, entry.view, entry.place) for entry in digits] == [
        ("cosmos", "client", 1),
        ("cosmos", "server_oracle", None),
        ("fedmd", "client", 2),
        ("fedavg", "client", 3),
        ("local", "client", 4),
    ]
    best, oracle = digits[:2]
    assert best.accuracy_text == "75.50 ± 0.71"  # 75 and 76
    assert [cell.text for cell in best.numbers[:3]] == ["", "+15.00", "65.50"]  # no validation data in these records
    assert (best.category, best.badges, oracle.badges) == ("clustered", (), ("oracle: test labels",))
    (diverged,) = [entry for entry in board if (entry.dataset, entry.method) == ("optdigits", "fedavg")]
    assert diverged.runs == "1 done, 1 diverged"


def test_intervals_stay_within_what_an_accuracy_can_be(filled: Path) -> None:
    records = Store(filled).records()
    board = {(entry.method, entry.dataset, entry.view): entry.interval for entry in entries(records, lines(records))}
    # 75 and 76: t(1) = 12.706 times 0.5 is 6.35 to both sides.
    assert board["cosmos", "digits", "client"] == "69.1 to 81.9"
    assert board["fedavg", "optdigits", "client"] == ""  # one seed is done


def test_the_page_has_the_name_and_the_question_of_its_grid(filled: Path) -> None:
    records = Store(filled).records()
    about = About("people", "Who gains <most>?")
    text = render_page(records, selection="last", comparison=None, obstacle="", pictures=[], about=about)
    assert "<title>people · fl-bench</title>" in text
    assert '<p class="question">Who gains &lt;most&gt;?</p>' in text
    assert '<p class="question">' not in page(records)


def test_every_run_can_be_looked_into(filled: Path) -> None:
    records = Store(filled).records()
    data = drill_down(records)
    assert {run["key"] for run in data["runs"]} == {record.run["key"] for record in records}
    (run,) = [run for run in data["runs"] if (run["dataset"], run["label"], run["seed"]) == ("digits", "cosmos", 1)]
    assert run["accuracies"] == {"client": [56.0, 72.0, 76.0], "server_oracle": [67.0, 77.0, 78.0]}
    assert run["columns"]["bytes up"] == 400  # the same in every round: once
    assert run["columns"]["bytes down"] == [0, 200, 200]
    assert "validation" not in run["columns"]  # nobody measured it
    assert data["methods"][run["method"]]["settings"]["clusters"] == "5"
    assert data["settings"][run["setting"]]["parts"]["training.rounds"] == "2"
    (bad,) = [run for run in data["runs"] if run["status"] == "diverged"]
    assert "rounds" not in bad
    assert len(data["settings"]) == 1  # shared by all, there once


def test_provenance_counts_runs(filled: Path) -> None:
    records = Store(filled).records()
    other = {**records[0].run, "provenance": {"fl_bench": "9"}}
    rows = provenance(drill_down([replace(records[0], run=other), *records[1:]]))
    assert [(row["runs"], row["fl_bench"]) for row in rows] == [(len(records) - 1, "0"), (1, "9")]


def test_the_page_is_the_same_for_the_same_records_and_needs_nothing_else(filled: Path) -> None:
    text = page(Store(filled).records())
    assert text == page(Store(filled).records()[::-1])
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_what_records_say_is_text_and_never_code(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    store.write(replace(cell_of("local"), label=attack), outcome({"client": [1.0]}, facts={"category": attack}))
    store.write(cell_of("fedmd"), outcome(status="failed", reason=attack))
    text = page(store.records(), obstacle=attack)
    assert attack not in text
    assert "<img src=x" not in text
    assert text.count("<script") == 2
    assert {run["label"] for run in embedded(text)["runs"]} == {attack, "fedmd"}


def test_a_run_that_is_not_done_is_listed_with_its_reason(filled: Path) -> None:
    text = page(Store(filled).records())
    assert "a weight of client &lt;3&gt; left the finite numbers" in text
    assert "16 runs, 1 of them not done: 4 methods on 2 data sets in 1 setting, 2 seeds." in text


def test_badges_are_explained(filled: Path) -> None:
    text = page(Store(filled).records())
    assert "is never the method&#39;s. Carried by cosmos · server_oracle." in text


@pytest.mark.parametrize("status", ["failed", "unsupported"])
def test_a_folder_without_any_number_has_a_page(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], status: str, tmp_path: Path
) -> None:
    store.write(cell_of("local"), outcome(status=status, reason="no luck"))
    assert run_command(["report", str(store.results), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "index.html").read_text()
    assert "no luck" in text
    assert "No comparison." in text


def test_an_incomplete_folder_says_what_is_missing(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert run_command(["report", str(filled), "--out", str(out), "--no-figures"]) == 0
    text = (out / "index.html").read_text()
    assert "No comparison." in text
    assert "optdigits, seed 1, diverged: fedavg" in text
    assert "optdigits, seed 1, diverged: fedavg" in capsys.readouterr().err
    # Asked to go on, it does, and says so.
    assert (
        run_command(["report", str(filled), "--out", str(out), "--no-figures", "--on-missing", "skillings-mack"]) == 0
    )
    text = (out / "index.html").read_text()
    assert "No comparison." not in text
    assert "local against cosmos on 1 family (2 data sets), mlp-8, latent-groups is undecided: -15.00 points" in text


def test_the_page_is_named_after_the_grid_that_declared_the_comparison(filled: Path, tmp_path: Path) -> None:
    grid = GRIDS / "quick.yaml"
    meant = Declaration(control="cosmos", methods=("fedmd", "fedavg", "local"))
    digest = sha256(grid.read_bytes()).hexdigest()
    declare(Store(filled), Declared("quick", digest, "2026-01-31T12:00:00+00:00", 0, 16, meant))
    command = ["report", str(filled), "--no-figures", "--out", str(tmp_path / "report")]
    assert run_command(command) == 0
    text = (tmp_path / "report" / "index.html").read_text()
    assert "<title>quick · fl-bench</title>" in text
    assert f'<p class="question">{read_grid(grid).description}' in text
    other = Declaration(control="local", methods=("cosmos", "fedmd", "fedavg"))
    declare(Store(filled), Declared("quick", "another", "2026-01-31T12:00:00+00:00", 0, 16, other))
    assert run_command(command) == 0
    assert '<p class="question">' not in (tmp_path / "report" / "index.html").read_text()  # not the grid we know


def test_the_page_is_shown_where_that_is_asked_for(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not shown.append(address))
    command = ["report", str(filled), "--no-figures", "--out", str(tmp_path / "report")]
    assert run_command(command) == 0
    assert f"wrote {tmp_path / 'report' / 'index.html'}" in capsys.readouterr().err.replace("\n", "")
    assert shown == []
    assert run_command([*command, "--open"]) == 0
    assert shown == [(tmp_path / "report" / "index.html").as_uri()]
    assert "no browser" not in capsys.readouterr().err
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert run_command([*command, "--open"]) == 0
    assert "found no browser that could be started" in capsys.readouterr().err


def test_a_single_data_set_has_verdicts(filled: Path, tmp_path: Path) -> None:
    arguments = ["report", str(filled), "--out", str(tmp_path / "r"), "--no-figures", "--datasets", "digits"]
    assert run_command([*arguments, "--methods", "cosmos,local"]) == 0
    text = (tmp_path / "r" / "index.html").read_text()
    assert "local against cosmos on digits, mlp-8, latent-groups over 2 seeds is undecided: -15.00 points" in text
    assert "fedmd" not in text
    assert "optdigits" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "nowhere has no records; `fl-bench run --out nowhere` makes some"),
        (["report", "results", "--methods", "fedmdd"], "did you mean 'fedmd'"),
        (["report", "results", "--datasets", "digitz"], "did you mean 'digits'"),
        (["report", "results", "--control", "nobody"], "no method of this comparison is named 'nobody'"),
        (["report", "results", "--alpha", "2"], "alpha must lie between 0 and 0.5"),
        (["report", "results", "--out", "taken"], "cannot write taken/index.html"),
        (["figures", "results", "--format", "gif"], "no format is named 'gif'"),
        (["figures", "results", "--kinds", "pie"], "no kind of figure is named 'pie'"),
        (["figures", "results", "--width", "35"], "--width takes 3 to 12 inches, got 35"),
    ],
)
def test_mistakes_are_explained(
    filled: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(filled.parent)
    (filled.parent / "taken").write_text("")
    fast = ["--no-figures"] if arguments[0] == "report" and "nobody" not in arguments else []
    assert run_command([*arguments, *fast]) == 2
    assert message in capsys.readouterr().err


def test_figures_writes_what_was_asked_for(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures"
    options = ["--kinds", "deciles,ranks", "--format", "svg,png", "--datasets", "digits"]
    assert run_command(["figures", str(filled), "--out", str(out), *options]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["deciles-digits.png", "deciles-digits.svg"]
    assert "not drawn: ranks" in capsys.readouterr().err  # one block has no mean ranks to compare


def test_figures_for_a_paper_have_their_captions_beside_them_or_on_the_terminal(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "paper"
    asked = ["figures", str(filled), "--width", "3.5", "--kinds", "deciles", "--datasets", "digits", "--out", str(out)]
    assert run_command(asked) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "digits: accuracy of single clients" in said
    svg = (out / "deciles-digits.svg").read_text()
    assert 'width="252pt"' in svg  # 3.5 inches
    assert "accuracy of single clients" not in svg
    assert run_command([*asked, "--captions"]) == 0
    assert "accuracy of single clients" not in capsys.readouterr().err
    assert (out / "deciles-digits.txt").read_text().startswith("digits: accuracy of single clients")


def test_a_thousand_runs_stay_a_reasonable_page(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    views = {
        view: [float(number) / 7 for number in range(20)] for view in ("client", "server_assigned", "server_oracle")
    }
    store.write(cell_of("cosmos"), outcome(views, validation=[float(number) / 3 for number in range(20)]))
    (record,) = store.records()
    runs = [
        Record(record.folder, {**record.run, "key": f"{seed:010d}", "cell": {**record.cell, "seed": seed}})
        for seed in range(1000)
    ]
    text = page(runs)
    assert len(embedded(text)["runs"]) == 1000
    assert len(text.encode()) < 2_000_000  # 20 rounds with three views and validation: 1.2 MB
