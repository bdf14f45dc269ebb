"""What may travel between clients and server: typed payloads with a client axis and a size in bytes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

Tree: TypeAlias = "dict[str, Tensor]"
"""Tensors by parameter name; in a stacked tree each has a leading axis over clients (or models)."""


@dataclass(frozen=True)
class Payload(ABC):
    """A message of every client of a group. The first axis of each tensor is the client."""

    @abstractmethod
    def map(self, change: Callable[[Tensor], Tensor]) -> Payload:
        """The same payload with every per-client tensor changed; what is shared by all clients stays."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """The per-client tensors."""

    @abstractmethod
    def nbytes(self) -> list[int]:
        """Bytes on the wire for each client."""

    def __len__(self) -> int:
        return self.tensors()[0].shape[0]

    def take(self, index: Tensor) -> Payload:
        """The rows `index` of the client axis; one single row is expanded, not copied."""
        if len(self) == 1:
            return self.map(lambda tensor: tensor.expand(index.numel(), *tensor.shape[1:]))
        return self.map(lambda tensor: tensor[index])

    def detached(self) -> Payload:
        """A copy that shares neither graph nor storage with the sender."""
        return self.map(lambda tensor: tensor.detach().clone())

    @staticmethod
    def join(parts: Sequence[Payload]) -> Payload:
        """Stack groups of clients that send the same kind of payload about the same rows, or the same weights."""
        if len({frozenset(part.tree) for part in parts if isinstance(part, Parameters)}) > 1:
            raise TypeError("clients of different architectures sent weights of different names: name an architecture")
        stacked = zip(*(part.tensors() for part in parts), strict=True)
        joined = iter([torch.cat(tensors) for tensors in stacked])
        return parts[0].map(lambda _: next(joined))


@dataclass(frozen=True)
class Scores(Payload):
    """Predictions on public samples."""

    values: Tensor
    """Shape (clients, samples, classes); (clients, k, samples, classes) where a client gets k matrices."""
    form: Literal["probabilities", "logits"] = "probabilities"
    rows: Tensor | None = None
    """Positions in the public pool, shape (samples,), known to both sides; None means all, in order."""
    coded_bytes: Tensor | None = None
    """Bytes of each client after coding, shape (clients,), int64; None counts the numbers as they are."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Scores:
        """See `Payload.map`."""
        return replace(self, values=change(self.values), coded_bytes=_changed(self.coded_bytes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values, *([] if self.coded_bytes is None else [self.coded_bytes])]

    def nbytes(self) -> list[int]:
        """samples * classes * bytes per number, or the coded length."""
        return _coded(self, self.coded_bytes, self.values[0].numel() * self.values.element_size())


@dataclass(frozen=True)
class Labels(Payload):
    """Hard labels of public samples."""

    values: Tensor
    """Class ids, shape (clients, samples), int64."""
    classes: int
    rows: Tensor | None = None
    """As in `Scores`."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Labels:
        """See `Payload.map`."""
        return replace(self, values=change(self.values))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values]

    def nbytes(self) -> list[int]:
        """samples * ceil(log2 classes) bits, in whole bytes."""
        return _uniform(self, label_bytes(self.values.shape[1], self.classes))


@dataclass(frozen=True)
class Parameters(Payload):
    """Weights (and buffers) of one architecture."""

    tree: Tree
    """Stacked: name to tensor of shape (clients, ...); (clients, k, ...) where a client gets k models."""
    coded_bytes: Tensor | None = None
    """As in `Scores`."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Parameters:
        """See `Payload.map`."""
        tree = {name: change(self.tree[name]) for name in sorted(self.tree)}
        return Parameters(tree, _changed(self.coded_bytes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        tree = [self.tree[name] for name in sorted(self.tree)]
        return [*tree, *([] if self.coded_bytes is None else [self.coded_bytes])]

    def nbytes(self) -> list[int]:
        """numel * bytes per number over all tensors, or the coded length."""
        plain = sum(tensor[0].numel() * tensor.element_size() for tensor in self.tree.values())
        return _coded(self, self.coded_bytes, plain)


@dataclass(frozen=True)
class Prototypes(Payload):
    """Mean features per class; classes that a client does not hold are not sent."""

    values: Tensor
    """Shape (clients, classes, features)."""
    present: Tensor
    """Which classes a client sends, shape (clients, classes), bool."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Prototypes:
        """See `Payload.map`."""
        return Prototypes(change(self.values), change(self.present))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values, self.present]

    def nbytes(self) -> list[int]:
        """classes present * features * bytes per number, client by client."""
        per_class = self.values.shape[2] * self.values.element_size()
        return [int(count) * per_class for count in self.present.sum(dim=1).tolist()]


@dataclass(frozen=True)
class Scalars(Payload):
    """A few named numbers per client."""

    values: Mapping[str, Tensor]
    """Name to tensor of shape (clients,)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Scalars:
        """See `Payload.map`."""
        return Scalars({name: change(self.values[name]) for name in sorted(self.values)})

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values[name] for name in sorted(self.values)]

    def nbytes(self) -> list[int]:
        """One number per name."""
        return _uniform(self, sum(value.element_size() for value in self.values.values()))


@dataclass(frozen=True)
class Bundle(Payload):
    """Several payloads in one message (an update and a control variate, a model and a cluster id).

    A method declares the types of the parts; the channel checks, codes and counts each part by itself.
    """

    parts: Mapping[str, Payload]
    """Name to payload; all have the same clients."""

    def __post_init__(self) -> None:
        lengths = {name: len(part) for name, part in self.parts.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the parts of a Bundle need a row for each of the same clients, got rows {lengths}")

    def map(self, change: Callable[[Tensor], Tensor]) -> Bundle:
        """See `Payload.map`."""
        return Bundle({name: self.parts[name].map(change) for name in sorted(self.parts)})

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [tensor for name in sorted(self.parts) for tensor in self.parts[name].tensors()]

    def nbytes(self) -> list[int]:
        """The sum over the parts."""
        return [sum(sizes) for sizes in zip(*(part.nbytes() for part in self.parts.values()), strict=True)]


def _uniform(payload: Payload, nbytes: int) -> list[int]:
    return [nbytes] * len(payload)


def _changed(tensor: Tensor | None, change: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if tensor is None else change(tensor)


def _coded(payload: Payload, coded: Tensor | None, plain: int) -> list[int]:
    return _uniform(payload, plain) if coded is None else [int(size) for size in coded.tolist()]


def label_bits(classes: int) -> int:
    """Bits of one class id, ceil(log2 classes), at least 1."""
    return max(1, math.ceil(math.log2(classes)))


def label_bytes(samples: int, classes: int) -> int:
    """Whole bytes of `samples` class ids."""
    return math.ceil(samples * label_bits(classes) / 8)
