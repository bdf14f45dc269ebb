"""Measures rules for the number of clusters (benchmarks room): trains clients, and writes the study's CSV files.

Clients train one round as in the grid `offline` (mlp-64, five local epochs, at most 1500 training rows), and every rule
clusters the same predictions. Accuracy takes four rounds more; rules that make the same clusters share a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from ....cosmos.settings import CosmosConfig
from ....datasets.catalogue import load_dataset
from ....datasets.latent_groups import LatentGroups
from ....datasets.split import SplitSettings, split
from ....federation.run import Run
from ....federation.settings import ModelMix, Training
from ....methods.clustering import ordered
from ....methods.registry import METHODS
from .protocol import JUDGED, ROUNDS, RULES, SETTINGS, Case, cases, clusters, longer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from ....datasets.dataset import Dataset
    from ....methods.clustering import Labels

DISTILLATION = {"distill_epochs": 2, "server_epochs": 2, "distill_lr": 0.003}
"""As in the grid `offline`."""


def measure(datasets: Sequence[str], folder: Path) -> None:
    """Write `<data set>-clusters.csv` into a folder for each data set, `<data set>-accuracy.csv` for judged ones."""
    for name in datasets:
        data = load_dataset(name)
        pd.DataFrame([_clustered(data, case) for case in cases(name)]).to_csv(
            folder / f"{name}-clusters.csv", index=False, float_format="%.4g"
        )
    for name in datasets:
        if name in JUDGED:
            data = load_dataset(name)
            rows = [row for case in longer(name) for row in _accuracies(data, case)]
            pd.DataFrame(rows).to_csv(folder / f"{name}-accuracy.csv", index=False, float_format="%.4f")


def _clustered(data: Dataset, case: Case) -> dict[str, Any]:
    """K and the adjusted Rand index of every rule in a case."""
    groups, predictions = np.repeat(np.arange(case.groups), case.clients // case.groups), _predictions(data, case)
    row: dict[str, Any] = vars(case).copy()
    for rule in RULES:
        found = clusters(rule, predictions, case)
        row[f"{rule}: K"] = int(found.max()) + 1
        row[f"{rule}: ARI"] = adjusted_rand_score(groups, found)
    return row


def _accuracies(data: Dataset, case: Case) -> list[dict[str, Any]]:
    """Accuracies of every rule after the last round, in percent."""
    predictions = _predictions(data, case)
    made: dict[bytes, dict[str, float]] = {}
    rows = []
    for rule, settings in SETTINGS.items():
        found: Labels = clusters(rule, predictions, case)
        if found.tobytes() not in made:
            run = _run(data, case, ROUNDS, {**DISTILLATION, **settings})
            last = list(run.rounds())[-1].values
            if not np.array_equal(ordered(run.method.clusters()), found):
                raise AssertionError(f"COSMOS made other clusters than the study: {rule}, {case}")
            views = ("client", "server_assigned")
            made[found.tobytes()] = {view: float(last[f"{view}.acc_mean"]) for view in views}
        rows.append({**vars(case), "rule": rule, "K": int(found.max()) + 1, **made[found.tobytes()]})
    return rows


def _predictions(data: Dataset, case: Case) -> Tensor:
    """What clients say of the public samples after a round, shape (clients, samples, classes)."""
    run = _run(data, case, 1, {"clustering": "single", "feedback": "no_model"})
    next(run.rounds())
    predictions: Tensor = run.method.predictions
    return predictions


def _run(data: Dataset, case: Case, rounds: int, settings: dict[str, Any]) -> Any:
    """COSMOS on a case."""
    scheme = LatentGroups(groups=case.groups, alpha=case.alpha, mixing=case.mixing)
    dealt = SplitSettings(clients=case.clients, val_fraction=0.2, max_train=1500)
    training = Training(rounds=rounds, local_epochs=5, batch_size=16, lr=5e-3)
    method = METHODS["cosmos"](CosmosConfig(**settings))
    return Run(method, data, split(data, scheme, dealt, case.seed), ModelMix(("mlp-64",)), training, seed=case.seed)
