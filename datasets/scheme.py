"""What a partition scheme is (datasets room): labels in, one owner per sample out; trains nothing.

A scheme says who owns each private sample. Ownership is one array, so no scheme can lose a sample or hand it out
twice; what all schemes share (public pool, global test set, minimum sizes, validation) stands in `split`.

A scheme of your own is a frozen dataclass in a file that `--plugin` or the entry-point group
`fl_bench.partitions` names:

    @partition("two-halves")
    @dataclass(frozen=True)
    class TwoHalves(Partition):
        \"\"\"Even clients share the lower classes, odd clients the upper ones.\"\"\"

        cut: int = 5
        \"\"\"First class of the upper half.\"\"\"

        def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
            owner = np.arange(len(train.labels)) // 2 * 2 % clients + (train.labels >= self.cut)
            owner %= clients
            return Deal(owner, follow(owner, train, test, classes, clients, seed))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.registry import Registry
from fl_bench.streams import numpy_stream

from .rounding import largest_remainder

if TYPE_CHECKING:
    from collections.abc import Callable

UNUSED = -1
"""The owner of a sample that a scheme leaves out on purpose; only a scheme that documents it may do so."""


@dataclass(frozen=True)
class Pool:
    """The private samples of one side (training or test) that a scheme deals out."""

    labels: np.ndarray
    """Class of each sample, shape (samples,), int64."""
    natural: np.ndarray | None = None
    """The client that each sample came from, shape (samples,), where the data say so."""


@dataclass(frozen=True)
class Deal:
    """Who owns each private sample."""

    train: np.ndarray
    """Client of each training sample, shape (samples,), int64 in [0, clients)."""
    test: np.ndarray
    """Client of each test sample, dealt in the same proportions."""
    groups: np.ndarray | None = None
    """Latent group of each client, shape (clients,), where the scheme has groups."""
    class_groups: np.ndarray | None = None
    """Group that owns each class, shape (classes,); -1 where none does."""


@dataclass(frozen=True)
class Partition(ABC):
    """A scheme and its settings. Depends on nothing but (labels, settings, seed); must end for every valid input."""

    name: ClassVar[str]
    """The name in grids, set by `@partition`."""

    @abstractmethod
    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Give every sample of both pools an owner; a client may still be left empty, `split` repairs that.

        Args:
            train: private training samples.
            test: private test samples; to be dealt in the same proportions.
            classes: number of classes C.
            clients: number of clients n.
            seed: seed of the run; take numbers only from `numpy_stream(seed, "partition", ...)`.
        """

    def check(self, clients: int, classes: int | None, samples: int | None) -> None:  # noqa: B027 - optional
        """Refuse settings that cannot work, before data are loaded.

        Args:
            clients: number of clients.
            classes: number of classes, if known by then.
            samples: number of private training samples (at most), if known by then.
        Raises:
            ConfigError: says what was asked, what was found and what would do.
        """

    def expected_in_group_share(self) -> float | None:
        """The in-group share that the settings aim at, or None for schemes without groups."""
        return None


PARTITIONS: Registry[type[Partition]] = Registry("partition")
"""Partition schemes by name; `partition` imports the built-in ones."""

P = TypeVar("P", bound=Partition)


def partition(name: str) -> Callable[[type[P]], type[P]]:
    """Register a scheme (a frozen dataclass) under `name`."""

    def add(scheme: type[P]) -> type[P]:
        scheme.name = name
        PARTITIONS.register(name)(scheme)
        return scheme

    return add


def positive(scheme: str, setting: str, value: float) -> None:
    """Refuse a concentration or count that is not a finite number above 0.

    Raises:
        ConfigError: names the setting and the value.
    """
    if not 0 < value < float("inf"):
        raise ConfigError(f"{scheme}.{setting} must be a finite number above 0, got {value}")


def dirichlet(stream: np.random.Generator, concentration: np.ndarray) -> np.ndarray:
    """One Dirichlet draw that sums to 1 for every vector of positive concentrations, shape (parts,).

    NumPy's draws are sound down to the smallest floats; very large concentrations overflow there, and the limit,
    the mean of the distribution, is returned for them.
    """
    if concentration.max() > 1e12:
        scaled = concentration / concentration.max()
        mean: np.ndarray = scaled / scaled.sum()
        return mean
    return stream.dirichlet(concentration)


def deal_class(owner: np.ndarray, rows: np.ndarray, clients: np.ndarray, weights: np.ndarray) -> None:
    """Write the owners of one class: `rows`, in the given order, cut by largest remainder of `weights`.

    Args:
        owner: owner of each sample, changed in place.
        rows: the samples to deal, already shuffled.
        clients: who gets a part, shape (parts,).
        weights: their shares, shape (parts,).
    """
    owner[rows] = np.repeat(clients, largest_remainder(len(rows), weights))


def shuffled_rows(labels: np.ndarray, label: int, seed: int, side: str) -> np.ndarray:
    """The samples of one class in a random order that depends on (seed, side, class) only."""
    return numpy_stream(seed, "partition", "shuffle", side, label).permutation(np.flatnonzero(labels == label))


def count_table(owner: np.ndarray, labels: np.ndarray, clients: int, classes: int) -> np.ndarray:
    """Samples per client and class, shape (clients, classes); unused samples are not counted."""
    used = owner >= 0
    flat = np.bincount(owner[used] * classes + labels[used], minlength=clients * classes)
    return flat.reshape(clients, classes)


def follow(owner: np.ndarray, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> np.ndarray:
    """Deal test samples in the proportions in which the training samples of their class were dealt.

    Class by class, client i is due n_c * (share of class c that i holds in training). Whole numbers are made by
    largest remainder with what earlier classes left over or short carried along, so that a client's total is right
    as well: with plain rounding the first clients would win every tie. A class without training samples is due in
    proportion to the clients' training sizes.

    Args:
        owner: client of each training sample, shape (training samples,).
        train: the training samples.
        test: the test samples.
        classes: number of classes.
        clients: number of clients.
        seed: seed of the run.
    Returns:
        Client of each test sample, shape (test samples,).
    """
    held = count_table(owner, train.labels, clients, classes)
    result = np.full(len(test.labels), UNUSED, dtype=np.int64)
    carry = np.zeros(clients)
    for label in range(classes):
        rows = shuffled_rows(test.labels, label, seed, "test")
        weights = held[:, label] if held[:, label].any() else held.sum(axis=1)
        due = len(rows) * weights / weights.sum()
        units = np.floor(due).astype(np.int64)
        # Only holders of the class may get a unit of it, so that rounding brings no client a class it lacks.
        urgency = np.where(weights > 0, np.round(due - units + carry, 9), -np.inf)
        units[np.argsort(-urgency, kind="stable")[: len(rows) - int(units.sum())]] += 1
        carry += due - units
        result[rows] = np.repeat(np.arange(clients), units)
    return result
