"""What a shell offers after Tab: commands and names, without waiting for torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "import sys; from fl_bench.benchmarks.commands.cli import run_command\n"
    "try: run_command([])\n"
    "finally: assert not {'torch', 'scipy', 'sklearn', 'pandas'} & sys.modules.keys()"
)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fl-bench comp", ["compare"]),
        ("fl-bench run off", ["offline", "offline-default", "offline-mixed", "offline-mixed-default"]),
        ("fl-bench run --methods cosmos,fedm", ["cosmos,fedmd"]),
        ("fl-bench run --datasets digits,opt", ["digits,optdigits"]),
        ("fl-bench run --scheme dirichlet-c", ["dirichlet-class"]),
        ("fl-bench describe fedma", []),
        ("fl-bench describe fedmd", ["fedmd"]),
        ("fl-bench list mo", ["models"]),
        ("fl-bench partition digi", ["digits"]),
        ("fl-bench compare results --datasets digi", ["digits"]),
    ],
)
def test_tab_completes(line: str, offered: list[str]) -> None:
    words = line.split()
    asked = {
        "_FL_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert found[: len(offered)] == offered
    assert bool(found) == bool(offered)
    assert all(name.startswith(words[-1]) for name in found)
