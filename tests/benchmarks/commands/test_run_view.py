"""Which record `fl-bench show` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.run_view import find_record
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


def test_a_record_whose_name_begins_so_comes_before_those_that_contain_it(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    asked = cell_of("local", datasets=("digits",))
    other = cell_of("local", datasets=("optdigits",))
    for cell in (asked, other):
        store.write(cell, outcome({"client": [50.0]}))
    assert find_record("digits/local", store.results)[0].cell["dataset"] == "digits"
    assert find_record("optdigits", store.results)[0].cell["dataset"] == "optdigits"
    with pytest.raises(ConfigError, match="part of 2 records"):
        find_record("local-0", store.results)


def test_of_a_run_with_several_protocols_the_newest_is_shown(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    for version in (1, 3, 2):
        monkeypatch.setattr("fl_bench.federation.protocol.VERSION", version)
        folders.append(store.write(cell_of("local"), outcome({"client": [50.0]})).name)
    record, older = find_record("local-0", store.results)
    assert record.protocol.rounds == 3
    assert sorted(older) == sorted(f"digits/{folders[place]}" for place in (0, 2))
    # Runs of other settings are no older versions of each other.
    store.write(cell_of("local", training={"rounds": 3}), outcome({"client": [50.0]}))
    with pytest.raises(ConfigError, match="part of 4 records"):
        find_record("local-0", store.results)
