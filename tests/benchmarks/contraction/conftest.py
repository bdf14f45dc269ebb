"""Blocks of the contraction study whose truth is planted: F + A rho^t, with noise of seeds, clients and rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.predictions import Predictions
from fl_bench.benchmarks.contraction.reading import RISKS, Arm, Block
from fl_bench.benchmarks.contraction.study import Study
from fl_bench.benchmarks.grid.repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEEDS, CLIENTS, ROUNDS = 5, 10, 30

CELL = {
    "partition": {"scheme": "latent-groups", "public_keep": 1.0},
    "models": {"names": ["mlp-8"]},
    "training": {"rounds": ROUNDS},
}


@pytest.fixture
def course() -> Callable[..., np.ndarray]:
    """Risks of shape (seeds, clients, rounds); amplitudes differ between seeds and clients, and so do levels."""

    def make(floor: float, amplitude: float, rho: float, salt: int = 0, noise: float = 0.002) -> np.ndarray:
        stream, size = np.random.default_rng(salt), (SEEDS, CLIENTS, 1)
        spread = 1 + 0.2 * stream.normal(size=(SEEDS, 1, 1)) + 0.1 * stream.normal(size=size)
        levels = floor + 0.01 * stream.normal(size=size)
        risks = levels + amplitude * spread * rho ** np.arange(ROUNDS)
        return np.asarray(risks + noise * stream.normal(size=(SEEDS, CLIENTS, ROUNDS)))

    return make


@pytest.fixture
def arm() -> Callable[..., Arm]:
    """An arm from the risks of its client view, the same under each name."""

    def make(label: str, risks: np.ndarray, badges: tuple[str, ...] = (), **diagnostics: np.ndarray) -> Arm:
        return Arm(label, "client", ("client",), {("client", risk): risks for risk in RISKS}, None, diagnostics, badges)

    return make


@pytest.fixture
def block() -> Callable[..., Block]:
    """A block of some arms."""

    def make(*arms: Arm, dataset: str = "d", changes: Mapping[str, Any] | None = None, rounds: int = ROUNDS) -> Block:
        cell = {section: dict(values) for section, values in CELL.items()}
        for key, value in (changes or {}).items():
            section, _, name = key.partition(".")
            cell[section][name] = value
        return Block(
            dataset,
            "s",
            "",
            cell,
            tuple(map(Repetition, range(SEEDS))),
            CLIENTS,
            rounds,
            {one.label: one for one in arms},
            (),
        )

    return make


@pytest.fixture
def study() -> Callable[..., Study]:
    """A study of a block: `cosmos` is the claim, `local` a control, `pooled` a reference."""

    def make(block: Block) -> Study:
        return Study(block, Predictions("cosmos", ("local",), ("pooled",), ()), "brier", draws=60)

    return make
