"""Small grids, and records made by hand: what a leaderboard says of them can be worked out on paper."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from fl_bench.benchmarks.grid.grid import Grid, GridFile, Overrides, expand
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running import nets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell

PAIRING = {"partition": "p", "initial_weights": "w", "client_draws": "d", "public_order": "o"}


@pytest.fixture(autouse=True)
def plans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans keep what they found out among the test's own files, and not in the user's cache."""
    monkeypatch.setattr(nets, "kept_in", lambda: request.getfixturevalue("tmp_path") / "cache" / "plans.json")


@pytest.fixture
def small_grid() -> Callable[..., Grid]:
    """Digits over 5 clients, 2 rounds: a cell takes a fraction of a second."""

    def make(overrides: Overrides | None = None, **changes: Any) -> Grid:
        file = GridFile(
            name="small",
            datasets=("digits",),
            methods=("local", "fedmd"),
            seeds=(0,),
            partition={"clients": 5, "groups": 5, "min_test": 5},
            models=["mlp-8"],
            training={"rounds": 2},
        )
        return expand(replace(file, **changes), "small.yaml", overrides)

    return make


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """An outcome from the accuracies of the rounds of each view, or one without rounds."""

    def make(
        views: Mapping[str, Sequence[float]] | None = None,
        *,
        status: str = "done",
        reason: str | None = None,
        deployed: str = "client",
        validation: Sequence[float | None] = (),
        facts: Mapping[str, Any] | None = None,
        seconds: float = 1.0,
    ) -> Outcome:
        views = views or ({"client": [50.0, 50.0]} if status == "done" else {})
        count = len(next(iter(views.values()), ()))
        rounds = [
            {
                "round": index,
                "participants": 4,
                **{f"{view}.acc_mean": course[index] for view, course in views.items()},
                **{f"{view}.acc_worst_decile": course[index] - 10 for view, course in views.items()},
                "val_acc_mean": validation[index] if validation else None,
                "bytes_up": 400,
                "bytes_down": 0 if index == 0 else 200,
                "seconds_training": 0.25,
            }
            for index in range(count)
        ]
        clients = [{"round": row["round"], "client": 0, "client.acc": 50.0} for row in rounds]
        known = {
            "deployed": deployed,
            "views": sorted(views),
            "badges": [],
            "view_badges": {},
            "pairing": PAIRING,
            "dataset": {"fingerprint": "f"},
            "heterogeneity": {"in_group_test": 0.92},
            "bytes_one_off": 1000,
        }
        return Outcome(
            status=status,  # type: ignore[arg-type]  # tests name statuses in words
            reason=reason,
            facts={**(known if views else {}), **(facts or {})},
            provenance={"fl_bench": "0"},
            clocks={
                "started": "2026-01-01T00:00:00+00:00",
                "finished": "2026-01-01T00:00:01+00:00",
                "seconds_total": seconds,
            },
            rounds=rounds,
            clients=clients,
        )

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def cell_of(small_grid: Callable[..., Grid]) -> Callable[..., Cell]:
    """One cell by method text and seed."""

    def make(method: str = "local", seed: int = 0, **changes: Any) -> Cell:
        return small_grid(Overrides(methods=method, seeds=str(seed)), **changes).cells[0]

    return make


@pytest.fixture
def leave_checkpoint() -> Callable[..., Path]:
    """The checkpoint of a cell, as a run that was stopped or killed leaves it."""

    def leave(store: Store, cell: Cell, content: bytes = b"after a round") -> Path:
        with store.claim(cell) as claim:
            claim.checkpoint.write_bytes(content)
        return claim.checkpoint

    return leave


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its content."""

    def take(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    return take


@pytest.fixture
def screen() -> Callable[..., Console]:
    """A console that prints into memory."""

    def make(*, terminal: bool = False, width: int = 120) -> Console:
        return Console(file=io.StringIO(), force_terminal=terminal, width=width)

    return make


@pytest.fixture
def text() -> Callable[[Console], str]:
    """What a screen shows."""

    def read(shown: Console) -> str:
        assert isinstance(shown.file, io.StringIO)
        return shown.file.getvalue()

    return read
