"""`fl-bench compare` as a user meets it: records, a CSV file, every format, every refusal."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.running.runner import Options, run_cell

if TYPE_CHECKING:
    from fl_bench.benchmarks.records.store import Store

OFFLINE = Path(__file__).parents[3] / "results" / "offline"

MakeCell = Callable[..., Cell]
MakeGrid = Callable[..., Grid]
MakeOutcome = Callable[..., Outcome]

TABLE = """dataset,seed,cosmos,fedmd,local_50%
digits,0,90.1,89.0,83.0
digits,1,91.1,89.5,84.0
letter,0,80.1,80.0,73.0
letter,1,81.1,80.5,74.0
vowel,0,70.1,69.0,63.0
vowel,1,71.1,69.5,64.0
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.fixture
def results(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Path:
    for seed, (fedmd, local) in enumerate([(60.0, 50.0), (70.0, 65.0)]):
        store.write(cell_of("fedmd", seed), outcome({"client": [fedmd]}))
        store.write(cell_of("local", seed), outcome({"client": [local]}))
    return store.results


def flat(text: str) -> str:
    return " ".join(text.split())


def test_records_at_the_terminal(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(results), "--control", "fedmd"]) == 0
    text = flat(capsys.readouterr().out)
    assert "2 methods on 1 block (data sets), 1 setting, 2 seeds" in text
    # 10 and 5 points: 7.5, a standard error of 2.5, t_{.975, 1} = 12.706 and p = 2 atan(1 / 3) / pi
    assert "on digits, mlp-8, latent-groups over 2 seeds is undecided: -7.50 (-39.27 to +24.27) points, p = .20" in text
    assert "One data set: only its seeds are compared; a claim over data sets needs at least 6" in text


def test_a_deleted_record_is_refused_by_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (gone,) = (results / "runs" / "digits").glob("local-1-*")
    shutil.rmtree(gone)
    assert run_command(["compare", str(results)]) == 2
    assert "digits, seed 1, missing: local" in capsys.readouterr().err
    assert run_command(["compare", str(results), "--on-missing", "complete-blocks", "--control", "fedmd"]) == 0
    text = flat(capsys.readouterr().out)
    assert "missing: digits, seed 1, missing: local" in text
    assert "left out because of it (complete-blocks): digits, seed 1" in text


def test_variance_of_records_that_vary_parts_of_their_randomness(
    store: Store, small_grid: MakeGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = small_grid(vary={"partition": "1-2", "init": (1,)})
    done = [run_cell(cell, store, Options()) for cell in grid.cells]
    assert {ending.status for ending in done} == {"done"}
    assert run_command(["compare", str(store.results), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = {part["factor"]: part for part in found["seed_variance"]}
    scores = [read_record(ending.folder).rounds[-1]["client.acc_mean"] for ending in done]
    # local and fedmd in turn of 0, 0/partition=1, 0/partition=2, 0/init=1; pooled over the two methods
    partition = np.array([scores[0:6:2], scores[1:6:2]])
    init = np.array([[scores[0], scores[6]], [scores[1], scores[7]]])
    for factor, runs, degrees in (("partition", partition, 4), ("init", init, 2)):
        assert parts[factor]["degrees"] == degrees
        assert parts[factor]["std"] == pytest.approx(runs.var(axis=1, ddof=1).mean() ** 0.5)
        assert parts[factor]["std"] > 0
    assert [(parts[factor]["degrees"], parts[factor]["std"]) for factor in ("draws", "batches")] == [(0, None)] * 2
    assert run_command(["compare", str(store.results)]) == 0
    text = flat(capsys.readouterr().out)
    assert "Where the variance of repetitions comes from" in text
    assert f"{parts['partition']['std']:.2f} (4)" in text
    assert "they are no independent seeds" in text
    assert "cannot be told apart" not in text
    assert "1 setting, 4 repetitions" in text
    assert run_command(["compare", str(store.results), "--format", "latex"]) == 0
    assert r"\pm" not in capsys.readouterr().out  # an interval over repetitions that share seeds would be too short


def test_a_table_of_numbers(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(table)]) == 0
    text = flat(capsys.readouterr().out)
    assert "3 methods on 3 blocks (data sets), 1 setting, 2 seeds" in text
    # means 90.6, 80.6, 70.6 against 89.25, 80.25, 69.25: 1.35, 0.35, 1.35, the median of whose six means of two is 1.1
    assert (
        "fedmd against cosmos on 3 data sets is undecided: -1.10 points, p = .5, signed rank, Holm over 2 tests."
        in text
    )
    assert "with 3 data sets, no signed-rank test can reach .05 after Holm over 2 tests, however large" in text
    assert "at least 7 are needed" in text
    # more data sets than other methods: they go down. letter: differences .1 and .6, mean .35, and six of them in the
    # table: t_{1 - .05/12, 1} = 76.39 times .25
    assert "letter -0.3 ± 19.1" in text
    # every block agrees: (1 / 3!)^2
    assert "all blocks agree completely, p = .028; Friedman chi2(2) = 6.00" in text


def test_json_holds_everything(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(table), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == 1
    assert found["counts"]["blocks"] == 3
    assert [pair["p"] for pair in found["primary"]] == [0.25, 0.25]
    assert found["table"]["conditions"][0]["accuracy"][0] == [90.1, 91.1]


def test_csv_has_a_line_per_claim(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(table), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    # 2 against the control, 3 pairs, 2 methods on 3 data sets
    assert [row["family"] for row in rows] == ["primary"] * 2 + ["all pairs"] * 3 + ["data set"] * 6
    assert (rows[0]["method"], rows[0]["difference"], rows[0]["p_holm"], rows[0]["seeds"]) == (
        "fedmd",
        "-1.01667",
        "0.5",
        "2-2",
    )


def test_markdown_tables_are_rectangular(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(table), "--format", "markdown"]) == 0
    blocks = re.findall(r"(?:^\|.*\|\n)+", capsys.readouterr().out, re.MULTILINE)
    assert len(blocks) == 6
    for block in blocks:
        widths = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(widths) == 1
        assert re.fullmatch(r"\|( --- \|)+", block.splitlines()[1])


def test_latex(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.tex"
    assert run_command(["compare", str(table), "--format", "latex", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    text = out.read_text(encoding="utf-8")
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    assert [text.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == sorted(
        text.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")
    )
    (columns,) = re.findall(r"\\begin\{tabular\}\{@\{\}(lr*)@\{\}\}", text)
    lines = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert {line.count(" & ") for line in lines} == {len(columns) - 1}
    # data sets in rows, the best method first and in bold; Student's half width over 90.1 and 91.1: 12.706 * 0.7071 /
    # sqrt(2) = 6.35
    assert lines[0] == r"data set & cosmos & fedmd & local\_50\% \\"
    assert lines[1].startswith(r"digits & \textbf{90.60} $\pm$ 6.35 & ")
    assert [line.partition(" & ")[0] for line in lines[-2:]] == ["mean", "rank"]
    assert r"\label{tab:table}" in text
    # three blocks cannot tell anyone apart, so nobody has a mark
    assert "$^{" not in text
    caption = flat(re.findall(r"\\caption\{(.*)\}", text)[0])
    assert "mean over 2 seeds" in caption
    assert "Against cosmos: all undecided (on 3 data sets, signed rank, Holm over 2 tests, level .05)" in caption
    assert re.sub(r"\\[%_&#]", "", caption).count("%") == 0  # a bare one would comment out the rest
    comment = flat(" ".join(line for line in text.splitlines() if line.startswith("% ")))
    for part in ("as given in table.csv", "tuning budget not stated", "no signed-rank test can reach .05"):
        assert part in comment


def marks(text: str) -> dict[str, str]:
    """The mark behind each method's name in a LaTeX table that has them in its heading."""
    (heading,) = re.findall(r"^data set & (.*) \\\\$", text, re.MULTILINE)
    return dict(re.findall(r"(\w+)(?:\$\^\{(.)\}\$)?", heading))


def test_latex_marks_say_what_the_verdicts_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # on nine data sets a beats c everywhere (p = 2 / 512, Holm over two or three tests), and b on five of them
    rows = [
        f"d{place},{80 + place},{80 + place + (-1) ** place * 0.1 * (place + 1)},{60 + place}" for place in range(9)
    ]
    path = tmp_path / "nine.csv"
    path.write_text("\n".join(["dataset,a,b,c", *rows]), encoding="utf-8")
    for options, expected in (
        ([], {"a": "", "b": "", "c": "-"}),  # against the best of all: b does not differ from it
        (["--control", "c"], {"a": "+", "b": "+", "c": ""}),
        (["--control", "a"], {"a": "", "b": "=", "c": "-"}),  # b within half a point: 0.9 at most, 0.1 on the whole
    ):
        assert run_command(["compare", str(path), *options, "--format", "latex"]) == 0
        found = marks(capsys.readouterr().out)
        assert {name: found[name] for name in "abc"} == expected
        if options:
            assert run_command(["compare", str(path), *options, "--format", "json"]) == 0
            said = {one["method"]: one["verdict"] for one in json.loads(capsys.readouterr().out)["decisions"]}
            signs = {"better": "+", "worse": "-", "equivalent": "=", "undecided": ""}
            assert {name: signs[verdict] for name, verdict in said.items()} == {
                name: mark for name, mark in expected.items() if name != options[1]
            }


def test_a_wide_table_goes_on_in_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 80 characters, more methods than data sets, so that methods are in rows: names take 6 (the heading), a data set 8
    # for its name and 3 for the gap; six fit and a seventh does not, then mean and rank follow
    path = tmp_path / "wide.csv"
    numbers = ",".join(f"{80 + place}.5" for place in range(8))
    path.write_text(
        "\n".join(["dataset,a,b,c,d,e,f,g,h", *(f"dataset{place},{numbers}" for place in range(7))]), "utf-8"
    )
    assert run_command(["compare", str(path), "--control", "a", "--format", "latex"]) == 0
    text = capsys.readouterr().out
    headings = [line.removesuffix(" \\\\").split(" & ") for line in text.splitlines() if line.startswith("method &")]
    assert headings == [
        ["method", *(f"dataset{place}" for place in range(6))],
        ["method", "dataset6", "mean", "rank"],
    ]
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    first, second = re.findall(r"\\caption\{(.*)\}", text)
    assert first.endswith("Part 1 of 2.")
    assert second == "Part 2 of 2; part 1 says what it shows."
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:comparison", "tab:comparison-2"]


def test_half_widths_go_where_the_table_fits_without_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "seeds.csv"
    rows = [
        f"d{at},{seed},{90 + seed},{80 - seed},{70 + seed},{60 + seed},{50 + seed}.{at},{40 + seed}"
        for at in range(7)
        for seed in (0, 1)
    ]
    path.write_text("\n".join(["dataset,seed,one,two,three,four,five,six", *rows]), encoding="utf-8")
    assert run_command(["compare", str(path), "--control", "one", "--format", "latex"]) == 0
    text = capsys.readouterr().out
    assert text.count("\\begin{table}") == 1
    assert r"$\pm$" not in text
    assert "% half widths (Student's t) are left out" in text


NASTY = r"""dataset,seed,[a]_x%&#~^\ {y} $z$,*star|<b> · c ± d,plain
a_name_of_a_data_set,0,90.1,89.0,83.0
a_name_of_a_data_set,1,91.1,88.0,84.0
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["nasty.csv"], [str(OFFLINE)], [str(OFFLINE), "--methods", "cosmos,local"]])
def test_latex_is_set_within_the_page(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("pdflatex")
    if compiler is None or not shutil.which("kpsewhich") or not _has_package("booktabs"):
        pytest.skip("needs LaTeX: pdflatex and booktabs (texlive-latex-base, texlive-latex-recommended)")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nasty.csv").write_text(NASTY, encoding="utf-8")
    assert run_command(["compare", *arguments, "--format", "latex", "--out", "table.tex"]) == 0
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table.tex}\end{document}"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    for _ in range(2):  # labels are known from the second time on
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
        assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert "Warning" not in done.stdout  # of a float too large for a page, for one


def _has_package(name: str) -> bool:
    found = subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True, timeout=60, check=False)
    return found.returncode == 0


def test_the_same_bytes_every_time(table: Path, tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        assert run_command(["compare", str(table), "--out", str(tmp_path / name)]) == 0
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert b"\x1b" not in written[0]


def test_a_file_that_is_no_text_is_left_alone(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "figure.png"
    found.write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    assert run_command(["compare", str(table), "--out", str(found)]) == 2
    said = flat(capsys.readouterr().err)
    for part in ("figure.png", "no UTF-8 text", "another name"):
        assert part in said
    assert "codec" not in said
    assert found.read_bytes() == b"\x89PNG\r\n\x1a\n\xff"


def test_chosen_methods_and_data_sets(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compare", str(table), "--methods", "cosmos,fedmd", "--datasets", "digits,vowel", "--format", "json"]
    assert run_command(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["methods"], found["blocks"]) == (["cosmos", "fedmd"], ["digits", "vowel"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--control", "cosmo"], "no method of this comparison is named 'cosmo'; did you mean 'cosmos'"),
        (["--methods", "cosmos,fedm"], "named 'fedm'; did you mean 'fedmd'"),
        (["--methods", "cosmos"], "at least two methods"),
        (["--datasets", "digit"], "no data set of this table is named 'digit'; did you mean 'digits'"),
        (["--format", "latx"], "did you mean 'latex'"),
        (["--blocks", "seed"], "no kind of block is named 'seed'"),
        (["--on-missing", "drop"], "known: complete-blocks, refuse, skillings-mack"),
        (["--alpha", "5"], "alpha must lie between 0 and 0.5"),
        (["--rope", "-1"], "rope must be at least 0"),
        (["--select", "best"], "no selection is named 'best'"),
        (["--format", "json", "--out", "/dev/null/x"], "cannot write /dev/null/x"),
    ],
)
def test_what_cannot_be_is_refused(
    table: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["compare", str(table), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_records_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(tmp_path)]) == 2
    assert "has no records" in capsys.readouterr().err
    assert run_command(["compare", str(tmp_path / "no.csv")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_shares_of_one_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shares.csv"
    path.write_text("dataset,cosmos,local\nx,0.9,0.8\ny,0.7,0.6\n", encoding="utf-8")
    assert run_command(["compare", str(path)]) == 2
    assert "between 0 and 1, as shares are" in flat(capsys.readouterr().err)


def test_a_dry_run_says_what_the_grid_cannot_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # five methods on one data set, and a bound that is not compared
    line = ["run", "--dry-run", "--methods", "cosmos,fedmd,fedavg,ditto,local,centralized", "--datasets", "digits"]
    assert run_command([*line, "--seeds", "0", "--out", str(tmp_path)]) == 0
    said = flat(capsys.readouterr().err)
    assert "power guard, one data set: only its seeds are compared" in said
    assert "a claim over data sets needs at least 8 of them" in said
    assert run_command(["run", "--dry-run", *line[2:4], "--datasets", "digits,letter", "--out", str(tmp_path)]) == 0
    said = flat(capsys.readouterr().err)
    assert (
        "power guard, against the control: with 2 data sets, no signed-rank test can reach .05 after Holm over 4 tests"
        in said
    )
    assert "at least 8 are needed" in said
    assert "at least 9 are needed" in said


def test_families_named_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.md"
    rows = [f"| {name} | {80 + place} | {70 + place} |" for place, name in enumerate(("A10", "A100", "B", "C"))]
    path.write_text("\n".join(["| Dataset | ours | theirs |", "|---|---|---|", *rows]), encoding="utf-8")
    assert run_command(["compare", str(path), "--control", "ours", "--families", "A1=one,B=two,C=two"]) == 2
    assert "--families: 'A1=one' names no data set of this table" in capsys.readouterr().err
    assert run_command(["compare", str(path), "--control", "ours", "--families", "A1,B=two,C=two"]) == 0
    text = flat(capsys.readouterr().out)
    assert "theirs against ours on 2 families (4 data sets) is undecided: -10.00 points, p = .5" in text
    assert "A10 and A100 are one family, A1: one observation, averaged first" in text
    assert run_command(["compare", str(path), "--control", "ours", "--blocks", "cluster", "--families", "A1"]) == 0
    assert "over 4 data sets, signs flipped by family (3)" in flat(capsys.readouterr().out)
    assert run_command(["compare", str(path), "--control", "ours", "--blocks", "families"]) == 2
    assert "known: cluster, dataset, family, setting" in capsys.readouterr().err


def test_a_dry_run_counts_families(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid = ["--methods", "local,fedavg", "--datasets", "digits,optdigits", "--seeds", "0"]
    assert run_command(["run", "--dry-run", *grid, "--out", str(tmp_path / "none")]) == 0
    assert "with 1 family, no signed-rank test can reach .05" in flat("".join(capsys.readouterr()))


def test_records_bring_their_families_and_population(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    for dataset in ("digits", "optdigits"):
        for method, number in (("fedmd", 60.0), ("local", 50.0)):
            store.write(cell_of(method, 0, datasets=[dataset]), outcome({"client": [number]}))
    assert run_command(["compare", str(store.results), "--control", "fedmd"]) == 0
    text = flat(capsys.readouterr().out)
    assert "on 1 family (2 data sets), mlp-8, latent-groups" in text
    assert "averaged first; all 1797 rows of digits are rows of optdigits" in text
