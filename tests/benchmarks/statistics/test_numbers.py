"""Tables of published numbers: layouts, settings in names, Markdown, LaTeX, spreads, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.numbers import read_table
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.statistics.table import Table


def written(folder: Path, text: str, suffix: str = ".csv") -> Path:
    path = folder / f"table{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


LAYOUTS = {
    "a line per data set": "dataset,a,b\nx,1,2\ny,3,4\n",
    "a line per method": "method,x,y\na,1,3\nb,2,4\n",
    "a line per run": "dataset,method,accuracy\nx,a,1\nx,b,2\ny,a,3\ny,b,4\n",
    "semicolons": "dataset;a;b\nx;1;2\ny;3;4\n",
    "spreads and signs": "\ufeffdataset,a,b\nx,1.0 ± 0.3,2 (0.1)\ny,3%,4.0+/-1\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_say_the_same(tmp_path: Path, layout: str) -> None:
    table = read_table(written(tmp_path, LAYOUTS[layout]))
    assert (table.methods, table.datasets) == (("a", "b"), ("x", "y"))
    assert table.block_means("dataset").tolist() == [[1, 2], [3, 4]]
    assert table.notes == ("no column `seed`: each number counts as one run",)


def test_seeds_settings_and_classes(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,setting,seed,classes,a\nx,iid,3,5,1\nx,iid,4,5,2\nx,skew,3,5,7\n"))
    assert [(at.label, at.seeds, at.classes) for at in table.conditions] == [
        ("x [iid]", (3, 4), 5),
        ("x [skew]", (3,), 5),
    ]


def test_gaps_and_words_for_how_a_run_ended(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,a,b,c,d\nx,1,,-,Diverged\n"))
    assert [(gap.method, gap.status) for gap in table.gaps()] == [("b", "missing"), ("c", "missing"), ("d", "diverged")]


def test_factors_stand_for_seeds(tmp_path: Path) -> None:
    text = "dataset,method,partition,init,accuracy\nx,a,0,0,1\nx,a,1,0,2\nx,b,0,0,5\nx,b,1,0,6\n"
    table = read_table(written(tmp_path, text))
    assert table.factors == ("partition", "init")
    assert table.conditions[0].levels == (("0", "0"), ("1", "0"))
    assert table.conditions[0].accuracy == ((1.0, 2.0), (5.0, 6.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,a\nx,1\n", "say no layout"),
        ("dataset,a\n", "no table"),
        ("dataset\nx\n", "no table"),
        ("dataset,a,a\nx,1,2\n", "several columns called 'a'"),
        ("dataset,a\nx,1\nx,2\n", "has a on x with seed 0 twice; a column `seed`"),
        ("dataset,a\nx,1,2\n", "line 2 has 3 cells under 2 headings"),
        ("dataset,a\nx,good\n", "line 2: 'good' is no number"),
        ("dataset,seed,a\nx,one,1\n", "seed must be a whole number of at most nine digits, found 'one'"),
        (f"dataset,seed,a\nx,{'9' * 5000},1\n", "seed must be a whole number of at most nine digits"),
        ("dataset,a\nx,\n", "holds no number"),
        ("dataset,a\n,1\n", "lacks the name of its data set"),
        ("dataset,seed,init,method,accuracy\nx,0,0,a,1\n", "keep the seed, or what it stands for"),
        ("dataset,a,b\nx,0.9,1\ny,,0\n", "all numbers .* between 0 and 1, as shares are.*85.2 in place of 0.852"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, text))


def test_numbers_that_are_no_percentages_are_named(tmp_path: Path) -> None:
    # 0.5 % is a bad accuracy, and no share where another number is above 1
    assert len(read_table(written(tmp_path, "dataset,a,b\nx,0.5,100\ny,0,1.5\n")).notes) == 1
    note = read_table(written(tmp_path, "dataset,a,b\nx,-5,100\ny,101,2\n")).notes[1]
    assert note.startswith("2 of 4 numbers are no accuracies in percent, such as -5 of a on x: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nothing.csv")


MARKDOWN = """# Results

| Method | Venue | CIFAR10 (α=0.1) | CIFAR10 (α=0.5) | MNIST (0.1) | **Avg.** | #Params (M) |
|:---|---|---:|---:|---:|---:|---:|
| FedAvg | AISTATS'17 | 60.1 ± 0.5 | **70.2** ± 1.1 | 80 | 55 | 1.2 |
| Ours | - | **66.0 ± 0.4** | 70.9 ± 0.2 | - | 57 | 1.2 |

Some more text.
"""

LATEX = r"""\begin{table}\caption{50 \& 50}
\begin{tabular}{@{}l|*{2}{cc}r@{}}
\toprule
\multirow{2}{*}{Method} & \multicolumn{2}{c}{CIFAR10} & \multicolumn{1}{c|}{\textbf{MNIST}} & \# Params \\
\cmidrule(lr){2-3} \cmidrule(lr){4-4}
 & $\alpha=0.1$ & $\alpha=0.5$ & 0.1 & \\ % a comment & a cell
\midrule
FedAvg~\cite{mcmahan} & 60.1$_{\pm 0.5}$ & $\mathbf{70.2} \pm 1.1$ & 80.0\% & 1.1 \\
\rowcolor{gray!20} \textbf{Ours}$^\dagger$ & \textbf{66.0} {\scriptsize $\pm$ 0.4} & \underline{70.9}$^{\pm0.2}$
    & -- & 1.1\\[2pt]
\bottomrule
\end{tabular}\end{table}
"""


@pytest.mark.parametrize(("text", "suffix"), [(MARKDOWN, ".md"), (LATEX, ".tex")])
def test_a_paper_s_table_in_markdown_and_latex(tmp_path: Path, text: str, suffix: str) -> None:
    table = read_table(written(tmp_path, text, suffix))
    assert table.methods == ("FedAvg", "Ours")
    assert [(at.label, at.accuracy, at.spreads) for at in table.conditions] == [
        ("CIFAR10 [α=0.1]", ((60.1,), (66.0,)), (0.5, 0.4)),
        ("CIFAR10 [α=0.5]", ((70.2,), (70.9,)), (1.1, 0.2)),
        ("MNIST [0.1]", ((80.0,), (None,)), (None, None)),
    ]
    left, split, _ = table.notes
    assert left.startswith("left out, no accuracies on a data set: ")
    assert "Params" in left
    assert ("Venue" in left) == ("Avg." in left) == (suffix == ".md")
    assert split == "read as a data set in several settings, averaged: CIFAR10 (α=0.1, α=0.5); MNIST (0.1)"


def test_a_latex_table_of_rules_without_booktabs_and_rows_that_go_on(tmp_path: Path) -> None:
    text = r"""\begin{tabular}{|l|l|c|c|}\hline
    Dataset & Setting & FedAvg & Ours \\ \hline\hline
    \multirow{2}{*}{CIFAR10} & iid & 80.5 & 81 \\ \cline{2-4}
     & skew & 60 & \textcolor{red}{61.5} \\ \hline
    Average & & 70 & 71 \\ \hline\end{tabular}"""
    table = read_table(written(tmp_path, text, ".tex"))
    assert [(at.label, at.accuracy) for at in table.conditions] == [
        ("CIFAR10 [iid]", ((80.5,), (81.0,))),
        ("CIFAR10 [skew]", ((60.0,), (61.5,))),
    ]
    assert table.notes[0] == "left out, no accuracies on a data set: Average"


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("C [a]", "C [b]"), ["C [a]", "C [b]"]),
        (("C (0.1)", "C (0.5)"), ["C [0.1]", "C [0.5]"]),
        (("C-dir0.1", "C-dir0.5"), ["C [dir0.1]", "C [dir0.5]"]),
        (("C-iid", "C-non-iid"), ["C [iid]", "C [non-iid]"]),
        (("CIFAR-10", "CIFAR-100"), ["CIFAR-10", "CIFAR-100"]),  # two data sets: a number alone is no setting
        (("C (0.1)", "D (0.1)"), ["C (0.1)", "D (0.1)"]),  # nothing is shared
    ],
)
def test_settings_in_names_are_read_where_they_are_plain(
    tmp_path: Path, names: tuple[str, str], labels: list[str]
) -> None:
    table = read_table(written(tmp_path, f"method,{names[0]},{names[1]}\na,1,2\nb,3,4\n"))
    assert [at.label for at in table.conditions] == labels


def test_settings_of_one_data_set_are_one_block(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,a,b\nC [1],1,2\nC [2],3,4\nD [1],5,6\n"))
    assert table.block_means("family").tolist() == [[2, 3], [5, 6]]


def test_papers_names_of_our_data_sets_bring_their_families(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,a,b\nCIFAR-10,1,2\nCIFAR-100,3,4\nSVHN,5,6\n"))
    assert table.families == {"cifar": ("CIFAR-10", "CIFAR-100"), "svhn": ("SVHN",)}


def spread_table(folder: Path, spreads: str = "") -> Table:
    rows = [f"d{place},{80 + place} {spreads},{81 + place * place} {spreads}" for place in range(3)]
    return read_table(written(folder, "\n".join(["dataset,a,b", *rows])))


def test_spreads_say_where_a_difference_lies_within_them(tmp_path: Path) -> None:
    # Differences of -1, -1 and -3; two spreads of 1 make one of sqrt(2) = 1.41.
    result = compare(spread_table(tmp_path, "± 1.0"), Options(control="a"))
    (note,) = [note for note in result.notes if "after ±" in note]
    assert "numbers spread by 1 to 1 points" in note
    assert note.endswith("closer to a than the spreads of both together: b on 2 of 3")
    (note,) = [note for note in compare(spread_table(tmp_path, "± 0.5"), Options(control="a")).notes if "±" in note]
    assert note.endswith("not tested with it")  # sqrt(2) / 2 = 0.71 is less than any difference


def test_no_spreads_no_word_of_them(tmp_path: Path) -> None:
    assert not any("±" in note for note in compare(spread_table(tmp_path), Options(control="a")).notes)


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("no table here", ".md", "must hold one table of pipes .* found 0"),
        ("|a|b|\n|-|-|\n|x|1|\n\n|a|b|\n|-|-|\n|x|1|\n", ".md", "found 2; keep one"),
        ("|dataset|b|\n|-|-|\n|x|1|2|\n", ".md", "line 3 has 3 cells under 2 headings"),
        ("|what|b|\n|-|-|\n|x|1|\n", ".md", "headings what, b say no layout"),
        ("nothing", ".tex", "one tabular environment, found 0"),
        (r"\begin{tabular}{cc}Method & x \\ a & 1 & 2 \\\end{tabular}", ".tex", "begins with 'a' has 3 cells under 2"),
        (
            r"\begin{tabular}{cc}Method & x & y\\ a & 1 & good \\ b & 1 & 2 \\\end{tabular}",
            ".tex",
            "'good' is no number",
        ),
    ],
)
def test_what_is_no_table_of_a_paper_is_refused(tmp_path: Path, text: str, suffix: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, text, suffix))


def test_endless_cells_take_no_time(tmp_path: Path) -> None:
    for cell in ("-" * 100_000, "1" + " " * 100_000 + "x", "C" + "(" * 100_000):
        with pytest.raises(DataError, match="is no number"):
            read_table(written(tmp_path, f"dataset,a,b\nx,1,2\n{cell},1,{cell}\n"))
