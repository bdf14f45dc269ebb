"""Which record the name of a run means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.filters import Filters
from fl_bench.benchmarks.commands.naming import find_record
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


def test_a_label_is_taken_as_tables_show_it(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for method in ("fedmd", "fedmd[digest_epochs=2]", "fedmd[digest_epochs=2;score=probabilities]"):
        for seed in (1, 10):
            store.write(cell_of(method, seed), outcome({"client": [50.0]}))
    plain, other, both = (
        find_record(f"digits/fedmd{inside}-1", store.results)[0].label
        for inside in ("", "[digest_epochs=2]", "[digest_epochs=2;score=probabilities]")
    )
    assert (plain, other) == ("fedmd", "fedmd[digest_epochs=2]")
    assert both == "fedmd[digest_epochs=2;score=probabilities]"
    assert find_record("fedmd[digest_epochs=2]-10", store.results)[0].repetition.seed == 10
    with pytest.raises(ConfigError, match=r"no record is named 'digits/fedmd\[digest_epochs=3\]-1'"):
        find_record("digits/fedmd[digest_epochs=3]-1", store.results)


def test_filters_narrow_down_what_a_name_means(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for dataset in ("digits", "optdigits"):
        store.write(cell_of("local", datasets=(dataset,)), outcome({"client": [50.0]}))
    record, _ = find_record("local-0", store.results, Filters(datasets="digits"))
    assert record.cell["dataset"] == "digits"
