"""`fl-bench new method`: every kind is a complete method that keeps the contract and is clean for ruff."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.scaffold import KINDS, write_method
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.methods import contract
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

LINT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
RULES = ("--select", ",".join(LINT["select"]), "--ignore", ",".join(LINT["ignore"]))

QUICK = (contract.bytes_equal_the_closed_form, contract.partial_participation_works, contract.one_client_works)
"""Checks that a template is likeliest to fail after a change of the interface."""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """Writes and registers a method of a kind; gives its name."""

    def write(kind: str) -> str:
        plugin, _ = write_method(f"my-{kind}", kind, tmp_path)
        load_plugins([str(plugin)])
        return f"my-{kind}"

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_and_the_quick_checks(written: Callable[[str], str], kind: str) -> None:
    name = written(kind)
    dataset = contract.made_up_data()
    run = contract.make_run(name, dataset, contract.deal(dataset))
    row = contract.finish(run, rounds=1).rows[0]
    assert row["bytes_up"] > 0
    assert f"{METHODS[name].deployed_view}.acc_mean" in row
    for check in QUICK:
        check(name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_contract(written: Callable[[str], str], kind: str) -> None:
    name = written(kind)
    for check in contract.CHECKS:
        check(name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_test_says_of_this_kind_is_true(tmp_path: Path, kind: str) -> None:
    _, test = write_method("my-method", kind, tmp_path)
    content = runpy.run_path(str(test))
    by_hand = [content[name] for name in content if name.startswith("test_") and name != "test_contract"]
    assert len(by_hand) == 1
    by_hand[0]()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_clean_and_of_a_readable_size(tmp_path: Path, kind: str) -> None:
    plugin, test = write_method("my-method", kind, tmp_path)
    assert 50 <= len(plugin.read_text(encoding="utf-8").splitlines()) <= 90
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("needs ruff")
    alone = ["--isolated", "--line-length", "120"]  # as in a folder that knows nothing of our settings
    for words in (["format", "--check"], ["check", *RULES]):
        command = [sys.executable, "-m", "ruff", *words[:1], *alone, *words[1:], str(plugin), str(test)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_says_what_to_do_next(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["new", "method", "my-idea", "--kind", kind]) == 0
    steps = capsys.readouterr().out.splitlines()
    assert steps == [
        f"fl-bench run --plugin my_idea.py --methods my-idea,{KINDS[kind]}",
        "pytest test_my_idea.py",
    ]
    assert KINDS[kind] in METHODS.names()


def test_an_unknown_kind_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["new", "method", "my-idea", "--kind", "weight"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "did you mean 'weights'?" in said
    assert all(kind in said for kind in KINDS)
