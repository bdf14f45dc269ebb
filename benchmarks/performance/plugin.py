"""Data and partition of the performance workloads (benchmarks room): a plugin file, loaded by path as users' are.

The numbers of a workload must come out exactly (so many images per client, in the public pool, in the test), which
is more than `split` promises for any data: rows are balanced over classes here, and dealt evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import numpy as np

from fl_bench.datasets.dataset import build_dataset
from fl_bench.datasets.partition import Deal, Partition, partition
from fl_bench.datasets.source import dataset
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from fl_bench.datasets.dataset import Dataset
    from fl_bench.datasets.partition import Pool
    from fl_bench.datasets.source import Request

REAL_CLASSES = 10
"""Classes of Fashion-MNIST; with any other number the labels are made up."""


@dataset("performance", modality="image", shape=(1, 28, 28), argument="<images>?train=<n>&test=<n>&classes=<n>")
def performance(request: Request) -> Dataset:
    """As many 28x28 grey images as a workload needs: `fashion-mnist`, repeated where there are too few, or `noise`.

    Classes take turns, so every multiple of their number is balanced. Only Fashion-MNIST with its ten classes has
    labels that mean something; time and memory do not depend on what they mean.
    """
    images, _, query = request.argument.partition("?")
    count = {name: int(values[0]) for name, values in parse_qs(query).items()}
    if images == "noise":
        pixels, labels, train = _noise(), np.arange(2000) % REAL_CLASSES, 1000
    else:
        from fl_bench.datasets.catalogue import load_dataset  # not at the top: it lists the plugins

        real = load_dataset(images, data_dir=request.data_dir)
        pixels, labels, train = real.inputs.numpy(), real.labels.numpy(), real.train_size
    chosen = np.concatenate(
        [_in_turns(labels[:train], count["train"]), train + _in_turns(labels[train:], count["test"])]
    )
    turns = np.concatenate([np.arange(count[side]) % count["classes"] for side in ("train", "test")])
    return build_dataset(
        request.name,
        pixels[chosen],
        labels[chosen] if count["classes"] == REAL_CLASSES else turns,
        source=f"{images}, rows chosen for a performance workload",
        train_size=count["train"],
        classes=count["classes"],
    )


@dataset("performance-32", modality="image", shape=(3, 32, 32), argument="noise-32?train=<n>&test=<n>&classes=<n>")
def performance_32(request: Request) -> Dataset:
    """As many random pictures of CIFAR's shape as a workload needs; time and memory do not depend on what they show."""
    count = {name: int(values[0]) for name, values in parse_qs(request.argument.partition("?")[2]).items()}
    rows = count["train"] + count["test"]
    turns = np.concatenate([np.arange(count[side]) % count["classes"] for side in ("train", "test")])
    return build_dataset(
        request.name,
        numpy_stream(0, "performance noise", "32").integers(256, size=(rows, 3, 32, 32), dtype=np.uint8),
        turns,
        source="random pixels for a performance workload",
        train_size=count["train"],
        classes=count["classes"],
    )


@partition("even")
@dataclass(frozen=True)
class Even(Partition):
    """Shuffled and dealt in turns: clients have the same number of training samples and of test samples, within 1."""

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Deal both pools; see `Partition.deal`."""
        owners = [
            numpy_stream(seed, "partition", "even", side).permutation(np.arange(len(pool.labels)) % clients)
            for side, pool in (("train", train), ("test", test))
        ]
        return Deal(*owners)


def _in_turns(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` rows in which the classes take turns, from the first of each class on; rows repeat when they run out."""
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = np.arange(len(members))
    return np.resize(np.lexsort((labels, place)), count)


def _noise() -> np.ndarray:
    return numpy_stream(0, "performance noise").integers(256, size=(2000, 1, 28, 28), dtype=np.uint8)
