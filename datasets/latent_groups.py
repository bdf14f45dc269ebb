"""The COSMOS protocol's partition (datasets room): groups of clients that own blocks of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.streams import numpy_stream

from .rounding import even_shares, floor_share
from .scheme import UNUSED, Deal, Partition, Pool, deal_class, dirichlet, partition, positive, shuffled_rows


@partition("latent-groups")
@dataclass(frozen=True)
class LatentGroups(Partition):
    """Clients form groups, a group owns a block of classes, Dirichlet shares inside it, some mixing between all.

    The data protocol of COSMOS (Rachmut et al., arXiv:2605.11165; methods.md 1.2):

        blocks    class ids in `class_order`, cut into `groups` contiguous blocks whose sizes differ by at most 1
        clients   group j is clients j*n/G .. (j+1)*n/G - 1
        shares    w_{j,c} ~ Dirichlet(alpha * 1) over the group's clients, per class c of its block
        mixing    every client gives floor(mixing * n_i) of its samples to a pool that is dealt equally to all

    Test data follow the same w (never drawn again) and the same mixing rule.
    """

    groups: int = 5
    """Number of latent groups G; must divide the number of clients."""
    alpha: float = 1.0
    """Dirichlet concentration inside a group: large means equal shares."""
    mixing: float = 0.1
    """Share m of its samples that a client gives to the common pool, in [0, 1]."""
    class_order: Literal["sorted", "shuffled"] = "sorted"
    """Whether blocks are cut from class ids in order or in an order drawn from the seed."""
    blocks: Literal["balanced", "research"] = "balanced"
    """`research` repeats the authors' code where groups do not divide classes: slices of floor(C/G) classes, of
    which the later one wins when two fall to the same group (47 classes, 5 groups: the samples of classes 0 to 8
    are left out, group 4 owns two classes). It is the one setting that leaves private samples unused."""

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ConfigError(f"latent-groups.groups must be at least 1, got {self.groups}")
        positive("latent-groups", "alpha", self.alpha)
        if not 0 <= self.mixing <= 1:
            raise ConfigError(f"latent-groups.mixing must be in [0, 1], got {self.mixing}")
        for setting, known in (("class_order", ("sorted", "shuffled")), ("blocks", ("balanced", "research"))):
            if getattr(self, setting) not in known:
                raise ConfigError(
                    f"latent-groups.{setting} must be one of {', '.join(known)}, got {getattr(self, setting)!r}"
                )

    def check(self, clients: int, classes: int | None, samples: int | None) -> None:
        """Refuse groups that do not divide the clients or outnumber the classes; see `Partition.check`."""
        if clients % self.groups:
            lower, upper = clients - clients % self.groups, clients + self.groups - clients % self.groups
            near = f"{lower} or {upper}" if lower else f"{upper}"
            raise ConfigError(
                f"latent-groups: {self.groups} groups do not divide {clients} clients; "
                f"{near} clients would do, or a number of groups that divides {clients}"
            )
        if classes is not None and self.groups > classes:
            raise ConfigError(
                f"latent-groups: {self.groups} groups need at least as many classes, the data have {classes}; "
                f"at most {classes} groups would do"
            )

    def expected_in_group_share(self) -> float:
        """1 - m (1 - 1/G): the share of own-group samples when groups are equal in size."""
        return 1 - self.mixing * (1 - 1 / self.groups)

    def class_blocks(self, classes: int, seed: int) -> np.ndarray:
        """Group that owns each class, shape (classes,); -1 for the classes that `research` blocks leave out."""
        if self.blocks == "research":
            width = classes / self.groups  # real-valued in the authors' code, floored where it cuts and where it keys
            starts = np.arange(0, classes, int(width))
            owner = np.full(classes, UNUSED, dtype=np.int64)
            for start in starts:
                owner[owner == int(start / width)] = UNUSED
                owner[start : start + int(width)] = int(start / width)
        else:
            owner = np.repeat(np.arange(self.groups), even_shares(classes, self.groups))
        if self.class_order == "shuffled":
            owner = owner[numpy_stream(seed, "partition", "class order").permutation(classes)]
        return owner

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Blocks, shares, mixing; see `Partition.deal`."""
        owner_group = self.class_blocks(classes, seed)
        per_group = clients // self.groups
        train_owner = np.full(len(train.labels), UNUSED, dtype=np.int64)
        test_owner = np.full(len(test.labels), UNUSED, dtype=np.int64)
        for label, group in enumerate(owner_group):
            if group == UNUSED:
                continue
            members = group * per_group + np.arange(per_group)
            shares = dirichlet(numpy_stream(seed, "partition", "shares", label), np.full(per_group, self.alpha))
            deal_class(train_owner, shuffled_rows(train.labels, label, seed, "train"), members, shares)
            deal_class(test_owner, shuffled_rows(test.labels, label, seed, "test"), members, shares)
        for side, owner in (("train", train_owner), ("test", test_owner)):
            self._mix(owner, clients, seed, side)
        return Deal(train_owner, test_owner, np.repeat(np.arange(self.groups), per_group), owner_group)

    def _mix(self, owner: np.ndarray, clients: int, seed: int, side: str) -> None:
        """Collect floor(m * n_i) samples of every client, shuffle, deal them in equal parts (in place)."""
        given = []
        for client in range(clients):
            rows = np.flatnonzero(owner == client)
            stream = numpy_stream(seed, "partition", "mixing", side, client)
            given.append(stream.permutation(rows)[: floor_share(self.mixing, len(rows))])
        pool = numpy_stream(seed, "partition", "mixing pool", side).permutation(np.concatenate(given))
        owner[pool] = np.repeat(np.arange(clients), even_shares(len(pool), clients))
