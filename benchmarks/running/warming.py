"""The first step of a process, taken before any clock runs (benchmarks room): a tiny federation with a cell's nets.

What a process pays once (libraries read from disk at the first product, kernels chosen by shape, a GPU's handles) would
else be in the first round of whichever method comes first. Nothing of the cell is touched: other data, other nets.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from fl_bench.lazy import np, torch

from ...datasets.dataset import build_dataset
from ...datasets.partition import PARTITIONS
from ...datasets.split import SplitSettings, split
from ...methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...datasets.dataset import Description
    from ...federation.settings import Execution, ModelMix, Training

CLIENTS = 2
"""Clients of each architecture: one alone is not stacked."""

SAMPLES = 12
"""Samples of a client, of which some are for testing; batches have the size of the cell's all the same."""


def warm_up(
    method: Callable[..., object],
    about: Description,
    models: ModelMix,
    training: Training,
    device: str,
    execution: Execution,
) -> bool:
    """Train each net of a cell for a round on made-up data of the same shape, once in a process.

    Args:
        method: the cell's, as it is registered.
        about: the cell's data set.
        models: its nets.
        training: how it trains.
        device: a torch device.
        execution: how it uses the device.
    Returns:
        Whether the round came to its end. What fails here fails in the cell's own run again, which says so.
    """
    if builds_optimizers(method):  # which import torch's compiler, as long as torch itself takes; ours do not
        torch.optim.SGD([torch.zeros(1, device=device)], lr=1.0)
    plain = replace(training, rounds=1, local_epochs=1, participation=1.0, admission_epochs=None)
    samples = about.shape, about.classes, about.vocabulary
    return _warm_up(*samples, models, plain, device, replace(execution, compile=False))


def builds_optimizers(method: Callable[..., object]) -> bool:
    """Whether the file of a method names `torch.optim`, or cannot be read."""
    try:
        source = inspect.getsource(sys.modules[method.__module__])
    except (OSError, TypeError, KeyError):
        return True
    return re.search(r"\boptim\b", source) is not None


@lru_cache(maxsize=64)
def _warm_up(
    shape: tuple[int, ...],
    classes: int,
    vocabulary: int | None,
    models: ModelMix,
    training: Training,
    device: str,
    execution: Execution,
) -> bool:
    from ...federation.run import Run

    rows, clients = SAMPLES * CLIENTS * len(models.used), CLIENTS * len(models.used)
    inputs = np.random.default_rng(0).random((rows, *shape), dtype=np.float32)
    try:
        dataset = build_dataset(
            "warm-up",
            inputs if vocabulary is None else (vocabulary * inputs).astype(np.int64),
            np.arange(rows) % classes,
            source="made up",
            train_size=rows * 3 // 4,
            classes=classes,
            vocabulary=vocabulary,
        )
        dealt = split(dataset, PARTITIONS["iid"](), SplitSettings(clients=clients, public=0.0, min_test=1), 0)
        local = METHODS["local"]
        run = Run(
            local(local.config_type()), dataset, dealt, models, training, seed=0, device=device, execution=execution
        )
        return len(list(run.rounds())) == 1
    except Exception:
        return False
