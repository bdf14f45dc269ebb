"""The section of docs/cosmos-studies.md on the server's learning rate (benchmarks room): records in, text out."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...grid.grid import find_grid, read_grid
from ...records.store import Store
from ..sections import STUDIES, listed, put, table, wrapped

if TYPE_CHECKING:
    from ...records.record import Record

RECORDS = Path(__file__).resolve().parents[3] / "results" / "cosmos-server"
"""The records of the grid `cosmos-server`."""

TEXT = Path(__file__).with_name("section.md")
"""The words of the section; `{name}` stands for what `facts` computes."""

FORMER = 1e-3
"""What `server_lr` was by default."""

EPOCHS = 5
"""`server_epochs` by default."""

Rate = tuple[float, int] | None
"""`server_lr` and `server_epochs`; None is Local-only, which has no server."""
Found = dict[tuple[float, Rate], dict[str, float]]
"""Validation accuracy by data set, of each rate of clients and server."""


def write(page: Path = STUDIES) -> Path:
    """Put the section into its place on the page.

    Raises:
        ConfigError: there are no records.
        ValueError: the page has not exactly one place for it.
    """
    text = wrapped(TEXT.read_text(encoding="utf-8").format(**facts()))
    return put("server-rate", "make cosmos", TEXT, text, page)


def facts(results: Path = RECORDS) -> dict[str, str]:
    """Tables and numbers of the section, as text."""
    records = Store(results).records()
    found = accuracies(records)
    slow, fast = sorted({lr for lr, _ in found})
    datasets = sorted(next(iter(found.values())))
    means = {key: fmean(values.values()) for key, values in found.items()}
    behind = {lr: _best(means, lr)[1] - means[lr, (lr, EPOCHS)] for lr in (slow, fast)}
    lost = means[fast, (fast, EPOCHS)] - means[fast, (FORMER, EPOCHS)]
    fixed = means[slow, (fast, EPOCHS)] - means[slow, (slow, EPOCHS)]
    worse = [name for name in datasets if found[fast, (FORMER, EPOCHS)][name] < found[fast, (fast, EPOCHS)][name]]
    return {
        "means": table(
            ["server_lr", "server_epochs", *(f"mean, clients at {lr:g}" for lr in (slow, fast))],
            [
                [*_named(rate), *(f"{means[lr, rate]:.2f}" for lr in (slow, fast))]
                for rate in sorted({rate for _, rate in found}, key=_order)
            ],
            right=True,
        ),
        "slow_datasets": _by_dataset(found, slow, datasets),
        "fast_datasets": _by_dataset(found, fast, datasets),
        "slow": f"{slow:g}",
        "fast": f"{fast:g}",
        "former": f"{FORMER:g}",
        "count": str(len(datasets)),
        "runs": str(len(records)),
        "seeds": " ".join(sorted({str(record.repetition) for record in records})),
        "epochs": str(EPOCHS),
        "behind_slow": f"{behind[slow]:.2f}",
        "behind_fast": f"{behind[fast]:.2f}",
        "best_slow": _words(_best(means, slow)[0]),
        "best_fast": _words(_best(means, fast)[0]),
        "lost": f"{lost:.2f}",
        "worse": str(len(worse)),
        "lacking": _lacking(datasets),
        "fixed": f"{fixed:+.2f}",
    }


def accuracies(records: list[Record]) -> Found:
    """Mean validation accuracy over clients at the last round, in percent; means over seeds."""
    runs: dict[tuple[float, Rate], dict[str, list[float]]] = {}
    for record in records:
        settings: dict[str, Any] = record.cell["method"]["settings"]
        rate = (settings["server_lr"], settings["server_epochs"]) if record.cell["method"]["name"] == "cosmos" else None
        place = runs.setdefault((record.cell["training"]["lr"], rate), {})
        place.setdefault(record.cell["dataset"], []).append(float(record.rounds[-1]["val_acc_mean"] or 0))
    return {key: {name: fmean(values) for name, values in by.items()} for key, by in runs.items()}


def _lacking(datasets: list[str]) -> str:
    """Data sets of the grid that are not among these, as a sentence."""
    missing = [name for name in read_grid(find_grid(RECORDS.name)).datasets if name not in datasets]
    return f"Of the grid's data sets {listed(missing)} had not been run to the end and are left out." if missing else ""


def _by_dataset(found: Found, lr: float, datasets: list[str]) -> str:
    rates = sorted({rate for rate_of_clients, rate in found if rate_of_clients == lr}, key=_order)
    rows = [
        [" x ".join(_named(rate)) if rate else "Local-only", *(f"{found[lr, rate][name]:.1f}" for name in datasets)]
        for rate in rates
    ]
    return table(["server_lr x epochs", *datasets], rows, right=True)


def _best(means: dict[tuple[float, Rate], float], lr: float) -> tuple[Rate, float]:
    """The best of those with a server, and its mean."""
    (_, rate), mean = max(
        ((key, mean) for key, mean in means.items() if key[0] == lr and key[1] is not None), key=lambda pair: pair[1]
    )
    return rate, mean


def _order(rate: Rate) -> tuple[float, float]:
    return (-1, 0) if rate is None else (rate[1], rate[0])


def _named(rate: Rate) -> list[str]:
    return ["Local-only", ""] if rate is None else [f"{rate[0]:g}", str(rate[1])]


def _words(rate: Rate) -> str:
    assert rate is not None  # the best of those with a server
    return f"{rate[0]:g} with {rate[1]} epochs"
