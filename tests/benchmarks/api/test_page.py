"""docs/python.md: its blocks run one after the other, in a folder of their own, and give what the page says."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import fl_bench as fb

PAGE = Path(__file__).parents[3] / "docs" / "python.md"


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    source = tmp_path / "page.py"
    source.write_text("\n".join(blocks), encoding="utf-8")
    spec = spec_from_file_location("page", source)
    assert spec is not None
    assert spec.loader is not None
    page: Any = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "page", page)  # where Python looks for the source of a class
    spec.loader.exec_module(page)
    assert len(page.results) == 6  # and Local-only
    assert set(page.mine.runs["status"]) == {"done"}
    assert {path.name for path in page.paths} == {"runs.csv", "rounds.csv", "clients.csv", "leaderboard.csv"}
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_names_what_is_public() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## ")[0]
    assert set(re.findall(r"`fb\.(\w+)`", text)) == set(fb.PUBLIC)
