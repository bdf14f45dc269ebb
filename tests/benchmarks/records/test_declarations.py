"""Declarations beside records: dated, only ever added to, carried by bundles, and never taken on trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import (
    Declared,
    as_text,
    declare,
    history,
    read_declarations,
    recorded_before,
)
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.records.store import Store
from fl_bench.errors import ConfigError, DataError
from fl_bench.limits import DECLARATION_BYTES

if TYPE_CHECKING:
    from pathlib import Path

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]

COMPARISON = Declaration("fedmd", methods=("local",), datasets=("digits",), seeds=(0, 1))
FIRST = Declared("small", "0" * 64, "2025-12-31T00:00:00+00:00", 0, 4, COMPARISON)
CHANGED = replace(FIRST, date="2026-02-01T00:00:00+00:00", recorded=4, comparison=replace(COMPARISON, rope=2.0))


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """Two methods with two seeds, all begun on 2026-01-01."""
    for seed in (0, 1):
        for method in ("fedmd", "local"):
            store.write(cell_of(method, seed), outcome({"client": [50.0 + seed]}))
    return store


def test_what_is_written_reads_back(store: Store) -> None:
    assert read_declarations(store) == ()
    assert declare(store, FIRST) is None
    assert read_declarations(store) == (FIRST,)


def test_the_same_again_adds_nothing_and_another_one_is_kept_beside(store: Store) -> None:
    declare(store, FIRST)
    assert declare(store, replace(FIRST, date=CHANGED.date, sha256="1" * 64, recorded=3)) is None
    assert read_declarations(store) == (FIRST,)
    assert declare(store, CHANGED) == FIRST
    assert read_declarations(store) == (FIRST, CHANGED)


def test_the_last_of_a_grid_counts(store: Store) -> None:
    other = replace(FIRST, grid="other", date="2026-03-01T00:00:00+00:00")
    for one in (FIRST, other, CHANGED):
        declare(store, one)
    found = read_declarations(store)
    assert history(found) == (FIRST, CHANGED)
    assert history(found, "other") == (other,)
    assert history(()) == ()
    with pytest.raises(ConfigError, match=r"no grid 'mine' declared a comparison here \(known: small, other\)"):
        history(found, "mine")


def test_runs_that_began_before_are_counted_by_their_clocks(filled: Store) -> None:
    records = filled.records()
    assert recorded_before(FIRST, records) == 0
    assert recorded_before(CHANGED, records) == 4
    assert recorded_before(replace(FIRST, date="2026-01-01T00:00:00+00:00"), records) == 0  # the very second


def test_a_bundle_carries_it_there_and_back(filled: Store, tmp_path: Path) -> None:
    declare(filled, FIRST)
    before = (filled.results / "comparison.json").read_bytes()
    path = tmp_path / "away" / "mine.tar.xz"
    path.parent.mkdir()
    assert run_command(["pack", str(filled.results), "--out", str(path)]) == 0
    assert read_declarations(Store(path)) == (FIRST,)
    assert len(Store(path).records()) == 4
    assert run_command(["unpack", str(path)]) == 0
    assert (path.parent / "comparison.json").read_bytes() == before
    (path.parent / "comparison.json").write_text(as_text([CHANGED]), encoding="utf-8")
    assert run_command(["unpack", str(path)]) == 0  # what is there stays
    assert read_declarations(Store(path.parent)) == (CHANGED,)


def test_a_bundle_without_one_has_none(filled: Store) -> None:
    assert run_command(["pack", str(filled.results)]) == 0
    assert read_declarations(Store(filled.bundle)) == ()


def test_a_folder_whose_records_are_packed_reads_the_bundle_unless_it_has_its_own(filled: Store) -> None:
    declare(filled, FIRST)
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    (filled.results / "comparison.json").unlink()
    assert read_declarations(Store(filled.results)) == (FIRST,)
    assert declare(Store(filled.results), CHANGED) == FIRST
    assert read_declarations(Store(filled.results)) == (FIRST, CHANGED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-5], "cannot be read"),
        (lambda text: "[" * 100_000, "more lists and mappings than declarations do"),
        (lambda text: "[]", "must be a mapping"),
        (lambda text: " " * (DECLARATION_BYTES + 1), "more than it may have"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "reads up to 1: update"),
        (lambda text: text.replace('"date": "2025', '"date": "yesterday, 2025'), "date must look like"),
        (lambda text: text.replace('"recorded": 0', '"recorded": 9'), "recorded must lie between 0 and 4"),
        (lambda text: text.replace('"level": 0.05', '"level": 5'), "level must lie between 0 and 0.5"),
        (lambda text: text.replace('"control": "fedmd"', '"control": "local"'), "names 'local' twice"),
        (lambda text: text.replace('"grid"', '"gird"'), "declared.0 is missing"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(
    filled: Store, change: Callable[[str], str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled.results / "comparison.json"
    path.write_text(change(as_text([FIRST])), encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_declarations(filled)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert run_command(["fsck", str(filled.results)]) == 1
    assert "comparison.json" in capsys.readouterr().out
    assert run_command(["compare", str(filled.results)]) == 2  # nothing is claimed as if nothing had been declared


def test_the_file_is_plain_json(store: Store) -> None:
    declare(store, FIRST)
    found = json.loads((store.results / "comparison.json").read_text(encoding="utf-8"))
    assert found["declared"][0]["comparison"]["control"] == "fedmd"
