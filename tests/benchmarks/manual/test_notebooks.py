"""The notebooks of the documentation run from top to bottom, and are stored small and clean."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
def test_notebooks_run_and_show_what_is_stored(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "shared" / "notebooks.py"), *map(str, NOTEBOOKS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = [output for path in NOTEBOOKS for cell in cells(path) for output in cell["outputs"]]
    shown = done.stdout.splitlines()
    assert len(shown) == len(stored)
    for line, output in zip(shown, stored, strict=True):
        form = next((form for form in ("image/png", "text/html") if form in output["data"]), "text/plain")
        kind = {"image/png": "_repr_png_", "text/html": "_repr_html_"}.get(form)
        told = "".join(output["data"][form])
        assert alike(line, told) if kind is None else line.startswith(kind)


def alike(one: str, other: str) -> bool:
    """Whether texts differ in digits at most: another processor rounds otherwise."""
    return re.sub(r"\d", "0", one) == re.sub(r"\d", "0", other)


def cells(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in content if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text) < 100_000
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    assert not any(output["output_type"] in ("stream", "error") for cell in cells(path) for output in cell["outputs"])
    assert str(Path.home()) not in text
    assert "/tmp/" not in text
