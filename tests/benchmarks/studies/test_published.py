"""The index of results/: a line per folder, with the question and the finding, and links that lead from there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.benchmarks.commands.question import Question
from fl_bench.benchmarks.commands.screen import tell
from fl_bench.benchmarks.studies.published import index

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


def test_a_line_per_folder(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> None:
    for method, values in {"fedmd": [60, 61, 62], "local": [50, 51, 52.5], "fedavg": [61, 60, 62]}.items():
        for seed, value in enumerate(values):
            store.write(cell_of(method, seed), outcome({"client": [float(value)]}))
    found, _ = tell(store.results, Question(control="fedmd"))
    compared = replace(found, name="b", question="Does it win?")
    note = "Not yet:\n[there](../README.md#there), [docs](../../docs/x.md#a), [own](own.md) or [far](https://a.b/c)."
    noted = replace(compared, name="a", comparison=None, note=note)
    # FedMD minus Local-only is 10, 10 and 9.5, p = .0003; minus FedAvg it is -1, 1 and 0
    assert index([compared, noted]).splitlines()[2:] == [
        "| [`a`](a/README.md) | Does it win? | Not yet: [there](#there), [docs](../docs/x.md#a), [own](a/own.md) or "
        "[far](https://a.b/c). |",
        "| [`b`](b/README.md) | Does it win? | Clearly worse than fedmd: local; undecided against fedmd: fedavg. |",
    ]
