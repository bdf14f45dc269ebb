"""What a tuned grid holds that others do not: settings for single data sets, and its ledger in place of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.grid import LedgerReference, Overrides, expand, read_grid
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

GRID = """\
name: tuned
datasets: [digits, vowel]
methods: [local, {fedmd: {digest_epochs: 2}}]
seeds: 0-1
training: {rounds: 2, lr: 5e-3}
"""


def grid(folder: Path, more: str) -> Path:
    path = folder / "tuned.yaml"
    path.write_text(GRID + more, encoding="utf-8")
    return path


def test_a_method_may_differ_on_one_data_set(tmp_path: Path) -> None:
    path = grid(tmp_path, "per_dataset: {vowel: {fedmd: {settings: {digest_lr: 1e-2}, training: {lr: 1e-3}}}}\n")
    file = read_grid(path)
    found = {
        (cell.label, cell.dataset.name): (cell.training.lr, getattr(cell.config, "digest_lr", None))
        for cell in expand(file, "x").cells
    }
    assert found == {
        ("local", "digits"): (5e-3, None),
        ("local", "vowel"): (5e-3, None),
        ("fedmd", "digits"): (5e-3, 1e-3),
        ("fedmd", "vowel"): (1e-3, 1e-2),
    }
    assert {cell.config.digest_epochs for cell in expand(file, "x").cells if cell.method == "fedmd"} == {2}
    # What the command line changes of the method is another method, with settings of its own everywhere.
    other = expand(file, "x", Overrides(methods="fedmd[digest_epochs=3]")).cells
    assert {(cell.training.lr, cell.config.digest_lr) for cell in other} == {(5e-3, 1e-3)}
    assert {cell.label for cell in expand(file, "x", Overrides(datasets="digits")).cells} == {"local", "fedmd"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("per_dataset: {letter: {fedmd: {}}}", "per_dataset: no data set of this grid is named 'letter'"),
        ("per_dataset: {vowel: {fedmdd: {}}}", "per_dataset: no method of this grid is named 'fedmdd'"),
        ("per_dataset: {vowel: {fedmd: {lr: 1}}}", "per_dataset: vowel.fedmd has no setting 'lr'"),
        ("per_dataset: {vowel: {fedmd: {settings: {digest_lrr: 1}}}}", "has no setting 'digest_lrr'"),
        ("tuning: {ledger: x.json}", "tuning"),
        ("tuning: [by, hand]", "tuning must be"),
    ],
)
def test_what_is_no_such_thing_is_named(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand(read_grid(grid(tmp_path, more)), "tuned.yaml")


def test_the_ledger_is_no_part_of_a_run(tmp_path: Path) -> None:
    plain = expand(read_grid(grid(tmp_path, "")), "x").cells
    file = read_grid(grid(tmp_path, f"tuning: {{ledger: x.json, sha256: {'0a' * 32}}}\n"))
    assert file.tuning == LedgerReference("x.json", "0a" * 32)
    cells = expand(file, "x").cells
    assert [cell.key for cell in cells] == [cell.key for cell in plain]
    assert {cell.tuning for cell in cells} == {""}
