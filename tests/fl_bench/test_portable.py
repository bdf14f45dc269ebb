"""No module needs what only Unix has, so that the command line starts on Windows too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

UNIX = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")

BLOCKED = """\
import builtins, importlib, os, pkgutil, sys, traceback
import fl_bench

root, real = os.path.realpath(fl_bench.__path__[0]), builtins.__import__

def imported(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {{}}).get("__name__", "")
    if level == 0 and name.partition(".")[0] in {unix!r} and importer.startswith("fl_bench"):
        raise ModuleNotFoundError(f"{{importer}} imports {{name}}", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = imported
"""

START = """\
from fl_bench.benchmarks.commands.cli import main
sys.argv = ["fl-bench", "--version"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
from fl_bench.benchmarks.running import local
"""

PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]

EVERYTHING = f"""\
found = [
    f"{{package}}.{{module.name}}"
    for package in {PACKAGES!r}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    if not module.ispkg and module.name != "__main__"
]
for name in found:
    importlib.import_module(name)
assert len(found) > 200, found
"""

PROBE = "exec('import fcntl', {'__name__': 'fl_bench.probe', '__builtins__': builtins})"


def run(code: str) -> subprocess.CompletedProcess[str]:
    script = BLOCKED.format(unix=UNIX) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_the_command_line_starts_without_what_only_unix_has() -> None:
    process = run(START)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.slow
def test_no_module_imports_what_only_unix_has() -> None:
    process = run(EVERYTHING)
    assert (process.returncode, process.stderr) == (0, "")


def test_the_block_holds() -> None:
    assert "fl_bench.probe imports fcntl" in run(PROBE).stderr
