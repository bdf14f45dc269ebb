"""Partitions by label (datasets room): Dirichlet over clients, over classes, shards and k classes per client."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.streams import numpy_stream

from .rounding import even_shares
from .scheme import (
    UNUSED,
    Deal,
    Partition,
    Pool,
    deal_class,
    dirichlet,
    follow,
    partition,
    positive,
    shuffled_rows,
)


@partition("dirichlet-class")
@dataclass(frozen=True)
class DirichletClass(Partition):
    """Each class is shared out over all clients by its own Dirichlet draw; sizes differ, too.

    w_c ~ Dirichlet(alpha * 1) over clients, client i gets the share w_{c,i} of class c (Yurochkin et al.,
    arXiv:1905.12022, section 4; Li et al., arXiv:2102.02079, section 4.1), without their draw-again-until-large
    loop: a client left empty gets one sample by repair. Test data use the same w.
    """

    alpha: float = 0.5
    """Dirichlet concentration: small means that few clients hold a class."""

    def __post_init__(self) -> None:
        positive(self.name, "alpha", self.alpha)

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Draw w class by class and deal both pools with it; see `Partition.deal`."""
        return _deal_by_class(train, test, classes, clients, seed, self.alpha, balanced=False)


@partition("dirichlet-class-balanced")
@dataclass(frozen=True)
class DirichletClassBalanced(Partition):
    """As `dirichlet-class`, but a client that has reached the average size receives no further class.

    The rule of the code that circulates with Yurochkin et al. (arXiv:1905.12022) and Li et al. (arXiv:2102.02079):
    classes are dealt in order, and before each the shares of clients that hold samples / clients or more are set
    to 0 and the rest rescaled. Sizes become similar, not equal. Should every admitted share be 0 in floating point,
    the admitted clients share equally.
    """

    alpha: float = 0.5
    """Dirichlet concentration: small means that few clients hold a class."""

    def __post_init__(self) -> None:
        positive(self.name, "alpha", self.alpha)

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Draw w class by class, skip clients that are full, deal both pools with it; see `Partition.deal`."""
        return _deal_by_class(train, test, classes, clients, seed, self.alpha, balanced=True)


@partition("dirichlet-client")
@dataclass(frozen=True)
class DirichletClient(Partition):
    """Each client draws its own class mix; all clients have the same number of samples (within 1).

    q_i ~ Dirichlet(alpha * p) over classes, p being the class frequencies of the private pool (Hsu, Qi and Brown,
    arXiv:1909.06335, section 3; note that alpha is the *sum* of the concentrations here). The clients take turns,
    in a random order, and draw a class from q_i among the classes that are not used up; one whose classes are all
    used up draws in proportion to what is left. So the last samples follow q_i less closely, and every sample is
    used exactly once. Test data follow each client's training counts.
    """

    alpha: float = 1.0
    """Dirichlet concentration: small means few classes per client, large means the mix of the whole."""

    def __post_init__(self) -> None:
        positive(self.name, "alpha", self.alpha)

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Draw the mixes, then take turns; see `Partition.deal`."""
        total = len(train.labels)
        left = np.bincount(train.labels, minlength=classes)
        present = np.flatnonzero(left)
        mixes = np.zeros((clients, classes))
        for client in range(clients):
            stream = numpy_stream(seed, "partition", "class mix", client)
            mixes[client, present] = dirichlet(stream, np.maximum(self.alpha * left[present] / total, 1e-300))
        turns = numpy_stream(seed, "partition", "turns")
        order = turns.permutation(clients)
        drawn = turns.random(total)
        rows = [iter(shuffled_rows(train.labels, label, seed, "train")) for label in range(classes)]
        owner = np.full(total, UNUSED, dtype=np.int64)
        cumulated = np.cumsum(mixes, axis=1)
        for turn in range(total):
            client = order[turn % clients]
            line = cumulated[client]
            if line[-1] <= 0:
                line = np.cumsum(left.astype(np.float64))
            label = int(np.searchsorted(line, drawn[turn] * line[-1], side="right"))
            owner[next(rows[label])] = client
            left[label] -= 1
            if left[label] == 0:
                mixes[:, label] = 0.0
                cumulated = np.cumsum(mixes, axis=1)
        return Deal(owner, follow(owner, train, test, classes, clients, seed))


@partition("shards")
@dataclass(frozen=True)
class Shards(Partition):
    """Samples sorted by label, cut into equal shards, a fixed number of shards per client.

    The pathological non-IID setting of FedAvg (McMahan et al., arXiv:1602.05629, section 3: 200 shards of 300, two
    per client). Shards differ by at most one sample. Test data follow each client's training counts.
    """

    shards_per_client: int = 2
    """Shards that each client receives."""

    def __post_init__(self) -> None:
        positive(self.name, "shards_per_client", self.shards_per_client)

    def check(self, clients: int, classes: int | None, samples: int | None) -> None:
        """Refuse more shards than samples; see `Partition.check`."""
        shards = clients * self.shards_per_client
        if samples is not None and shards > samples:
            raise ConfigError(
                f"shards: {clients} clients with {self.shards_per_client} shards each need {shards} private training "
                f"samples, there are {samples}; at most {samples // clients} shards per client would do"
            )

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Sort, cut, deal the shards at random; see `Partition.deal`."""
        shards = clients * self.shards_per_client
        ranked = np.concatenate([shuffled_rows(train.labels, label, seed, "train") for label in range(classes)])
        shard_owner = numpy_stream(seed, "partition", "shards").permutation(shards) // self.shards_per_client
        owner = np.empty(len(ranked), dtype=np.int64)
        owner[ranked] = np.repeat(shard_owner, even_shares(len(ranked), shards))
        return Deal(owner, follow(owner, train, test, classes, clients, seed))


@partition("classes")
@dataclass(frozen=True)
class Classes(Partition):
    """Each client holds exactly k classes; the holders of a class share it equally.

    Quantity-based label imbalance, "#C = k" (Li et al., arXiv:2102.02079, section 4.1). Client by client, in id
    order, the k classes with the fewest holders so far are taken, ties at random, so that the numbers of holders
    differ by at most one and no class is left over. Test data follow each client's training counts.
    """

    per_client: int = 2
    """Classes per client, k."""

    def __post_init__(self) -> None:
        positive(self.name, "per_client", self.per_client)

    def check(self, clients: int, classes: int | None, samples: int | None) -> None:
        """Refuse a k above the number of classes, or one that leaves a class without holder."""
        if classes is None:
            return
        if self.per_client > classes:
            raise ConfigError(
                f"classes: {self.per_client} classes per client were asked for, the data have {classes}; "
                f"at most {classes} would do"
            )
        if clients * self.per_client < classes:
            raise ConfigError(
                f"classes: {clients} clients with {self.per_client} classes each cannot hold all {classes} classes; "
                f"at least {-(-classes // clients)} classes per client would do"
            )

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Choose every client's classes, share each equally; see `Partition.deal`."""
        holders = np.zeros((clients, classes), dtype=bool)
        for client in range(clients):
            ties = numpy_stream(seed, "partition", "classes of", client).random(classes)
            chosen = np.lexsort((ties, holders.sum(axis=0)))[: self.per_client]
            holders[client, chosen] = True
        owner = np.full(len(train.labels), UNUSED, dtype=np.int64)
        for label in range(classes):
            members = numpy_stream(seed, "partition", "holders", label).permutation(np.flatnonzero(holders[:, label]))
            # Shuffled, so that the samples that do not divide evenly do not always go to the first clients.
            deal_class(owner, shuffled_rows(train.labels, label, seed, "train"), members, np.ones(len(members)))
        return Deal(owner, follow(owner, train, test, classes, clients, seed))


def _deal_by_class(
    train: Pool, test: Pool, classes: int, clients: int, seed: int, alpha: float, *, balanced: bool
) -> Deal:
    """Deal both pools class by class with shares w_c ~ Dirichlet(alpha * 1) over clients; see `DirichletClass`."""
    everyone = np.arange(clients)
    train_owner = np.full(len(train.labels), UNUSED, dtype=np.int64)
    test_owner = np.full(len(test.labels), UNUSED, dtype=np.int64)
    for label in range(classes):
        shares = dirichlet(numpy_stream(seed, "partition", "shares", label), np.full(clients, alpha))
        if balanced:
            held = np.bincount(train_owner[train_owner >= 0], minlength=clients)
            # As long as samples are left, someone holds less than the average; an empty rest has nothing to deal.
            room = (held * clients < len(train.labels)) | (held == held.min())
            shares = np.where(room, shares, 0.0)
            shares = shares if shares.sum() > 0 else room.astype(np.float64)
        deal_class(train_owner, shuffled_rows(train.labels, label, seed, "train"), everyone, shares)
        deal_class(test_owner, shuffled_rows(test.labels, label, seed, "test"), everyone, shares)
    return Deal(train_owner, test_owner)
