"""The workloads of the performance suite (benchmarks room): what every contender has to do; times nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ...datasets.catalogue import load_dataset
from ...datasets.partition import PARTITIONS
from ...datasets.rounding import ceil_share
from ...datasets.split import SplitSettings, split
from ...federation.data import prepare
from ..grid.grid import GridFile, expand
from ..grid.plugins import load_plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ..grid.cell import Cell

PLUGIN = Path(__file__).with_name("plugin.py")
"""The plugin that brings data and partition."""

COSMOS_CLUSTERS = 5
"""Cluster models of COSMOS, its default."""


class Work(NamedTuple):
    """Images that go through nets, each pass counted."""

    trained: int
    """Through clients' nets, with gradients."""
    read: int
    """Through clients' nets, without."""
    served: int
    """Through server models, with gradients."""
    assigned: int
    """Through server models, without."""


@dataclass(frozen=True)
class Workload:
    """One round is: every client trains, the server does its part, and `test` images are classified."""

    name: str
    """What tables call it."""
    method: Literal["fedavg", "fedmd", "cosmos"] = "fedavg"
    """The method, with the default settings of fl-bench."""
    model: str = "cnn-small"
    """The net of every client; several, joined by `+`, take turns."""
    server: str | None = None
    """The net of server models; the clients' where it is None."""
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
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Number format of training."""
    images: Literal["fashion-mnist", "noise", "noise-32"] = "fashion-mnist"
    """Where pixels come from: `noise-32` are colour pictures of 32x32, the others grey ones of 28x28."""
    views: Literal["deployed", "all"] = "deployed"
    """Which views fl-bench scores: the one that other contenders have too, or every view of the method."""
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the method that are not its defaults."""

    @property
    def images_per_round(self) -> int:
        """Private images that are trained on per round, each pass counted; what images per second refer to."""
        return self.clients * self.samples * self.epochs

    def work(self, rounds: int = 1, *, first: int = 1) -> Work:
        """Images that go through nets in `rounds` rounds from round `first` on.

        COSMOS's consistency term sends each public image through twice. In the first round nothing has been received
        and nobody distils.
        """
        taught = rounds - (first == 0)
        trained, read, served, assigned = rounds * self.images_per_round, rounds * self.test, 0, 0
        if self.method == "fedmd":
            trained += taught * self.clients * self.public
            read += rounds * self.clients * self.public
        if self.method == "cosmos":
            trained += 2 * self.public * taught * self.clients * self.settings.get("distill_epochs", 5)
            read += rounds * self.public * self.clients
            served = 2 * self.public * rounds * COSMOS_CLUSTERS * self.settings.get("server_epochs", 5)
            assigned = rounds * self.public * COSMOS_CLUSTERS
        return Work(trained, read, served, assigned)

    def passes(self, rounds: int, *, first: int = 0) -> tuple[int, int]:
        """The same of all nets together: images with gradients, and without."""
        work = self.work(rounds, first=first)
        return work.trained + work.served, work.read + work.assigned

    @property
    def nets(self) -> tuple[str, ...]:
        """The nets of the clients."""
        return tuple(self.model.split("+"))

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
        family = "performance-32" if self.images == "noise-32" else "performance"
        return f"{family}:{self.images}?train={train}&test={self._test_rows()}&classes={self.classes}"

    @property
    def rows(self) -> int:
        """Rows of that data set."""
        return self.public + self.clients * self.samples + self._test_rows()

    def cells(self, seeds: Iterable[int], rounds: int) -> tuple[Cell, ...]:
        """The workload as cells of a grid, one per seed."""
        load_plugins([str(PLUGIN)])
        file = GridFile(
            name="performance",
            datasets=(self.location,),
            methods=({self.method: self.settings},),
            seeds=tuple(seeds),
            partition={"scheme": "even", **self._split()},
            models={"names": list(self.nets), "server": self.server},
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
            "views": self.views,
            "precision": self.precision,
        }

    def deal(self, seed: int = 0) -> Dealt:
        """Load the data and deal them to clients; `$FL_BENCH_DATA` may name the folder of Fashion-MNIST.

        Raises:
            DataError: Fashion-MNIST is asked for and not at hand; says how to get it.
        """
        load_plugins([str(PLUGIN)])
        dataset = load_dataset(self.location)
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

        return prepare(self.dataset.inputs[rows], self.dataset.about.modality, torch.float32), self.dataset.labels[rows]


W1 = Workload("W1")
W2 = Workload("W2", model="mlp-200")
W3_FEDMD = Workload("W3 FedMD", method="fedmd", model="mlp-200", clients=10, public=2000)
W3_COSMOS = Workload("W3 COSMOS", method="cosmos", model="mlp-200", clients=10, public=2000)

WORKLOADS = (W1, W2, W3_FEDMD, W3_COSMOS)
"""What contenders are compared on."""

W4 = replace(W2, name="W4")
"""What the cells of W4 run."""

FEW_EPOCHS = {"distill_epochs": 1, "server_epochs": 1}
"""COSMOS with one pass over the public pool instead of five, where the pool is what grows."""

LARGE = replace(W2, name="W5")
"""What grows in W5, with FedAvg."""
POOLED = {
    "FedMD": replace(W3_FEDMD, name="W5 FedMD"),
    "COSMOS": replace(W3_COSMOS, name="W5 COSMOS", settings=FEW_EPOCHS),
}
"""What grows in W5, with a public pool."""


@dataclass(frozen=True)
class Size:
    """How much of everything is measured."""

    name: str
    rounds: dict[str, int]
    """Measured rounds of the contenders in turns, by workload."""
    cell_rounds: dict[str, int]
    """Rounds of a cell of a grid, by workload."""
    pairs: int
    """Repetitions of each grid, in turns with plain."""
    clients: tuple[int, ...]
    """Numbers of clients in W5."""
    pool: tuple[int, ...]
    """Public images in W5."""
    classes: tuple[int, ...]
    """Classes in W5."""
    gpu_clients: tuple[int, ...] = (20, 100, 300)
    """Numbers of clients on a GPU."""
    gpu_rounds: int = 3
    """Measured rounds of the contenders on a GPU."""
    scaling_rounds: int = 2
    """Measured rounds of each point of W5."""
    starts: int = 9
    """Starts of each command."""


SIZES = {
    "quick": Size(
        "quick",
        rounds={"W1": 3, "W2": 7, "W3 FedMD": 3, "W3 COSMOS": 1},
        cell_rounds={"W1": 1, "W2": 5, "W3 FedMD": 3, "W3 COSMOS": 2, "W4": 2},
        pairs=1,
        clients=(10, 30, 100),
        pool=(1000, 3000),
        classes=(10, 50),
        scaling_rounds=1,
        starts=5,
    ),
    "full": Size(
        "full",
        rounds={"W1": 7, "W2": 15, "W3 FedMD": 7, "W3 COSMOS": 5},
        cell_rounds={"W1": 3, "W2": 10, "W3 FedMD": 5, "W3 COSMOS": 2, "W4": 2},
        pairs=3,
        clients=(10, 30, 100, 300, 1000),
        pool=(1000, 3000, 10_000, 30_000, 50_000),
        classes=(10, 20, 50, 100, 200),
    ),
}
"""`quick` takes minutes, `full` is what is published."""


@dataclass(frozen=True)
class Series:
    """One thing that grows while the rest stays: a line of a plot."""

    name: str
    grows: Literal["clients", "public", "classes"]
    points: tuple[Workload, ...]


def series(size: Size) -> list[Series]:
    """W5: clients with fixed data in total and per client, public images, and classes."""
    total = 60_000
    grown = [
        Series(
            "FedAvg, 60 000 images in total",
            "clients",
            tuple(LARGE.with_clients(count, total // count) for count in size.clients),
        ),
        Series("FedAvg, 600 images per client", "clients", tuple(LARGE.with_clients(count) for count in size.clients)),
        Series(
            "COSMOS, 60 images per client, 2000 public",
            "clients",
            tuple(POOLED["COSMOS"].with_clients(count, 60) for count in size.clients if count <= 300),
        ),
    ]
    for name, workload in POOLED.items():
        pools = tuple(replace(workload, public=public) for public in size.pool)
        grown.append(Series(f"{name}, 10 clients", "public", pools))
        classes = tuple(replace(workload, classes=count) for count in size.classes)
        grown.append(Series(f"{name}, 10 clients, 2000 public", "classes", classes))
    return grown
