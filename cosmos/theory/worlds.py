"""Curves of risks whose truth is known, with contraction and without, to test fits, regressions and verdicts on.

Every world draws a true excess for each client and each cluster model, then what a study would see of it: a shift per
client that stays (its test set is finite), noise per round, shocks that a whole seed shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """Sizes and noise of a planted study."""

    seeds: int = 5
    clients: int = 20
    rounds: int = 30
    clusters: int = 4
    """Clusters, of equal size but for rounding; client i is in cluster i modulo their number."""
    start: float = 1.0
    """Mean excess before the first round."""
    spread: float = 0.3
    """Standard deviation of the first excess over clients, and half as much over seeds."""
    levels: float = 0.1
    """Standard deviation of what stays with a client: its own floor and its test set's error."""
    noise: float = 0.02
    """Standard deviation of what is seen of a client in one round, independent of other rounds."""
    shocks: float = 0.01
    """Standard deviation of true changes in a round, of each client and each cluster model."""


@dataclass(frozen=True)
class Planted:
    """What a study would see, and the truth."""

    clients: Array
    """Risks of clients, shape (seeds, clients, rounds)."""
    server: Array
    """Risks of their cluster models, same shape."""
    clusters: Labels
    """Cluster of each client, shape (seeds, clients)."""
    rho: float | None
    """The true contraction of the mean excess; None where there is none."""
    floor: float | None
    """The true mean limit; None where there is none."""
    through_server: bool
    """Whether clients learn from the server."""


def taught(
    stream: np.random.Generator,
    design: Design | None = None,
    *,
    kept: float = 0.4,
    a: float = 0.9,
    b: float = 0.5,
    heterogeneity: float = 0.05,
) -> Planted:
    """e_i(t+1) = kept e_i(t) + b s_k(t), s_k(t) = a mean e_i(t) + heterogeneity: rho = kept + a b.

    With b = 0 clients improve by themselves, the server follows them, and nothing comes through it.
    """
    design = design or Design()
    seeds, clients, rounds = design.seeds, design.clients, design.rounds
    clusters = np.arange(clients) % design.clusters
    member = (clusters[:, None] == np.arange(design.clusters)).astype(float)
    member /= member.sum(axis=0)
    excess = _first(stream, design)
    own, server = np.empty((seeds, clients, rounds)), np.empty((seeds, clients, rounds))
    for t in range(rounds):
        own[:, :, t] = excess
        models = a * excess @ member + heterogeneity + stream.normal(0, design.shocks, (seeds, design.clusters))
        server[:, :, t] = models[:, clusters]
        excess = kept * excess + b * models[:, clusters] + stream.normal(0, design.shocks, (seeds, clients))
    rho = kept + a * b
    return _seen(stream, design, own, server, rho, b * heterogeneity / (1 - rho), through_server=b > 0)


def own_data(stream: np.random.Generator, design: Design | None = None, *, rho: float = 0.8) -> Planted:
    """Clients contract by their own data, each to its own floor; the server follows and teaches nothing."""
    return taught(stream, design, kept=rho, a=0.9, b=0.0)


def _without(curve: Callable[[np.random.Generator, Design, Array], Array]) -> Callable[..., Planted]:
    def plant(stream: np.random.Generator, design: Design | None = None) -> Planted:
        design = design or Design()
        own = curve(stream, design, np.arange(design.rounds, dtype=np.float64))
        # The server repeats its clients, each time a little differently.
        server = own + stream.normal(0, design.shocks, own.shape)
        return _seen(stream, design, own, server, None, None, through_server=False)

    plant.__doc__ = curve.__doc__
    return plant


@_without
def constant(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """Nothing is learned: public data carry no information, or clients are taught what they know."""
    return np.repeat(_first(stream, design)[:, :, None], len(t), axis=2)


@_without
def random_walk(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """Every client wanders, and so does every seed as a whole, nowhere in particular."""
    steps = stream.normal(0, 3 * design.shocks, (design.seeds, design.clients, len(t)))
    steps += stream.normal(0, 3 * design.shocks, (design.seeds, 1, len(t)))
    walk: Array = 2 + _first(stream, design)[:, :, None] + np.cumsum(steps, axis=2)
    return walk


@_without
def fluctuating(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """Independent ups and downs around a client's level: who is bad in one round is better in the next."""
    noise = stream.normal(0, 10 * design.shocks, (design.seeds, design.clients, len(t)))
    return 1 + _first(stream, design)[:, :, None] + noise


@_without
def power_law(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """1/(t+1): every client improves in each round, and ever less of its excess."""
    return _first(stream, design)[:, :, None] / (t + 1)


@_without
def line(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """Every client improves by the same amount in each round."""
    return 1 + _first(stream, design)[:, :, None] - 0.03 * t


@_without
def worsening(stream: np.random.Generator, design: Design, t: Array) -> Array:
    """Clients get worse, fast at first: the exponential's form upside down."""
    return 1 + _first(stream, design)[:, :, None] * (1 - 0.7**t)


WITHOUT: dict[str, Callable[..., Planted]] = {
    "constant": constant,
    "random walk": random_walk,
    "fluctuating": fluctuating,
    "1/t": power_law,
    "line": line,
    "worsening": worsening,
    "own data": own_data,
}
"""Worlds in which distilling from cluster models contracts nothing."""


def _first(stream: np.random.Generator, design: Design) -> Array:
    """First excess of each client, shape (seeds, clients), at least a tenth of its mean."""
    seeds = stream.normal(0, design.spread / 2, (design.seeds, 1))
    drawn = design.start + seeds + stream.normal(0, design.spread, (design.seeds, design.clients))
    return np.maximum(drawn, design.start / 10)


def _seen(
    stream: np.random.Generator,
    design: Design,
    own: Array,
    server: Array,
    rho: float | None,
    floor: float | None,
    *,
    through_server: bool,
) -> Planted:
    """Add what stays with a client (to both risks, for they are measured on its data) and noise of each round."""
    stays = 1 + stream.normal(0, design.levels, (design.seeds, design.clients, 1))
    seen, taught_seen = (values + stays + stream.normal(0, design.noise, values.shape) for values in (own, server))
    clusters = np.tile(np.arange(design.clients, dtype=np.int64) % design.clusters, (design.seeds, 1))
    return Planted(seen, taught_seen, clusters, rho, None if floor is None else 1 + floor, through_server)
