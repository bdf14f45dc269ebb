"""The whole catalogue through the command line on real data: every cell ends, and every method learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.store import Store
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path


QUICK = ["run", "quick", "--methods", "all", "--datasets", "digits", "--seeds", "0", "--jobs", "1"]
FEW = ["-o", "partition.clients=16", "-o", "partition.max_train=600"]
"""Two fifths of the grid's clients, who have as many samples each: a third of the time, and nothing else is asked."""


@pytest.mark.slow
def test_every_method_learns_on_digits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_command([*QUICK, *FEW, "--rounds", "5", "--out", str(out)]) == 0
    records = {record.cell["method"]["name"]: record for record in Store(out).records()}
    assert set(records) == set(METHODS.names())
    assert {name: record.reason for name, record in records.items() if record.status != "done"} == {}
    start = records["local"].rounds[0]["client.acc_mean"]
    ends = {name: record.rounds[-1][f"{record.facts['deployed']}.acc_mean"] for name, record in records.items()}
    assert {name: end for name, end in ends.items() if end <= start} == {}, f"Local-only started at {start}"


@pytest.mark.slow
def test_mixed_networks_run_or_say_why_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    mixed = ["-o", "models=[mlp-64,mlp-32]"]
    assert run_command([*QUICK, *FEW, *mixed, "--rounds", "2", "--out", str(out)]) == 0
    for record in Store(out).records():
        name, needs = record.cell["method"]["name"], METHODS[record.cell["method"]["name"]].requires
        if needs.one_architecture:
            assert record.status == "unsupported", name
            assert "needs one architecture, but clients have mlp-64, mlp-32" in record.reason
        elif needs.one_width:
            assert record.status == "unsupported", name
            assert "needs one body width, but clients have mlp-64, mlp-32" in record.reason
        else:
            assert record.status == "done", f"{name}: {record.reason}"
