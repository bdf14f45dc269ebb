"""Every command and every file shown in README and docs works, in a fresh folder beside the published results.

The commands have one core: each worker loads torch, which takes longer than all cells of such a run. They run in this
process, which has loaded all libraries already; the installed program runs the README's first command.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPT = Path(sys.executable).with_name("fl-bench")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of every bash block, without comments; one that is shown twice is there once."""
    lines = [(page.name, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    first: dict[str, str] = {}
    for page, line in lines:
        if line.strip():
            first.setdefault(line.partition("  #")[0].strip(), page)
    return [(page, command) for command, page in first.items()]


def installs(command: str) -> bool:
    return command.startswith("python3 -m venv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with the files that the pages show and the published results; commands run in order in it."""
    fresh = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "results", fresh / "results")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page, "python"):
            before = text[: text.index(block)]
            named = re.findall(r"^###? .*`(\w+\.py)`", before, re.MULTILINE)
            if block.startswith('"""'):  # a file; others are pieces of one
                (fresh / (named[-1] if named else "median_md.py")).write_text(block, encoding="utf-8")
    return fresh


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    """So that a run has one worker, which takes as long and half as much."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(before)[process % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), [pair for pair in commands() if not installs(pair[1])])
def test_command_works(folder: Path, page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    assert words[0] == "fl-bench", f"{page} shows a command that no test can run: {command}"
    monkeypatch.chdir(folder)
    assert run_command(words[1:]) == 0, f"{page}: {command}"


@pytest.mark.slow
def test_the_main_job_ends_with_the_table(folder: Path) -> None:
    main, tests = (command for _, command in commands() if installs(command))
    setup, install, run = main.split(" && ")
    assert (setup, install) == ("python3 -m venv .venv", ".venv/bin/pip install -c constraints.txt -e .")
    assert tests == "python3 -m venv .venv && .venv/bin/pip install --no-compile -e '.[dev]' && .venv/bin/pytest"
    words = shlex.split(run)
    assert words[0] == ".venv/bin/fl-bench"
    done = subprocess.run([SCRIPT, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in ("local", "fedmd", "cosmos", "server_assigned", "server_oracle", "in-group share"):
        assert name in done.stdout
    again = subprocess.run([SCRIPT, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=60)
    assert "9 of them finished earlier" in again.stderr
    assert again.stdout == done.stdout


def test_every_python_file_shown_is_valid_and_short_enough() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            compile(block, page.name, "exec")
            if page.name != "method-interface.md":  # whose files are what `fl-bench new method` writes
                assert len(block.splitlines()) <= 65, f"{page.name} promises about 60 lines"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
