"""A data set dealt to clients (datasets room): public pool, private train, validation and test rows; trains nothing.

The data protocol of methods.md 1.2. What all schemes share is here: the public pool and the global test set, both
stratified; the minimum sizes; the validation rows. The scheme only says who owns which private sample. Public samples
that come from elsewhere or are changed are the business of `doses`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.sealed import Sealed
from fl_bench.streams import numpy_stream

from .heterogeneity import Heterogeneity, measure
from .public import PublicSettings
from .rounding import ceil_share, floor_share, largest_remainder
from .scheme import UNUSED, Pool, count_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .dataset import Dataset
    from .scheme import Deal, Partition


@dataclass(frozen=True)
class SplitSettings:
    """What every scheme shares."""

    clients: int = 25
    """Number of clients n."""
    public: float | PublicSettings = 0.2
    """Share pi of every class that goes to the public pool (training set) and the global test set (test set), rounded
    up, in [0, 1); 0 gives an empty pool and an empty global test set. A mapping says more of the pool: its size,
    samples of another data set, missing classes, changed inputs."""
    public_keep: float = 1.0
    """Share of the public pool that is used, in (0, 1]: the first rows of its frozen order. For studies of the pool's
    size that leave every client its samples; the others of the pool are used by nobody."""
    val_fraction: float = 0.1
    """Share of each client's training rows held out as validation rows, rounded down, in [0, 1)."""
    min_test: int = 30
    """Test rows that each client gets at least, as far as there are enough for all."""
    max_train: int | None = field(default=None, metadata=LATER)
    """Training rows of the data set that are used, public pool included, in the proportions of its classes; the others
    are used by nobody, and test rows stay all. For comparing data sets of different sizes. All by default."""
    unseen: float = field(default=0.0, metadata=LATER)
    """Share of the clients that are kept out of training, in [0, 1), rounded, at least one unless it is 0. At the end
    each method admits them in its own way, with `training.admission_epochs` of local steps (view `unseen`)."""

    def __post_init__(self) -> None:
        for name in ("clients", "min_test"):
            if getattr(self, name) < 1:
                raise ConfigError(f"partition.{name} must be at least 1, got {getattr(self, name)}")
        for name, value in (("public", self.share), ("val_fraction", self.val_fraction), ("unseen", self.unseen)):
            if not 0 <= value < 1:
                raise ConfigError(f"partition.{name} must be in [0, 1), got {value}")
        if self.seen < 1:
            raise ConfigError(
                f"partition.unseen={self.unseen} keeps all {self.clients} clients out of training; "
                "ask for less, or for more clients"
            )
        if not 0 < self.public_keep <= 1:
            raise ConfigError(f"partition.public_keep must be in (0, 1], got {self.public_keep}")
        if self.max_train is not None and self.max_train < 1:
            raise ConfigError(f"partition.max_train must be at least 1, got {self.max_train}")
        if self.public_keep != 1 and self.pool.size is not None:
            raise ConfigError(
                f"partition.public.size={self.pool.size} and partition.public_keep={self.public_keep} are two sizes of "
                "one pool; give one of them"
            )

    @property
    def seen(self) -> int:
        """Clients that take part in training."""
        return self.clients - (max(1, round(self.unseen * self.clients)) if self.unseen else 0)

    @property
    def pool(self) -> PublicSettings:
        """`public` as a mapping, where it is a share, too."""
        return self.public if isinstance(self.public, PublicSettings) else PublicSettings(share=self.public)

    @property
    def share(self) -> float:
        """Share of every class that is held out for the public pool and the global test set."""
        return self.public.share if isinstance(self.public, PublicSettings) else self.public

    @property
    def changes_pool(self) -> bool:
        """Whether the pool is another one than the beginning of what is held out."""
        pool = self.pool.canonical()
        return pool != PublicSettings(share=pool.share, size=pool.size)

    def train_rows(self, official: int) -> int:
        """Training rows that are used of the official training set's."""
        return official if self.max_train is None else min(self.max_train, official)

    def public_rows(self, official: int, classes: int | None = None) -> int:
        """Size of the public pool; each class may round it up by one, missing ones count as if all were of a size."""
        return self.pool.samples(ceil_share(self.share, self.train_rows(official)), classes, self.public_keep)

    def private_rows(self, official: int) -> int:
        """Training rows that all clients hold together, but for what classes round."""
        rows = self.train_rows(official)
        return rows - ceil_share(self.share, rows)


@dataclass(frozen=True)
class PoolFacts:
    """What became of a public pool that is not plain."""

    samples: int
    """Samples in the pool."""
    foreign: int
    """Those of another data set; they have no label."""
    source: str | None
    """That data set, as it calls itself."""
    source_fingerprint: str | None
    """Its content fingerprint."""
    missing_classes: tuple[int, ...]
    """Classes of which samples were removed, ascending."""
    removed: float
    """Share of their samples that was removed."""
    changes: dict[str, int]
    """Severity of each change of inputs."""
    fingerprint: str
    """SHA-256 (hex) over the pool's inputs, in their frozen order."""


@dataclass(frozen=True)
class Unseen:
    """Clients that were dealt rows like all others, but take no part in training. They are numbered from 0 here."""

    ids: tuple[int, ...]
    """Their numbers among all clients of the partition, ascending."""
    others: tuple[int, ...]
    """Those of the clients that take part, ascending."""
    train: tuple[np.ndarray, ...]
    """Training rows of each, ascending."""
    validation: tuple[np.ndarray, ...]
    """Validation rows of each, ascending."""
    test: tuple[np.ndarray, ...]
    """Test rows of each, ascending."""
    groups: Sealed[np.ndarray] | None
    """True latent group of each, shape (clients,); None where the scheme has none."""


@dataclass(frozen=True)
class Split:
    """Who holds which rows of a `Dataset`. All row numbers are int64; no row appears twice.

    Clients are those that take part in training, numbered from 0 without a gap; `unseen` are the others.
    """

    train: tuple[np.ndarray, ...]
    """Training rows of each client, ascending."""
    validation: tuple[np.ndarray, ...]
    """Validation rows of each client, ascending; held out of its training rows."""
    test: tuple[np.ndarray, ...]
    """Test rows of each client, ascending."""
    public: np.ndarray
    """Rows of the public pool U, in its frozen order."""
    global_test: np.ndarray
    """Test rows that belong to no client, ascending."""
    groups: Sealed[np.ndarray] | None
    """True latent group of each client, shape (clients,); None where the scheme has none."""
    measured: Heterogeneity
    """How different the clients are."""
    fingerprint: str
    """SHA-256 (hex) over every index array: equal exactly when two runs were dealt the same rows."""
    pool: PoolFacts | None = None
    """What became of the public pool; None where it is the beginning of what is held out."""
    unseen: Unseen | None = None
    """The clients that are kept out of training; None where all take part."""

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.train)

    def of_unseen(self) -> Split:
        """The same split with the unseen clients in the place of the others.

        Raises:
            ValueError: there are none.
        """
        if self.unseen is None:
            raise ValueError("this split keeps no client out of training")
        own = self.unseen
        return replace(self, train=own.train, validation=own.validation, test=own.test, groups=own.groups, unseen=None)


def check(partition: Partition, settings: SplitSettings, classes: int | None, samples: int | None) -> None:
    """Refuse what cannot be dealt, before any data are loaded; imports no torch.

    Args:
        partition: the scheme with its settings.
        settings: number of clients and shared settings.
        classes: number of classes of the data set, if known by then.
        samples: number of training rows of the data set, if known by then.
    Raises:
        ConfigError: says what was asked, what was found and what would do.
    """
    pool = settings.pool
    if samples is None:
        pool.check("the data set", None, classes)
        partition.check(settings.clients, classes, None)
        return
    held = ceil_share(settings.share, settings.train_rows(samples)) + (classes or 0)  # each class rounds up
    pool.check(f"{settings.train_rows(samples)} rows", held, classes)
    private = settings.private_rows(samples)
    if private < settings.clients:
        raise ConfigError(
            f"{settings.clients} clients need at least as many private training samples; "
            f"{settings.train_rows(samples)} rows with public={settings.share} leave {private}: "
            "ask for fewer clients or a smaller public share"
        )
    partition.check(settings.clients, classes, private)


def split(dataset: Dataset, partition: Partition, settings: SplitSettings, seed: int) -> Split:
    """Deal a data set to clients; a pure function of (data, partition, settings, seed).

    Of the official training set `max_train` rows are used. Per class of these, ceil(public * n_c) rows go to the
    public pool, and of the official test set to the global test set; the scheme deals the rest, test rows in the
    proportions of training rows. Then every client is brought to at least one training row and min(min_test, private
    test rows // clients) test rows, taken from the largest holders, the client's own classes first. Every private row
    is used exactly once.

    Args:
        dataset: the data.
        partition: the scheme with its settings.
        settings: number of clients and shared settings.
        seed: seed of the run; all numbers come from its "partition" streams.
    Raises:
        ConfigError: the settings cannot work with these data (fewer private rows than clients, ...).
    """
    classes, clients = dataset.about.classes, settings.clients
    check(partition, settings, classes, dataset.train_size)
    labels = dataset.labels.numpy()
    train_rows = _limit(np.arange(dataset.train_size), labels, settings.train_rows(dataset.train_size), seed)
    test_rows = np.arange(dataset.train_size, len(labels))
    public, private = _hold_out(train_rows, labels, settings.share, seed, "public pool")
    global_test, private_test = _hold_out(test_rows, labels, settings.share, seed, "global test")
    name = dataset.about.name
    _enough_rows(len(private), len(private_test), settings, name)
    partition.check(clients, classes, len(private))
    pools = [
        Pool(labels[rows], None if dataset.natural is None else dataset.natural[rows])
        for rows in (private, private_test)
    ]
    deal = partition.deal(pools[0], pools[1], classes, clients, seed)
    for what, owner, pool in (("training", deal.train, pools[0]), ("test", deal.test, pools[1])):
        if owner.shape != pool.labels.shape or not ((owner >= UNUSED) & (owner < clients)).all():
            raise ConfigError(
                f"partition {partition.name!r} must name a client in [0, {clients}) for each of the "
                f"{len(pool.labels)} private {what} rows"
            )
    _enough_rows(int((deal.train != UNUSED).sum()), int((deal.test != UNUSED).sum()), settings, name)
    own = _own_classes(deal, clients, classes)
    train_owner = raise_to_minimum(deal.train, pools[0].labels, own, 1)
    counts = count_table(train_owner, pools[0].labels, clients, classes)
    enough = min(settings.min_test, int((deal.test != UNUSED).sum()) // clients)
    test_owner = raise_to_minimum(deal.test, pools[1].labels, counts.astype(np.float64), enough)
    train, validation = [], []
    for client in range(clients):
        rows = private[train_owner == client]
        held = min(floor_share(settings.val_fraction, len(rows)), len(rows) - 1)
        shuffled = numpy_stream(seed, "partition", "validation", client).permutation(rows)
        validation.append(np.sort(shuffled[:held]))
        train.append(np.sort(shuffled[held:]))
    test = [private_test[test_owner == client] for client in range(clients)]
    public = numpy_stream(seed, "partition", "public order").permutation(public)
    public = settings.pool.pool_rows(public, labels, name, classes=classes, keep=settings.public_keep, seed=seed)
    test_counts = count_table(test_owner, pools[1].labels, clients, classes)
    out = kept_out(settings, seed)
    seen = np.setdiff1d(np.arange(clients), out)
    return Split(
        train=_of(train, seen),
        validation=_of(validation, seen),
        test=_of(test, seen),
        public=public,
        global_test=global_test,
        groups=_groups_of(deal, seen),
        measured=measure(
            counts[seen],
            None if deal.groups is None else deal.groups[seen],
            deal.class_groups,
            partition.expected_in_group_share(),
            test_counts[seen],
        ),
        fingerprint=_fingerprint([train, validation, test, [public], [global_test], *([[out]] if len(out) else [])]),
        unseen=Unseen(
            ids=tuple(out.tolist()),
            others=tuple(seen.tolist()),
            train=_of(train, out),
            validation=_of(validation, out),
            test=_of(test, out),
            groups=_groups_of(deal, out),
        )
        if len(out)
        else None,
    )


def kept_out(settings: SplitSettings, seed: int) -> np.ndarray:
    """The clients that take no part in training, ascending; drawn uniformly from a stream that draws nothing else."""
    count = settings.clients - settings.seen
    drawn = numpy_stream(seed, "partition", "unseen").choice(settings.clients, count, replace=False)
    return np.sort(drawn.astype(np.int64))


def class_counts(dataset: Dataset, split: Split) -> np.ndarray:
    """Training rows (without validation) per client and class, shape (clients, classes), for tables and pictures."""
    labels = dataset.labels.numpy()
    return np.stack([np.bincount(labels[rows], minlength=dataset.about.classes) for rows in split.train])


def raise_to_minimum(owner: np.ndarray, labels: np.ndarray, wanted: np.ndarray, minimum: int) -> np.ndarray:
    """Bring every client to at least `minimum` samples, taking them from clients that have more.

    One sample at a time, for clients in id order: of the classes that the client wants, the one furthest below its
    share of `minimum`; from the largest client that holds it and can spare one. When no wanted class can be had,
    the commonest class of the largest client. Nobody is brought below `minimum`, so it ends after as many moves as
    samples are missing.

    Args:
        owner: client of each sample, shape (samples,); -1 where unused. At least clients * minimum are used.
        labels: class of each sample, shape (samples,).
        wanted: weight of each class for each client, shape (clients, classes); a row of zeros wants nothing special.
        minimum: samples that every client must have.
    Returns:
        The new owners, shape (samples,).
    """
    clients, classes = wanted.shape
    owner = owner.copy()
    counts = count_table(owner, labels, clients, classes)
    sizes = counts.sum(axis=1)
    for client in np.flatnonzero(sizes < minimum):
        want = wanted[client] / max(wanted[client].sum(), 1e-300) * minimum
        while sizes[client] < minimum:
            spare = np.where(sizes > minimum, sizes, 0)
            within = (counts[spare > 0] > 0).any(axis=0) & (want > 0)
            if within.any():
                label = int(np.argmax(np.where(within, want - counts[client], -np.inf)))
                donor = int(np.argmax(np.where(counts[:, label] > 0, spare, 0)))
            else:
                donor = int(np.argmax(spare))
                label = int(np.argmax(counts[donor]))
            row = np.flatnonzero((owner == donor) & (labels == label))[-1]
            owner[row] = client
            counts[donor, label] -= 1
            counts[client, label] += 1
            sizes[donor] -= 1
            sizes[client] += 1
    return owner


def _of(rows: Sequence[np.ndarray], clients: np.ndarray) -> tuple[np.ndarray, ...]:
    """The rows of some clients."""
    return tuple(rows[client] for client in clients)


def _groups_of(deal: Deal, clients: np.ndarray) -> Sealed[np.ndarray] | None:
    """The true groups of some clients, sealed; None where the scheme has none."""
    return None if deal.groups is None else Sealed(deal.groups[clients], "true groups")


def _limit(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the rows, each class in its proportion by largest remainder; ascending."""
    if count == len(rows):
        return rows
    classes, sizes = np.unique(labels[rows], return_counts=True)
    kept = [
        numpy_stream(seed, "partition", "used rows", int(label)).permutation(rows[labels[rows] == label])[:share]
        for label, share in zip(classes, largest_remainder(count, sizes), strict=True)
    ]
    return np.sort(np.concatenate(kept))


def _hold_out(
    rows: np.ndarray, labels: np.ndarray, fraction: float, seed: int, purpose: str
) -> tuple[np.ndarray, np.ndarray]:
    """ceil(fraction * n_c) rows of each class, and the others; both ascending."""
    held = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        shuffled = numpy_stream(seed, "partition", purpose, int(label)).permutation(members)
        held.append(shuffled[: ceil_share(fraction, len(members))])
    taken = np.sort(np.concatenate(held))
    return taken, np.setdiff1d(rows, taken, assume_unique=True)


def _enough_rows(train: int, test: int, settings: SplitSettings, name: str) -> None:
    for what, rows in (("training", train), ("test", test)):
        if rows < settings.clients:
            raise ConfigError(
                f"{settings.clients} clients need at least one private {what} row each; {name} with "
                f"public={settings.share} has {rows}: ask for fewer clients or a smaller public share"
            )


def _own_classes(deal: Deal, clients: int, classes: int) -> np.ndarray:
    """1 for the classes of each client's own group, shape (clients, classes); all 0 for schemes without groups."""
    if deal.groups is None or deal.class_groups is None:
        return np.zeros((clients, classes))
    own: np.ndarray = deal.groups[:, None] == deal.class_groups[None, :]
    return own.astype(np.float64)


def _fingerprint(parts: list[list[np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"[{len(part)}]".encode())
        for rows in part:
            digest.update(f"({len(rows)})".encode())
            digest.update(rows.astype("<i8").tobytes())
    return digest.hexdigest()
