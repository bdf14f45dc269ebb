"""What every command does alike: `-h`, one meaning of `-o` and `--out`, one default folder, which git ignores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from fl_bench.benchmarks.commands.cli import app, run_command

ROOT = Path(__file__).parents[3]

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {name: command for name, command in GROUP.commands.items() if name != "new"}


@pytest.mark.parametrize("line", ["", "new method", *COMMANDS])
def test_h_is_help(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*line.split(), "-h"]) == 0
    short = capsys.readouterr().out
    assert run_command([*line.split(), "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "-h, --help" in short


def test_what_commands_are_for_is_read_whole_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert len(commands) > 20
    assert all(line.endswith(".") and not line.endswith("...") for line in commands if line)


@pytest.mark.parametrize("name", COMMANDS)
def test_o_changes_a_setting_and_out_names_an_output(name: str) -> None:
    options = {flag: one.metavar for one in COMMANDS[name].params for flag in one.opts if one.opts[0].startswith("-")}
    assert options.get("-o", "KEY=VALUE") == "KEY=VALUE"
    reads_a_folder = any(one.metavar and "[RESULTS" in one.metavar for one in COMMANDS[name].params)
    assert not (
        reads_a_folder
        and options.get("--out") == "FOLDER"
        and name not in ("figures", "report", "contraction", "export")
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_one_folder_is_the_default_of_every_command(name: str) -> None:
    folders = [
        one.default
        for one in COMMANDS[name].params
        if (one.metavar or "").startswith("[RESULTS")
        or (name in ("run", "tune") and "--out" in one.opts)
        or "--results" in one.opts
    ]
    assert {Path(str(folder)).parts[0] for folder in folders} <= {"fl-bench-results"}
    silent = ("list", "describe", "doctor", "overlap", "partition", "merge", "upload")  # the last two name theirs
    assert bool(folders) != (name in silent)


def test_git_ignores_what_the_pages_write() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    assert "fl-bench-results" in ignored
    published = ("results", "shared")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in re.findall(r"^fl-bench .*$", page.read_text(encoding="utf-8"), re.MULTILINE):
            for target in re.findall(r"(?:--out|--write|--png) (\S+)", line):
                first = target.strip("/").partition("/")[0]
                assert first in published or any(Path(first).match(name) for name in ignored), f"{page.name}: {line}"


def test_who_names_an_output_with_o_is_told_of_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pack", "-o", "x.tar.xz"]) == 2
    assert "--out names an output" in capsys.readouterr().err
