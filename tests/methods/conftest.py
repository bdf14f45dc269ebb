"""A net with a body, written a second time in NumPy, for methods that treat body and head differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from fl_bench.federation.models.net import Net
from fl_bench.methods.contract import client_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fl_bench.federation.payloads import Tree
    from fl_bench.federation.run import Run


@dataclass
class TwoLayer:
    """f(x) = H relu(B x + b) + h with full-batch gradient steps; every gradient is written out."""

    body: np.ndarray
    body_bias: np.ndarray
    head: np.ndarray
    head_bias: np.ndarray

    @classmethod
    def read(cls, tree: Tree, row: int) -> TwoLayer:
        names = ("body.1.weight", "body.1.bias", "head.weight", "head.bias")
        return cls(*[tree[name][row].numpy().copy() for name in names])

    def features(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x @ self.body.T + self.body_bias, 0)

    def logits(self, x: np.ndarray) -> np.ndarray:
        return self.features(x) @ self.head.T + self.head_bias

    def descend(self, x: np.ndarray, slope: np.ndarray, lr: float, parts: str = "body head") -> None:
        """One step of the named parts against the gradient, given dL/dlogits, shape (samples, classes)."""
        z = self.features(x)
        through = (slope @ self.head) * (z > 0)
        if "head" in parts:
            self.head, self.head_bias = self.head - lr * slope.T @ z, self.head_bias - lr * slope.sum(axis=0)
        if "body" in parts:
            self.body, self.body_bias = self.body - lr * through.T @ x, self.body_bias - lr * through.sum(axis=0)

    def train(self, x: np.ndarray, y: np.ndarray, lr: float, steps: int = 1, parts: str = "body head") -> None:
        """Cross-entropy, mean over samples: dL/dz = (p - onehot(y)) / n."""
        for _ in range(steps):
            e = np.exp(self.logits(x))
            p = e / e.sum(axis=1, keepdims=True)
            self.descend(x, (p - np.eye(e.shape[1])[y]) / len(x), lr, parts)

    def gradient(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Of the mean cross-entropy, as `vector` has the weights: what a step of 1 takes away."""
        moved = self.copy()
        moved.train(x, y, 1.0)
        return self.vector - moved.vector

    @property
    def vector(self) -> np.ndarray:
        """All weights, side by side."""
        return np.concatenate([getattr(self, name).ravel() for name in self.__dataclass_fields__])

    def at(self, vector: np.ndarray) -> TwoLayer:
        """The net with these weights instead."""
        parts = [getattr(self, name) for name in self.__dataclass_fields__]
        cut = np.split(vector, np.cumsum([part.size for part in parts])[:-1])
        return TwoLayer(*[piece.reshape(part.shape) for piece, part in zip(cut, parts, strict=True)])

    def take(self, other: TwoLayer, parts: str) -> None:
        """Become a copy of the named parts of another net."""
        for part in parts.split():
            setattr(self, part, getattr(other, part).copy())
            setattr(self, f"{part}_bias", getattr(other, f"{part}_bias").copy())

    def copy(self) -> TwoLayer:
        return TwoLayer(*[getattr(self, name).copy() for name in self.__dataclass_fields__])

    @staticmethod
    def mean(nets: Sequence[TwoLayer], weights: Sequence[float]) -> TwoLayer:
        names = TwoLayer.__dataclass_fields__
        return TwoLayer(*[np.average([getattr(net, name) for net in nets], axis=0, weights=weights) for name in names])

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, TwoLayer)
        gaps = [np.abs(getattr(self, name) - getattr(other, name)).max() for name in self.__dataclass_fields__]
        return bool(max(gaps) <= 1e-12)


@pytest.fixture
def deep_world(world):
    """The world with a body to share, `mlp-4`, from one start; and clients of sizes 3, 2 and 1.

    A batch of three repeats the samples of the smaller clients in a random order, so those hold copies of one
    sample: every batch is then all that a client has.
    """
    world.model, world.rounds = "mlp-4", 3
    for client, size in ((1, 2), (2, 1)):
        x, y = world.private[client]
        world.private[client] = (np.repeat(x[:1], size, axis=0), np.repeat(y[:1], size))
    return world


@pytest.fixture
def normed_world(world, monkeypatch):
    """The world with BatchNorm in the clients' net, called `mlp-4`: batches of three, two steps a round."""

    def build_normed(name: str, shape: tuple[int, ...], classes: int, *, key: int, **_: object) -> Net:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key)
            body = nn.Sequential(nn.Linear(*shape, 4), nn.BatchNorm1d(4), nn.ReLU())
            return Net(body, nn.Linear(4, classes))

    monkeypatch.setattr("fl_bench.federation.factory.build_net", build_normed)
    world.model = "mlp-4"
    return world


@pytest.fixture
def two_layers() -> Callable[[Run | Tree], list[TwoLayer]]:
    """All clients' nets of a run, or all nets of a tree, as NumPy."""

    def read(source: Run | Tree) -> list[TwoLayer]:
        tree = source if isinstance(source, dict) else source.client_weights()["mlp-4"]
        return [TwoLayer.read(tree, row) for row in range(len(tree["head.weight"]))]

    return read


@pytest.fixture
def steps_of_client() -> Callable[[int, int], int]:
    """Steps of client i of `deep_world` in some epochs: ceil(epochs * size / 3)."""
    return lambda client, epochs: -(-epochs * (3 - client) // 3)


@pytest.fixture
def same_bits() -> Callable[[Tree, Tree], bool]:
    """Whether two trees are equal bit for bit."""
    return lambda one, other: one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def moves_as_planned() -> Callable[[Run], bool]:
    """Whether every client of a finished run moved the bytes of the plan in every round (nothing down in the first)."""

    def compare(run: Run) -> bool:
        plan = run.method.plan(client_facts(run))
        return all(
            (client["bytes_up"], client["bytes_down"]) == (plan.up_bytes, plan.down_bytes if row.values["round"] else 0)
            for row in run.rounds()
            for client in row.clients
        )

    return compare
