"""Breaks a file in many small ways and prints what no test noticed: `make mutate FILE=methods/fedmd.py`, with mutmut.

Everything happens in a copy under build/mutate/, laid out as the import package is, so the working tree stays as it is.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "mutate"
ROOMS = ("benchmarks", "cosmos", "datasets", "federation", "methods")
CONFIG = """
[tool.mutmut]
source_paths = ["fl_bench"]
only_mutate = ["{file}"]
also_copy = ["README.md", "docs", "results"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-n", "0", "-p", "no:cacheprovider"]
process_isolation = "forkserver"  # a process that has run torch's threads cannot be forked
timeout_multiplier = 1
timeout_constant = {seconds}
use_git_change_detection = false
"""


def main() -> int:
    """Copy, mutate, test, report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what to break, relative to the repository")
    parser.add_argument("--tests", nargs="*", type=Path, help="what to run; the tests that mirror the file by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each mutant, beyond what its tests usually take")
    parser.add_argument("--processes", type=int, default=2, help="mutants tested at a time")
    asked = parser.parse_args()
    tests = asked.tests or [mirror(asked.file)]
    missing = [str(path) for path in (asked.file, *tests) if not (ROOT / str(path).partition("::")[0]).exists()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}; name the tests with TESTS='tests/...'")
    module = packaged(asked.file)
    lay_out(module, [str(path) for path in tests], asked.seconds)
    started = time.monotonic()
    # A progress bar is for a terminal; elsewhere only what went wrong is shown.
    shown = None if sys.stdout.isatty() else subprocess.PIPE
    with mutmut("run", "--max-children", str(asked.processes), stdout=shown) as run:
        try:
            said, _ = run.communicate()
        except KeyboardInterrupt:
            run.wait()  # it was interrupted too, and ends its own processes
            return 130
    if run.returncode:
        print(said or "")
        return run.returncode
    report(asked.file, module, time.monotonic() - started)
    return 0


def mirror(file: Path) -> Path:
    """The tests of a file: tests/<room>/test_<name>.py."""
    return Path("tests") / file.parent / f"test_{file.name}"


def packaged(file: Path) -> Path:
    """Where the file is in the import package: methods/fedmd.py is fl_bench/methods/fedmd.py."""
    return file if file.parts[0] == "fl_bench" else Path("fl_bench") / file


def lay_out(module: Path, tests: list[str], seconds: float) -> None:
    """A fresh copy: rooms inside the package, tests beside it, and what mutmut and pytest are told."""
    shutil.rmtree(COPY, ignore_errors=True)
    nothing_compiled = shutil.ignore_patterns("__pycache__")
    for room in ROOMS:
        shutil.copytree(ROOT / room, COPY / "fl_bench" / room, ignore=nothing_compiled)
    for folder in ("fl_bench", "tests", "docs"):
        shutil.copytree(ROOT / folder, COPY / folder, ignore=nothing_compiled, dirs_exist_ok=True)
    (COPY / "results").mkdir()
    (COPY / "mutants").mkdir()  # Python does not look again into a folder that was not there when it started
    shutil.copy(ROOT / "README.md", COPY)
    told = CONFIG.format(file=module.as_posix(), tests=tests, seconds=seconds)
    (COPY / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + told)


def report(file: Path, module: Path, seconds: float) -> None:
    """Print how many mutants there were, and each one that no test noticed, by line."""
    listed = re.findall(r"^ +(\S+): (.+)$", told_by("results", "--all", "true"), re.MULTILINE)
    fates = Counter(fate for _, fate in listed)
    unnoticed = sorted(survivor(module, name, fate) for name, fate in listed if fate not in ("killed", "timeout"))
    for line, fate, change in unnoticed:
        print(f"\n{file}:{line}: {fate}\n{change}")
    counts = ", ".join(f"{count} {fate}" for fate, count in fates.most_common())
    print(f"\n{file}: {len(listed)} mutants in {seconds:.0f} s: {counts}")


def survivor(module: Path, name: str, fate: str) -> tuple[int, str, str]:
    """The line in the file, what became of the mutant, and its change as a diff shows it."""
    change = [line for line in told_by("show", name).splitlines() if line[:1] in (" ", "-", "+")][2:]
    before = [line[1:].strip() for line in change if line[0] != "+"]
    shown = "\n".join(line for line in change if line[0] != " ")
    kept = next(index for index, line in enumerate(change) if line[0] != " ")  # lines of context come first
    text = (COPY / module).read_text()
    lines = [line.strip() for line in text.splitlines()]
    for node in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
        if f"{node.name}__mutmut_" not in name:
            continue
        for start in range(node.lineno - 1, node.end_lineno or 0):
            if lines[start : start + len(before)] == before:
                return start + kept + 1, fate, shown
    return 0, fate, f"{name}\n{shown}"


def mutmut(*arguments: str, stdout: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command of mutmut, beside this Python, in the copy; what its tests start finds the mutants too."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(COPY / "mutants")}
    return subprocess.Popen(command, cwd=COPY, env=environment, stdout=stdout, text=True)


def told_by(*arguments: str) -> str:
    """What a command of mutmut prints."""
    said, _ = mutmut(*arguments).communicate()
    return said


if __name__ == "__main__":
    sys.exit(main())
