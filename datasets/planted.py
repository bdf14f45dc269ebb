"""A world where the truth is known (datasets room): Gaussian classes, planted groups of clients, the Bayes risk.

Client i of group g holds two equally likely classes, y in {0, 1},

    x | y  ~  N((2y - 1) D/2 w_i, I)           w_i = (w_g + h u_i) / sqrt(1 + h^2)

with unit vectors w_g (one per group, each pair with the cosine c) and u_i (the client's own, orthogonal to w_g). So the
best classifier of every client is linear, its logit D w_i . x, and its risk depends on the separation D alone: it is
`bayes_risk(D)`. The best one that a whole group can share has the logit D cos w_g . x, cos = 1 / sqrt(1 + h^2), and the
risk `bayes_risk(D cos)`: what heterogeneity h inside a group costs is known, too. In a grid:

    datasets: ["planted:clients=6&groups=2"]
    partition: {scheme: planted, clients: 6, groups: 2}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import np
from fl_bench.limits import WHOLE_NUMBER, refuse_larger
from fl_bench.streams import numpy_stream

from .dataset import build_dataset
from .plain import Natural
from .scheme import Deal, Partition, Pool, partition
from .source import Request, dataset

if TYPE_CHECKING:
    from .dataset import Dataset


@dataclass(frozen=True)
class World:
    """What is planted: the settings behind the colon of `planted:clients=12&groups=3`."""

    clients: int = 12
    """Number of clients n; client i is in group i * groups // clients."""
    groups: int = 3
    """Number of groups G."""
    train: int = 100
    """Training rows of each client, what becomes public included."""
    test: int = 200
    """Test rows of each client, global test rows included."""
    features: int = 10
    """Dimension of x, at least G + 1."""
    separation: float = 2.0
    """D, the distance between the class means, in standard deviations of the noise."""
    heterogeneity: float = 0.0
    """h, how far clients of a group differ: the tangent of the angle between w_i and w_g."""
    cosine: float = 0.0
    """c, between the directions of two groups, from -1 / (G - 1), where what helps one group harms the others, to 1,
    where all groups are one."""
    seed: int = 0
    """Of all draws: another world of the same kind."""

    def __post_init__(self) -> None:
        for name in ("clients", "groups", "train", "test"):
            if getattr(self, name) < 1:
                raise ConfigError(f"planted: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed <= WHOLE_NUMBER:
            raise ConfigError(f"planted: seed must be from 0 to {WHOLE_NUMBER}, got {self.seed}")
        rows = self.clients * (self.train + self.test)
        refuse_larger("planted data of that size", 8 * self.features * (rows + self.groups))
        if self.groups > self.clients or self.features <= self.groups:
            raise ConfigError(
                f"planted: {self.groups} groups need as many clients and more features, got {self.clients} clients "
                f"and {self.features} features"
            )
        least = -1 / (self.groups - 1) if self.groups > 1 else -1.0
        if not least - 1e-9 <= self.cosine <= 1:
            raise ConfigError(
                f"planted: cosine must be in [{least:.4g}, 1] for {self.groups} groups, got {self.cosine}"
            )
        for name in ("separation", "heterogeneity"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"planted: {name} must be finite and not negative, got {getattr(self, name)}")

    @property
    def bayes(self) -> Risk:
        """The best risk of every client."""
        return bayes_risk(self.separation)

    @property
    def shared(self) -> Risk:
        """The best risk of a classifier that a whole group shares, in a group of many clients."""
        return bayes_risk(self.separation / math.sqrt(1 + self.heterogeneity**2))

    @property
    def members(self) -> np.ndarray:
        """Group of each client, shape (clients,)."""
        return np.arange(self.clients) * self.groups // self.clients

    def directions(self) -> np.ndarray:
        """w_i of every client, shape (clients, features)."""
        stream = numpy_stream(self.seed, "planted", "directions")
        frame = np.linalg.qr(stream.normal(size=(self.features, self.groups)))[0].T
        gram = np.full((self.groups, self.groups), self.cosine)
        np.fill_diagonal(gram, 1.0)
        values, vectors = np.linalg.eigh(gram)
        groups = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T @ frame
        own = groups[self.members]
        aside = stream.normal(size=own.shape)
        aside -= (aside * own).sum(axis=1, keepdims=True) * own
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        directions: np.ndarray = (own + self.heterogeneity * aside) / math.sqrt(1 + self.heterogeneity**2)
        return directions


@dataclass(frozen=True)
class Risk:
    """Risks of one classifier."""

    error: float
    """Share of wrong answers."""
    cross_entropy: float
    """Nats."""
    brier: float
    """Squared distance of the two probabilities from the one-hot label, in [0, 2]."""


def bayes_risk(separation: float) -> Risk:
    """The least risks for two Gaussian classes of unit noise at a distance D.

    The logit of the true class is N(D^2 / 2, D^2); errors are Phi(-D / 2), the others an integral over it, computed by
    the trapezoidal rule, which is exact to rounding for smooth functions that vanish at both ends.
    """
    z = np.linspace(-12.0, 12.0, 4801)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    logit = separation**2 / 2 + separation * z
    wrong = np.exp(-np.logaddexp(0, logit))
    return Risk(
        error=0.5 * math.erfc(separation / math.sqrt(8)),
        cross_entropy=float(weight @ np.logaddexp(0, -logit)),
        brier=float(weight @ (2 * wrong**2)),
    )


def world(request: Request) -> World:
    """The settings of a name such as `planted:groups=2&heterogeneity=0.5`.

    Raises:
        ConfigError: a setting is unknown, given twice, no number or out of range.
    """
    try:
        pairs = parse_qsl(request.argument, strict_parsing=True)
    except ValueError:
        raise ConfigError(f"{request.name!r}: settings are name=value, joined by &") from None
    known = {field.name: field.default for field in fields(World)}
    values: dict[str, int | float] = {}
    for name, text in pairs:
        if name not in known:
            raise unknown_name("setting of planted:", name, known)
        if name in values:
            raise ConfigError(f"{request.name!r} gives {name} twice")
        try:
            values[name] = int(text) if isinstance(known[name], int) else float(text)
        except ValueError:
            raise ConfigError(f"{request.name!r}: {name} must be a number, got {text!r}") from None
    return replace(World(), **values)  # type: ignore[arg-type]  # of the fields' own types


def _check(request: Request) -> None:
    world(request)


@dataset("planted", modality="tabular", family="planted", argument="<setting=value&...>", check=_check)
def planted(request: Request) -> Dataset:
    """Gaussian classes with planted groups of clients and a known Bayes risk; deal it with the scheme `planted`.

    Both classes of every client have the same number of rows, but for one row.
    """
    made = world(request)
    directions = made.directions()
    sides = []
    for side, count in (("train", made.train), ("test", made.test)):
        clients = np.repeat(np.arange(made.clients), count)
        labels = np.tile(np.arange(count) % 2, made.clients)
        noise = numpy_stream(made.seed, "planted", side).normal(size=(len(clients), made.features))
        means = (labels - 0.5)[:, None] * made.separation * directions[clients]
        sides.append((means + noise, labels, clients))
    inputs, labels, clients = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return build_dataset(
        request.name,
        inputs,
        labels,
        source="made up: two Gaussian classes per client, directions by group",
        train_size=made.clients * made.train,
        classes=2,
        natural=clients,
    )


@partition("planted")
@dataclass(frozen=True)
class PlantedGroups(Partition):
    """The clients of a `planted` data set, with their groups: client i is in group i * groups // clients."""

    groups: int = 3
    """Number of groups, as in the data set's name."""

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ConfigError(f"planted.groups must be at least 1, got {self.groups}")

    def check(self, clients: int, classes: int | None, samples: int | None) -> None:
        """Refuse more groups than clients; see `Partition.check`."""
        if self.groups > clients:
            raise ConfigError(f"planted: {self.groups} groups need at least as many clients, got {clients}")

    def deal(self, train: Pool, test: Pool, classes: int, clients: int, seed: int) -> Deal:
        """Every row to the client that it was made for; see `Partition.deal`.

        Raises:
            ConfigError: the data have no client column, or not as many clients as were asked for.
        """
        found = 0 if train.natural is None else len(np.unique(train.natural))
        if found != clients:
            raise ConfigError(
                f"planted: the data set has {found} clients, {clients} were asked for; name a data set "
                f"planted:clients={clients}, or ask for {found} clients"
            )
        dealt = Natural().deal(train, test, classes, clients, seed)
        return replace(dealt, groups=np.arange(clients) * self.groups // clients)
