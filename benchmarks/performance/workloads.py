"""The workloads of the performance suite (benchmarks room): what every contender has to do; times nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...datasets.catalogue import load_dataset
from ...datasets.partition import PARTITIONS
from ...datasets.rounding import ceil_share
from ...datasets.split import SplitSettings, split
from ...federation.data import prepare
from ..grid import GridFile, expand
from ..plugins import load_plugins

if TYPE_CHECKING:
    from torch import Tensor

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ..cell import Cell

PLUGIN = Path(__file__).with_name("plugin.py")
"""The plugin that brings data and partition."""


@dataclass(frozen=True)
class Workload:
    """One round is: every client trains, the server does its part, and `test` images are classified."""

    name: str
    """What tables call it."""
    method: Literal["fedavg", "fedmd", "cosmos"] = "fedavg"
    """The method, with the default settings of fl-bench."""
    model: Literal["cnn-small", "mlp-200"] = "cnn-small"
    """The net of every client."""
    clients: int = 20
    """Number of clients, all of which take part in every round."""
    samples: int = 600
    """Private images of each client."""
    public: int = 0
    """Images in the public pool."""
    test: int = 10_000
    """Images that clients' models are tested on, all clients together."""
    classes: int = 10
    """Classes; the labels are made up where it is not 10."""
    epochs: int = 1
    """Passes over the private data per round."""
    batch_size: int = 32
    """Images per step."""
    lr: float = 0.01
    """Learning rate of plain SGD."""
    images: Literal["fashion-mnist", "noise"] = "fashion-mnist"
    """Where pixels come from."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the method that are not its defaults."""

    @property
    def share(self) -> float:
        """Share of the training images that `split` puts into the public pool.

        Rounded down to six digits: `split` rounds the number of images up again, class by class.
        """
        return math.floor(1e6 * self.public / (self.public + self.clients * self.samples)) / 1e6

    @property
    def location(self) -> str:
        """The data set's name, for `load_dataset`: rows that leave exactly `samples`, `public` and `test` images."""
        train = self.public + self.clients * self.samples
        return f"performance:{self.images}?train={train}&test={self._test_rows()}&classes={self.classes}"

    @property
    def local_steps(self) -> int:
        """Gradient steps of all clients on private data per round."""
        return self.clients * math.ceil(self.epochs * self.samples / self.batch_size)

    def cells(self, seeds: int, rounds: int) -> tuple[Cell, ...]:
        """The workload as cells of a grid, one per seed."""
        load_plugins([str(PLUGIN)])
        file = GridFile(
            name="performance",
            datasets=(self.location,),
            methods=({self.method: self.settings},),
            seeds=tuple(range(seeds)),
            partition={"scheme": "even", **self._split()},
            models=self.model,
            training={"rounds": rounds, **self.training},
        )
        return expand(file, "the performance suite").cells

    @property
    def training(self) -> dict[str, Any]:
        """Settings of local training."""
        return {
            "local_epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": "sgd",
            "lr": self.lr,
        }

    def deal(self, data_dir: Path | None, seed: int = 0) -> Dealt:
        """Load the data and deal them to clients.

        Raises:
            DataError: Fashion-MNIST is asked for and not at hand; says how to get it.
        """
        load_plugins([str(PLUGIN)])
        dataset = load_dataset(self.location, data_dir=data_dir)
        return Dealt(dataset, split(dataset, PARTITIONS["even"](), SplitSettings(**self._split()), seed))

    def with_clients(self, clients: int, samples: int | None = None) -> Workload:
        """The same workload for another number of clients, and of images of each."""
        return replace(self, clients=clients, samples=self.samples if samples is None else samples)

    def _split(self) -> dict[str, Any]:
        return {"clients": self.clients, "public": self.share, "val_fraction": 0.0, "min_test": 1}

    def _test_rows(self) -> int:
        """Rows of which `test` are left to the clients when the public share has gone to the global test set."""
        each = math.ceil(self.test / self.classes)
        rows = each
        while rows - ceil_share(self.share, rows) < each:
            rows += 1
        return rows * self.classes


@dataclass(frozen=True)
class Dealt:
    """A workload's data and who holds which of them."""

    dataset: Dataset
    split: Split

    def private(self, client: int) -> tuple[Tensor, Tensor]:
        """Network inputs and labels of a client's training images, on the CPU."""
        return self._rows(self.split.train[client])

    def test(self, client: int) -> tuple[Tensor, Tensor]:
        """Network inputs and labels of a client's test images, on the CPU."""
        return self._rows(self.split.test[client])

    def everybodys_test(self) -> tuple[Tensor, Tensor]:
        """Network inputs and labels of the test images of all clients, on the CPU."""
        return self._rows(np.concatenate(self.split.test))

    def public(self) -> Tensor:
        """Network inputs of the public pool, on the CPU."""
        return self._rows(self.split.public)[0]

    def _rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        import torch

        return prepare(self.dataset.inputs[rows], self.dataset.about, torch.float32), self.dataset.labels[rows]


W1 = Workload("W1 FedAvg, small CNN")
W2 = Workload("W2 FedAvg, MLP", model="mlp-200")
W3_FEDMD = Workload("W3 FedMD, MLP", method="fedmd", model="mlp-200", clients=10, public=2000)
W3_COSMOS = Workload("W3 COSMOS, MLP", method="cosmos", model="mlp-200", clients=10, public=2000)
