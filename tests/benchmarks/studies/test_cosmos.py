"""docs/cosmos.md and the sections made of records: they say what `results/` says, also where records are missing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.reading import Arm, Block
from fl_bench.benchmarks.grid.repetition import Repetition
from fl_bench.benchmarks.studies import summary
from fl_bench.benchmarks.studies.contraction import page as contraction
from fl_bench.benchmarks.studies.contraction.accuracy import accuracies
from fl_bench.benchmarks.studies.sections import DOCS, STUDIES, listed, put, table, wrapped
from fl_bench.benchmarks.studies.server import page as server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_committed_pages_are_what_make_cosmos_writes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(STUDIES.read_text(encoding="utf-8"), encoding="utf-8")
    for study in (contraction, server):
        assert study.write(page).read_text(encoding="utf-8") == STUDIES.read_text(encoding="utf-8"), "run `make cosmos`"
    assert summary.write(page).read_text(encoding="utf-8") == summary.PAGE.read_text(encoding="utf-8")


def test_two_screens() -> None:
    assert len(summary.PAGE.read_text(encoding="utf-8").splitlines()) <= 130


def test_links_between_the_pages_have_a_target() -> None:
    studies = STUDIES.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z -]", "", line[3:].lower()).replace(" ", "-") for line in studies.splitlines() if "## " in line
    }
    assert set(re.findall(r"\]\(#(.*?)\)", studies)) == headings
    for page in (summary.PAGE, STUDIES):
        for name in re.findall(r"\]\(([\w.-]+\.md)\)", page.read_text(encoding="utf-8")):
            assert (DOCS / name).is_file()


def test_without_records_the_page_says_what_to_run(tmp_path: Path) -> None:
    found = contraction.told(tmp_path)
    assert found["verdicts"] == found["against"] == contraction.PENDING
    assert found["section"] == f"## Does it contract? Real data\n\n{contraction.PENDING}"


def test_a_section_goes_into_its_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: old -->\nold\n<!-- end -->\nb\n<!-- y: -->\n<!-- end -->\n")
    put("x", "make x", summary.TEXT, "new", page)
    head = "<!-- x: written by `make x`; edit benchmarks/studies/summary.md instead -->"
    assert page.read_text() == f"a\n{head}\n\nnew\n<!-- end -->\nb\n<!-- y: -->\n<!-- end -->\n"
    with pytest.raises(ValueError, match="0 places"):
        put("z", "make z", summary.TEXT, "new", page)


def test_paragraphs_are_filled_and_tables_stay() -> None:
    wide = table(["a", "b"], [["word " * 40, "1"]], right=True)
    assert wide.splitlines()[1] == "| --- | --: |"
    assert wrapped(f"short\nlines\n\n{wide}\n\n- an\n  item\n- {'x ' * 80}") == (
        f"short lines\n\n{wide}\n\n- an item\n- {'x ' * 58}x\n  {'x ' * 20}x\n"
    )


def test_names_in_a_sentence() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.fixture
def block() -> Block:
    """Three seeds, two clients: COSMOS right in 80 to 82 %, its server in 90, Local-only in 70, one cluster in 81."""

    def arm(label: str, client: list[float], served: float) -> Arm:
        last = np.repeat(1 - np.array(client)[:, None, None] / 100, 2, axis=1)
        server = np.full_like(last, 1 - served / 100)
        risks = {("client", "zero-one"): last, ("server_assigned", "zero-one"): server}
        return Arm(label, "client", ("client",), risks, None, {}, ())  # type: ignore[arg-type]  # the keys are literals

    arms = [arm("cosmos", [80, 81, 82], 90), arm("local", [70, 71, 72], 0), arm("one-cluster", [81, 81, 81], 0)]
    seeds = tuple(map(Repetition, range(3)))
    return Block("d", "s", "", {}, seeds, 2, 1, {one.label: one for one in arms}, ())


class Run:
    """What is asked of a record."""

    def __init__(self, dataset: str, seed: int) -> None:
        self.cell, self.repetition, self.status = {"dataset": dataset}, Repetition(seed), "done"
        self.facts = {"heterogeneity": {"in_group_test": 0.9}}


def test_accuracies_by_hand(block: Block) -> None:
    records: Any = [Run(name, seed) for name in "de" for seed in range(3)]
    found = accuracies([block, replace(block, dataset="e")], records)
    assert "| `client`, COSMOS | 81.0 | 81.0 | 81.0 |" in found["views"]
    # Server minus client is 10, 9, 8: mean 9, and 4.303 * 1 / sqrt(3) on either side
    assert "| `server_assigned` - `client` | +9.0 (+6.5 to +11.5) | +9.0 (+6.5 to +11.5)" in found["views"]
    assert found["standing"] == "better on d and e"
    assert "| Local-only | +10.0 (+10.0 to +10.0) |" in found["minus"]
    assert (found["above"], found["below"], found["undecided"]) == ("Local-only", "none", "one cluster")
    assert found["ceiling"] == "90.0 % on d (-9.0) and 90.0 % on e (-9.0)"


def test_one_seed_says_no_direction(block: Block) -> None:
    risks = {name: {key: values[:1] for key, values in arm.risks.items()} for name, arm in block.arms.items()}
    arms = {name: replace(arm, risks=risks[name]) for name, arm in block.arms.items()}
    records: Any = [Run("d", 0)]
    found = accuracies([replace(block, seeds=block.seeds[:1], arms=arms)], records)
    assert "| Local-only | +10.0 | +10.0 |" in found["minus"]
    assert (found["above"], found["undecided"]) == ("none", "Local-only; one cluster")
