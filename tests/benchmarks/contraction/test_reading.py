"""Risks out of records made by hand: which number lands where, and what is refused or left out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.predictions import Prediction, read_predictions
from fl_bench.benchmarks.contraction.reading import read_blocks
from fl_bench.benchmarks.grid.grid import GRIDS, read_grid
from fl_bench.benchmarks.grid.repetition import Repetition
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

ROUNDS, CLIENTS = 7, 3


@pytest.fixture
def put(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Callable[..., None]:
    """Writes a run whose client i has in round t the accuracy 10 i + t, the loss i + t / 10 and the Brier score i."""

    def write(
        method: str = "local", seed: int = 0, *, risks: bool = True, rounds: int = ROUNDS, status: str = "done",
        untested: tuple[int, ...] = (), columns: tuple[str, ...] = ("acc", "loss", "brier"),
    ) -> None:  # fmt: skip
        cell = cell_of(method, seed, training={"rounds": rounds, **({"risks": True} if risks else {})})
        made = outcome({"client": [50.0] * rounds} if status == "done" else None, status=status)
        rows: list[dict[str, Any]] = [
            {"round": t, "client": i, "cluster": i % 2 if method != "local" else None}
            | {
                f"client.{name}": None if i in untested else {"acc": 10.0 * i + t, "loss": i + t / 10, "brier": i}[name]
                for name in columns
            }
            for t in range(rounds)
            for i in range(CLIENTS)
        ]
        for row, change in zip(made.rounds, (None, *range(1, rounds)), strict=False):
            row["prediction_change"] = change  # type: ignore[index]  # made a few lines above
        store.write(cell, type(made)(**{**vars(made), "clients": rows if status == "done" else ()}))

    return write


def test_every_risk_by_hand(store: Store, put: Callable[..., None]) -> None:
    for seed in (0, 1):
        put("local", seed)
        put("fedmd", seed)
    (block,) = read_blocks(store.records())
    assert (block.dataset, block.clients, block.rounds) == ("digits", 3, 7)
    assert block.seeds == (Repetition(0), Repetition(1))
    local, fedmd = block.arms["local"], block.arms["fedmd"]
    client, round_ = np.arange(3)[:, None], np.arange(7)
    for seed in (0, 1):
        assert local.of("client", "zero-one")[seed] == pytest.approx(1 - (10 * client + round_) / 100)  # type: ignore[index]
        assert local.of("client", "cross-entropy")[seed] == pytest.approx(client + round_ / 10)  # type: ignore[index]
        assert local.of("client", "brier")[seed] == pytest.approx(client + 0 * round_)  # type: ignore[index]
    assert local.of("server_assigned", "brier") is None
    assert local.clusters is None
    assert fedmd.clusters.tolist() == [[0, 1, 0]] * 2  # type: ignore[union-attr]
    moved = fedmd.diagnostics["prediction_change"]
    assert math.isnan(moved[0, 0])
    assert moved[:, 1:].tolist() == [[1, 2, 3, 4, 5, 6]] * 2


def test_seeds_and_clients_that_some_arm_lacks_are_left_out_and_named(store: Store, put: Callable[..., None]) -> None:
    for seed in (0, 1, 2):
        put("local", seed, untested=(2,) if seed == 1 else ())
    put("fedmd", 0)
    put("fedmd", 1)
    put("fedmd", 2, status="diverged")
    put("local", 0, risks=False)
    (block,) = read_blocks(store.records())
    assert [seed.seed for seed in block.seeds] == [0, 1]
    assert block.clients == 2
    assert block.left_out == (
        "1 record without risks",
        "fedmd seed 2 (diverged)",
        "local seed 2 (another arm lacks it)",
        "1 client without test samples under some seed",
    )


def test_records_without_risks_are_refused(store: Store, put: Callable[..., None]) -> None:
    put(risks=False)
    with pytest.raises(ConfigError, match=r"this record has no risks per client; .*training\.risks: true"):
        read_blocks(store.records())


def test_few_rounds_are_refused(store: Store, put: Callable[..., None]) -> None:
    put(rounds=6)
    with pytest.raises(ConfigError, match=r"^digits has 6 rounds, too few .* it takes 7 to say"):
        read_blocks(store.records())


def test_arms_without_a_common_seed_are_refused(store: Store, put: Callable[..., None]) -> None:
    put("local", 0)
    put("fedmd", 1)
    with pytest.raises(ConfigError, match="the arms have no seed in common that is done"):
        read_blocks(store.records())


def test_a_record_that_lacks_a_column_is_named(store: Store, put: Callable[..., None]) -> None:
    put(columns=("acc", "loss"))
    with pytest.raises(DataError, match=r"clients\.csv lacks client\.brier; remove the record and run it again"):
        read_blocks(store.records())


def test_our_predictions_are_about_arms_of_our_grids() -> None:
    study, grid = read_predictions(), read_grid(GRIDS / "contraction.yaml")
    doses = read_grid(GRIDS / "contraction-doses.yaml")
    labels = {entry if isinstance(entry, str) else entry.get("label", next(iter(entry))) for entry in grid.methods}
    named = {study.claim, *study.controls, *study.references}
    named |= {prediction.arm for prediction in study.predictions}
    named |= {prediction.than for prediction in study.predictions if prediction.than is not None}
    assert named == labels  # and no arm runs for nothing
    changes = [prediction.setting for prediction in study.predictions if prediction.setting]
    assert all(change in doses.settings.values() for change in changes)
    assert {**doses.partition, **doses.training} == {**grid.partition, **grid.training}
    assert all(entry in grid.methods for entry in doses.methods)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"test": "rho", "expect": "below"}, "p: a prediction on rho needs `than` or `setting`"),
        ({"test": "gap", "expect": "same", "than": "b"}, "p: a prediction on gap is about one arm"),
        ({"test": "contracts", "expect": "below"}, "p: `expect` belongs to every test but contracts and movement"),
        ({"test": "end", "than": "b"}, "p: `expect` belongs to every test but contracts and movement"),
    ],
)
def test_predictions_that_say_too_little_or_too_much(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Prediction("p", "words", arm="a", **settings)


def test_mistakes_in_a_file_of_predictions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    one = "{name: p, says: x, test: contracts, arm: a}"
    text = "claim: a\ncontrols: []\nreferences: []\npredictions:\n"
    path.write_text(f"{text}  - {one}\n  - {one}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="two predictions are called 'p'"):
        read_predictions(path)
    path.write_text(f"{text}  - {one.replace('contracts', 'contract')}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml: predictions\.0 must be 'contracts', .*, found 'contract'"):
        read_predictions(path)
