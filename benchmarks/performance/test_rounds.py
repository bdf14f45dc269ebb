"""Seconds of one communication round of each method, on digits with one thread; `make bench` prints ratios.

Times of one call are comparable with each other, not with another day's: the machines are noisy. Nothing is gated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings, split
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 3


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As the executor runs cells."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("model", ["mlp-64", "cnn-small"])
@pytest.mark.parametrize("method", ["local", "fedavg", "fedmd", "cosmos"])
def test_rounds(benchmark: Any, method: str, model: str) -> None:
    """Three rounds of 20 clients; local training is the same work in all methods."""
    dataset = load_dataset("digits")
    dealt = split(dataset, PARTITIONS["latent-groups"](), SplitSettings(clients=20), seed=0)

    def fresh() -> tuple[tuple[Run], dict[str, Any]]:
        training = Training(rounds=ROUNDS, batch_size=16)
        return (Run(METHODS[method](), dataset, dealt, ModelMix((model,)), training, seed=0),), {}

    benchmark.group = f"{ROUNDS} rounds, 20 clients, {model}"
    benchmark.pedantic(lambda run: list(run.rounds()), setup=fresh, rounds=3)


@pytest.mark.parametrize("kept", [False, True], ids=["without", "with"])
def test_checkpoints(benchmark: Any, tmp_path: Path, kept: bool) -> None:
    """What a checkpoint after each round costs."""
    dataset = load_dataset("digits")
    dealt = split(dataset, PARTITIONS["latent-groups"](), SplitSettings(clients=20), seed=0)

    def fresh() -> tuple[tuple[Run], dict[str, Any]]:
        path = tmp_path / "checkpoint.pt"
        path.unlink(missing_ok=True)
        training = Training(rounds=ROUNDS, local_epochs=5, batch_size=16)
        models = ModelMix(("mlp-64",))
        return (
            Run(METHODS["fedmd"](), dataset, dealt, models, training, seed=0, checkpoint=path if kept else None),
        ), {}

    benchmark.group = "fedmd with and without checkpoints"
    benchmark.pedantic(lambda run: list(run.rounds()), setup=fresh, rounds=3)
