"""No method is another one at its defaults: a mechanism that never acts would fill a table with copies.

Every registered method runs at its default settings on one small problem with public data, two groups that contradict
each other and rounds enough for everything that waits (FedSelect's first selection, CFL's first split). What is
compared is the loss of each client's deployed model on its test data in every round.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.federation.settings import Training
from fl_bench.methods.contract import deal, made_up_data, make_run
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.datasets.dataset import Dataset
    from fl_bench.datasets.split import Split

pytestmark = pytest.mark.slow

TRAINING = Training(rounds=6, local_epochs=4, batch_size=8, lr=0.01)
ALIKE = 1e-5
"""Largest difference of two losses that are the same number, float32 rounding and all."""

BY_CONSTRUCTION: dict[frozenset[str], str] = {}
"""Pairs of methods whose deployed numbers are one by definition, and why. None so far."""


@cache
def problem() -> tuple[Dataset, Split]:
    """The contract's federation, where the second group calls class c what the first calls class c + 2."""
    dataset = made_up_data()
    dealt, labels = deal(dataset), dataset.labels.clone()
    assert dealt.groups is not None
    for client in np.flatnonzero(dealt.groups.open_for_evaluation()):
        for part in (dealt.train, dealt.validation, dealt.test):
            labels[part[client]] = (labels[part[client]] + 2) % dataset.about.classes
    return replace(dataset, labels=labels), dealt


@cache
def losses(name: str, **settings: object) -> dict[str, np.ndarray]:
    """Test loss of every client after every round, view to shape (rounds, clients)."""
    run = make_run(name, *problem(), TRAINING, config=METHODS[name].config_type(**settings))
    rows = list(run.rounds())
    views = [key.removesuffix(".loss") for key in rows[0].clients[0] if key.endswith(".loss")]
    return {view: np.array([[float(c[f"{view}.loss"]) for c in row.clients] for row in rows]) for view in views}


def deployed(name: str) -> np.ndarray:
    return losses(name)[METHODS[name].deployed_view]


def test_no_two_methods_deploy_the_same() -> None:
    alike = {
        frozenset({one, other})
        for one, other in combinations(METHODS.names(), 2)
        if np.abs(deployed(one) - deployed(other)).max() < ALIKE
    }
    assert alike == set(BY_CONSTRUCTION), f"the same number in every round: {[sorted(pair) for pair in alike]}"


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name not in ("fedavg", "local")])
def test_no_method_is_a_baseline_in_disguise(name: str) -> None:
    # FedAvg with either weights, before and after the local phase, is what most mechanisms fall back to.
    for weights in ("size", "uniform"):
        for view, baseline in losses("fedavg", weights=weights).items():
            same = np.abs(deployed(name) - baseline).max() < ALIKE
            assert not same, f"{name} is FedAvg (weights={weights}, {view}) in every round: its mechanism never acts"


def test_the_detector_sees_a_copy() -> None:
    # FedProx without its proximal term is FedAvg.
    assert np.abs(losses("fedprox", mu=0.0)["global"] - deployed("fedavg")).max() < ALIKE
