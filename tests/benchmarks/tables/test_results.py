"""Tables at the terminal: every row, every mark, every name as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.tables.printing import print_table
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


def test_markup_in_names_is_shown_as_it_is(screen: Callable[..., Console], text: Callable[[Console], str]) -> None:
    shown = screen()
    print_table(shown, [{"method": "cosmos[clusters=1]", "n": 1}], title="[bold]x")
    assert "cosmos[clusters=1]" in text(shown)
    assert "[bold]x" in text(shown)


def test_results_show_every_view_and_name_what_is_missing(
    store: Store,
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    screen: Callable[..., Console],
    text: Callable[[Console], str],
) -> None:
    store.write(cell_of("local", 0), outcome({"client": [50.0]}))
    store.write(cell_of("local", 1), outcome({"client": [52.0]}))
    facts = {"view_badges": {"best_oracle": ["oracle: test labels"]}}
    store.write(cell_of("fedmd", 0), outcome({"client": [60.0], "best_oracle": [70.0]}, facts=facts))
    store.write(cell_of("cosmos", 0), outcome(status="failed", reason="x"))
    shown = screen()
    print_results(shown, lines(store.records()))
    said = text(shown)
    assert "51.00 ± 1.41" in said  # std of 50 and 52 is sqrt(2)
    assert "+10.00" in said
    assert "1, no seed 1" in said
    assert "0, 1 failed, no seed 1" in said
    assert "· best_oracle *" in said
    assert "* oracle: test labels" in said
    assert "in-group share 92.0 %" in said
    assert "seeds 0 1, at the last round" in said
