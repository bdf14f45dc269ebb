"""Tables say who had no cluster, where anybody had none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.run_view import print_record, rounds_table
from fl_bench.benchmarks.leaderboard.clusterless import clusterless, without_cluster
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.report.runs import drill_down
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


@pytest.fixture
def told(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Callable[..., Store]:
    """The store with runs of COSMOS in a federation of five, by how many clients have a cluster in each round."""

    def write(*runs: Sequence[int | None]) -> Store:
        for seed, counts in enumerate(runs):
            done = outcome({"client": [50.0] * len(counts)})
            for row, count in zip(done.rounds, counts, strict=True):
                row |= {} if count is None else {"cluster_clients": count, "clusters": min(count, 2)}  # type: ignore[operator]
            store.write(cell_of("cosmos", seed, partition={"clients": 5}), done)
        return store

    return write


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([[5, 5]], ""),
        ([[None, None]], ""),  # from before the column
        ([[0, 3, 5]], "some had none in 1 of 3 rounds, 1 of 3 rounds had no clusters"),
        ([[2, 3, 4]], "1 of 5 clients had no cluster in the last round, some had none in 3 of 3 rounds"),
        # 2 and 0 at the end, 2 and 1 rounds with some, 0 and 1 without any
        (
            [[3, 3], [0, 5], [5, 5]],
            "0.667 of 5 clients had no cluster in the last round, some had none in 0.667 of 2 rounds, "
            "0.333 of 2 rounds had no clusters",
        ),
    ],
    ids=str,
)
def test_it_says_whom_clusters_leave_out(told: Callable[..., Store], runs: Any, said: str) -> None:
    assert clusterless(told(*runs).records()) == said


def test_every_table_of_clusters_says_it(
    told: Callable[..., Store], screen: Callable[..., Console], text: Callable[[Console], str]
) -> None:
    said = "2 of 5 clients had no cluster in the last round, some had none in 2 of 2 rounds"
    (record,) = told([1, 3]).records()
    (line,) = lines([record])
    assert line.note == said
    shown = screen()
    print_results(shown, [line])
    print_record(shown, record)
    words = " ".join(text(shown).split())  # as long lines wrap
    assert f"cosmos: {said}" in words
    assert words.count(said) == 2
    assert [row["in no cluster"] for row in rounds_table(record)] == [4, 2]
    assert drill_down([record])["runs"][0]["columns"]["in no cluster"] == [4, 2]


def test_no_table_speaks_of_it_where_everybody_has_one(told: Callable[..., Store]) -> None:
    (record,) = told([5, 5]).records()
    assert without_cluster(record) == []
    assert lines([record])[0].note == ""
    assert "in no cluster" not in rounds_table(record)[0]
    assert "in no cluster" not in drill_down([record])["runs"][0]["columns"]
