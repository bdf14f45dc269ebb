"""What may travel between clients and server: typed payloads with a client axis and a size in bytes."""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

Tree: TypeAlias = "dict[str, Tensor]"
"""Tensors by parameter name; in a stacked tree each has a leading axis over clients (or models)."""


@dataclass(frozen=True)
class Payload(ABC):
    """A message of every client of a group. The first axis of each tensor is the client."""

    sizes: Tensor | None = field(default=None, kw_only=True)
    """How many private samples each client has, shape (clients,), for a server that weighs clients by them: pass
    `sizes=clients.sizes`. One number on the wire. None: the message does not tell."""

    @abstractmethod
    def map(self, change: Callable[[Tensor], Tensor]) -> Payload:
        """The same payload with every per-client tensor changed; what is shared by all clients stays."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """The per-client tensors."""

    @abstractmethod
    def content_bytes(self) -> list[int]:
        """Bytes on the wire for each client, without its size."""

    def nbytes(self) -> list[int]:
        """Bytes on the wire for each client: of the content, and of one number where the size is told."""
        told = 0 if self.sizes is None else self.sizes.element_size()
        return [own + told for own in self.content_bytes()]

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

    def to_bytes(self) -> bytes:
        """The message as bytes that `from_bytes` reads; not what it costs on the wire, which is `nbytes`."""
        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Payload:
        """The message that `to_bytes` wrote. Executes no code, whatever the bytes are.

        Raises:
            ValueError: the bytes are no message.
        """
        try:
            return payload_of(torch.load(io.BytesIO(data), weights_only=True))
        except Exception as error:  # torch raises almost anything on damaged bytes
            raise ValueError(f"these {len(data)} bytes are no message: {error}") from error

    def state_dict(self) -> dict[str, Any]:
        """The message as tensors and plain values, of which `payload_of` makes it again."""
        return {"kind": type(self).__name__, **{item.name: getattr(self, item.name) for item in fields(self)}}

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
    """What the numbers are. Codec `float16` codes both; `top-<k>` and `hard` need probabilities."""
    rows: Tensor | None = None
    """Positions in the public pool, shape (samples,), known to both sides; None means all, in order."""
    coded_bytes: Tensor | None = None
    """Bytes of each client after coding, shape (clients,), int64; None counts the numbers as they are."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Scores:
        """See `Payload.map`."""
        values, coded = change(self.values), _changed(self.coded_bytes, change)
        return replace(self, values=values, coded_bytes=coded, sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values, *_present(self.coded_bytes, self.sizes)]

    def content_bytes(self) -> list[int]:
        """samples * classes * bytes per number, or the coded length."""
        return _coded(self, self.coded_bytes, self.values[0].numel() * self.values.element_size())


@dataclass(frozen=True)
class Labels(Payload):
    """Hard labels of public samples."""

    values: Tensor
    """Class ids, shape (clients, samples), int64."""
    classes: int
    """Number of classes C, which decides the bits of an id."""
    rows: Tensor | None = None
    """As in `Scores`."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Labels:
        """See `Payload.map`."""
        return replace(self, values=change(self.values), sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values, *_present(self.sizes)]

    def content_bytes(self) -> list[int]:
        """samples * ceil(log2 classes) bits, in whole bytes, of each client."""
        return _uniform(self, label_bytes(self.values.shape[1], self.classes))


@dataclass(frozen=True)
class Parameters(Payload):
    """Weights (and buffers) of one architecture."""

    tree: Tree
    """Stacked: name to tensor of shape (clients, ...); (clients, k, ...) where a client gets k models."""
    coded_bytes: Tensor | None = None
    """As in `Scores`."""
    relative: bool = False
    """Whether the numbers are changes of weights, and not weights. What a poisoned client turns or scales is then the
    whole message, and else how far its weights are from those that it received (`faults.poison`)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Parameters:
        """See `Payload.map`."""
        tree = {name: change(self.tree[name]) for name in sorted(self.tree)}
        coded = _changed(self.coded_bytes, change)
        return replace(self, tree=tree, coded_bytes=coded, sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        tree = [self.tree[name] for name in sorted(self.tree)]
        return [*tree, *_present(self.coded_bytes, self.sizes)]

    def content_bytes(self) -> list[int]:
        """numel * bytes per number over all tensors, or the coded length."""
        plain = sum(tensor[0].numel() * tensor.element_size() for tensor in self.tree.values())
        return _coded(self, self.coded_bytes, plain)


@dataclass(frozen=True)
class Prototypes(Payload):
    """Mean features per class; classes that a client does not hold are not sent, and a bit per class says which are."""

    values: Tensor
    """Shape (clients, classes, features)."""
    present: Tensor
    """Which classes a client sends, shape (clients, classes), bool."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Prototypes:
        """See `Payload.map`."""
        values, present = change(self.values), change(self.present)
        return Prototypes(values, present, sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [self.values, self.present, *_present(self.sizes)]

    def content_bytes(self) -> list[int]:
        """classes present * features * bytes per number, and ceil(classes / 8) for which they are, client by client."""
        _, classes, features = self.values.shape
        per_class, which = features * self.values.element_size(), presence_bytes(classes)
        return [int(count) * per_class + which for count in self.present.sum(dim=1).tolist()]


@dataclass(frozen=True)
class Scalars(Payload):
    """A few named numbers per client."""

    values: Mapping[str, Tensor]
    """Name to tensor of shape (clients,)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Scalars:
        """See `Payload.map`."""
        values = {name: change(self.values[name]) for name in sorted(self.values)}
        return Scalars(values, sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        return [*(self.values[name] for name in sorted(self.values)), *_present(self.sizes)]

    def content_bytes(self) -> list[int]:
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
        parts = {name: self.parts[name].map(change) for name in sorted(self.parts)}
        return Bundle(parts, sizes=_changed(self.sizes, change))

    def tensors(self) -> list[Tensor]:
        """See `Payload.tensors`."""
        parts = [tensor for name in sorted(self.parts) for tensor in self.parts[name].tensors()]
        return [*parts, *_present(self.sizes)]

    def state_dict(self) -> dict[str, Any]:
        """See `Payload.state_dict`."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        return {"kind": "Bundle", "parts": parts, "sizes": self.sizes}

    def content_bytes(self) -> list[int]:
        """The sum over the parts."""
        return [sum(sizes) for sizes in zip(*(part.nbytes() for part in self.parts.values()), strict=True)]


PAYLOADS: dict[str, type[Payload]] = {
    kind.__name__: kind for kind in (Scores, Labels, Parameters, Prototypes, Scalars, Bundle)
}


def payload_of(state: Mapping[str, Any]) -> Payload:
    """The message that `Payload.state_dict` took apart."""
    values = dict(state)
    kind = PAYLOADS[values.pop("kind")]
    if kind is Bundle:
        values["parts"] = {name: payload_of(part) for name, part in values["parts"].items()}
    return kind(**values)


def _uniform(payload: Payload, nbytes: int) -> list[int]:
    return [nbytes] * len(payload)


def _changed(tensor: Tensor | None, change: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if tensor is None else change(tensor)


def _present(*tensors: Tensor | None) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]


def _coded(payload: Payload, coded: Tensor | None, plain: int) -> list[int]:
    return _uniform(payload, plain) if coded is None else [int(size) for size in coded.tolist()]


def label_bits(classes: int) -> int:
    """Bits of one class id, ceil(log2 classes), at least 1."""
    return max(1, math.ceil(math.log2(classes)))


def label_bytes(samples: int, classes: int) -> int:
    """Whole bytes of `samples` class ids."""
    return math.ceil(samples * label_bits(classes) / 8)


def presence_bytes(classes: int) -> int:
    """Whole bytes of one bit for each class."""
    return math.ceil(classes / 8)
