"""Partitions that look at no label (datasets room): iid, unequal sizes, and the clients the data came with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.streams import numpy_stream

from .rounding import even_shares, largest_remainder
from .scheme import Deal, Partition, Pool, dirichlet, follow, partition, positive


@partition("iid")
@dataclass(frozen=True)
class Iid(Partition):
    """Every client draws from the same distribution: all samples shuffled and dealt in parts that differ by at most 1.

    The IID setting of FedAvg (McMahan et al., arXiv:1602.05629, section 3).
    """

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Shuffle, cut into equal parts; see `Partition.deal`."""
        return Deal(
            _cut(even_shares(len(train.labels), clients), seed, "train"),
            _cut(even_shares(len(test.labels), clients), seed, "test"),
        )


@partition("quantity")
@dataclass(frozen=True)
class Quantity(Partition):
    """Clients differ in size only: sizes are Dirichlet shares, classes are mixed as in the whole.

    Quantity skew, q ~ Dir(beta) (Li et al., "Federated Learning on Non-IID Data Silos", arXiv:2102.02079,
    section 4.3). Training and test sets use the same shares.
    """

    alpha: float = 0.5
    """Dirichlet concentration: small means very unequal sizes."""

    def __post_init__(self) -> None:
        positive("quantity", "alpha", self.alpha)

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Draw the sizes once, shuffle, cut; see `Partition.deal`."""
        shares = dirichlet(numpy_stream(seed, "partition", "sizes"), np.full(clients, self.alpha))
        return Deal(
            _cut(largest_remainder(len(train.labels), shares), seed, "train"),
            _cut(largest_remainder(len(test.labels), shares), seed, "test"),
        )


@partition("natural")
@dataclass(frozen=True)
class Natural(Partition):
    """The clients that the data came with: one writer, speaker, hospital or device each.

    The setting of LEAF (Caldas et al., arXiv:1812.01097). With fewer clients than the data name, whole original
    clients are joined, largest first, always to the client that is smallest so far; none is ever cut apart. Client
    ids follow the order of the original ones (of each client's first member). Test rows stay with their original
    client; those of an original client without training rows follow the proportions of their class.
    """

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Look up every row's own client; see `Partition.deal`.

        Raises:
            ConfigError: the data have no client column, or name fewer clients than were asked for.
        """
        if train.natural is None or test.natural is None:
            raise ConfigError(
                "natural: the data set has no client column; name one (csv:FILE?target=...&client=COLUMN, "
                "an array `client` in an npz file), use a data set that has one (vowel), or another scheme"
            )
        originals, index, sizes = np.unique(train.natural, return_inverse=True, return_counts=True)
        if clients > len(originals):
            raise ConfigError(
                f"natural: {clients} clients were asked for, the training rows name {len(originals)}; "
                f"at most {len(originals)} clients would do"
            )
        place = _join(sizes, clients)
        train_owner = place[index]
        test_owner = follow(train_owner, train, test, classes, clients, seed)
        known = np.isin(test.natural, originals)
        test_owner[known] = place[np.searchsorted(originals, test.natural[known])]
        return Deal(train_owner, test_owner)


def _cut(sizes: np.ndarray, seed: int, side: str) -> np.ndarray:
    """Owners of shuffled samples, `sizes[i]` of them for client i, shape (sum of sizes,)."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return numpy_stream(seed, "partition", "owners", side).permutation(owner)


def _join(sizes: np.ndarray, clients: int) -> np.ndarray:
    """The client of each original client, shape (originals,): the largest goes to the smallest client, in turn."""
    place = np.zeros(len(sizes), dtype=np.int64)
    filled, members = np.zeros(clients, dtype=np.int64), np.zeros(clients, dtype=np.int64)
    for original in np.argsort(-sizes, kind="stable"):
        target = int(np.lexsort((np.arange(clients), members, filled))[0])
        place[original] = target
        filled[target] += sizes[original]
        members[target] += 1
    firsts = [int(np.flatnonzero(place == client)[0]) for client in range(clients)]
    rank = np.empty(clients, dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(clients)
    return rank[place]
