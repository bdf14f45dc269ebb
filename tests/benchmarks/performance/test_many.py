"""The made-up records that many records are timed with are sound ones, so that commands do the whole work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.performance.many import GRID, fill

if TYPE_CHECKING:
    import pytest

    from fl_bench.benchmarks.records.store import Store


def test_made_up_records_are_sound(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    cells = fill(store, "3")
    assert len(cells) == len(store.names()) == 252
    assert run_command(["fsck", str(store.results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run_command(["run", GRID, "--seeds", "3", "--out", str(store.results)]) == 0
    assert "252 runs, 252 of them finished earlier" in capsys.readouterr().err
