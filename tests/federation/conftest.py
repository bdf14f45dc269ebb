"""Small federations for tests: rows dealt by hand, cohorts of any module, runs of any method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from fl_bench.datasets.dataset import MODALITIES, Dataset, Description
from fl_bench.datasets.heterogeneity import measure
from fl_bench.datasets.split import Split
from fl_bench.federation.cohort import Cohort
from fl_bench.federation.data import FederatedData
from fl_bench.federation.members import Members
from fl_bench.federation.settings import Execution, Training
from fl_bench.federation.storage import Models
from fl_bench.federation.work import WorkLog
from fl_bench.sealed import Sealed

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")

Deal = Callable[..., tuple[Dataset, Split]]
MakeCohort = Callable[..., Cohort]


@pytest.fixture(scope="session")
def deal() -> Deal:
    """Makes a dataset and its split from numbers of rows; rows are random where no inputs are given."""

    def make(
        train: Sequence[int] = (5, 8, 3),
        *,
        public: int = 6,
        test: int = 4,
        validation: int = 2,
        global_test: int = 3,
        classes: int = 3,
        shape: tuple[int, ...] = (4,),
        groups: Sequence[int] | None = None,
        inputs: Tensor | None = None,
        augment: Any = "none",
        vocabulary: int | None = None,
    ) -> tuple[Dataset, Split]:
        """Rows in this order: clients' training rows, validation rows, public pool, clients' test rows, global test."""
        clients = len(train)
        lengths = [*train, *[validation] * clients, public, *[test] * clients, global_test]
        parts = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
        stream = np.random.default_rng(11)
        if inputs is None and vocabulary is not None:
            inputs = torch.from_numpy(stream.integers(0, vocabulary, (sum(lengths), *shape), dtype=np.uint8))
        elif inputs is None:
            inputs = torch.from_numpy(stream.normal(size=(sum(lengths), *shape)).astype(np.float32))
        labels = stream.integers(0, classes, size=sum(lengths))
        modality: Any = "text" if vocabulary is not None else MODALITIES[len(shape) + 1]
        about = Description("dealt", classes, shape, modality, "this test", "-", augment, vocabulary=vocabulary)
        counts = np.stack([np.bincount(labels[part], minlength=classes) for part in parts[:clients]])
        split = Split(
            train=tuple(parts[:clients]),
            validation=tuple(parts[clients : 2 * clients]),
            test=tuple(parts[2 * clients + 1 : -1]),
            public=parts[2 * clients],
            global_test=parts[-1],
            groups=None if groups is None else Sealed(np.asarray(groups), "true groups"),
            measured=measure(counts),
            fingerprint=str(lengths),
        )
        trained_on = sum(lengths[: 2 * clients + 1])
        return Dataset(inputs, torch.from_numpy(labels), trained_on, about), split

    return make


@pytest.fixture(scope="session")
def make_data(deal: Deal) -> Callable[..., FederatedData]:
    """Makes a federation's data in float64 from the arguments of `deal`."""

    def make(*args: Any, dtype: torch.dtype = torch.float64, **options: Any) -> FederatedData:
        return FederatedData(*deal(*args, **options), CPU, dtype)

    return make


@pytest.fixture(scope="session")
def make_cohort() -> MakeCohort:
    """Makes a cohort of all clients of `data` from one module per client."""

    def make(
        data: FederatedData,
        modules: Sequence[nn.Module],
        *,
        round_index: int = 0,
        seed: int = 5,
        side: Any = "client",
        execution: Execution | None = None,
        **training: Any,
    ) -> Cohort:
        # Networks stay with the test: a cohort takes its template from a copy and stacks the weights.
        ids = tuple(range(len(modules)))
        defaults = {"batch_size": 4, "lr": 0.05, "optimizer": "sgd", "precision": "float64"}
        members = Members(
            Models.stacked("nets", [_copy(module) for module in modules], CPU, data.dtype),
            ids=ids,
            rows=ids,
            keys=ids,
            private_rows=data.train.split() if side == "client" else (),
            data=data,
            training=Training(**{**defaults, **training}),
            execution=Execution() if execution is None else execution,
            seed=seed,
            side=side,
            round_index=round_index,
        )
        return Cohort(members, WorkLog(), data.label_counts if side == "client" else None)

    return make


@pytest.fixture(scope="session")
def nets() -> Callable[..., list[nn.Module]]:
    """Makes networks with one hidden layer and weights of their own, in float64."""

    def make(count: int = 3, features: int = 4, classes: int = 3, *middle: nn.Module) -> list[nn.Module]:
        made: list[nn.Module] = []
        for key in range(count):
            with torch.random.fork_rng():
                torch.manual_seed(key)
                net = nn.Sequential(nn.Linear(features, 5), *map(_copy, middle), nn.Tanh(), nn.Linear(5, classes))
            made.append(net.double())
        return made

    return make


def _copy(module: nn.Module) -> nn.Module:
    from copy import deepcopy

    return deepcopy(module)
