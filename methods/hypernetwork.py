"""A hypernetwork: a net that makes every client's weights from a vector that stands for the client."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import nn

from fl_bench.streams import torch_stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ..federation.payloads import Tree


class HyperNetwork(nn.Module):
    """An embedding of every client, hidden layers with ReLU between them, and a linear generator per architecture.

    A generator makes all tensors of an architecture; it is what one linear layer per tensor is, side by side.

    Args:
        shapes: of the tensors to make, by architecture and name.
        identities: of the clients; they draw the embeddings, so that these do not depend on numbers.
        embedding: numbers in a client's vector.
        hidden: units of each hidden layer.
        layers: hidden layers after the first.
        seed: of the initial weights, in the ranges of `nn.Linear` and `nn.Embedding`.
    """

    def __init__(
        self,
        shapes: Mapping[str, Mapping[str, Sequence[int]]],
        identities: Sequence[int],
        *,
        embedding: int,
        hidden: int,
        layers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.shapes = shapes
        """Of the tensors to make, by architecture and name."""
        vectors = [
            torch.randn(embedding, generator=torch_stream(seed, "pfedhn embedding", identity))
            for identity in identities
        ]
        self.embeddings = nn.Embedding(len(vectors), embedding, _weight=torch.stack(vectors))
        """A vector v_i for each client, standard normal at first."""
        hiddens: list[nn.Module] = [_linear(embedding, hidden, seed, "layer 0")]
        for layer in range(1, 1 + layers):
            hiddens += [nn.ReLU(), _linear(hidden, hidden, seed, f"layer {layer}")]
        self.hidden = nn.Sequential(*hiddens)
        """What all architectures share."""
        self.places = {architecture: place for place, architecture in enumerate(shapes)}
        """Of each architecture's generator."""
        self.generators = nn.ModuleList(
            _linear(hidden, sum(map(prod, tensors.values())), seed, architecture)
            for architecture, tensors in shapes.items()
        )
        """All numbers of a client's net from the last hidden layer, in the order of `shapes`."""

    def forward(self, clients: Sequence[int], architecture: str) -> Tree:
        """The weights of some clients of one architecture, name to (clients, ...)."""
        numbered = torch.tensor(list(clients), device=self.embeddings.weight.device)
        return self.weights_of(self.embeddings(numbered), architecture)

    def weights_of(self, vectors: Tensor, architecture: str) -> Tree:
        """The weights that vectors of shape (clients, embedding) stand for, name to (clients, ...)."""
        shapes = self.shapes[architecture]
        numbers = self.generators[self.places[architecture]](self.hidden(vectors))
        pieces = torch.split(numbers, [prod(shape) for shape in shapes.values()], dim=1)
        return {
            name: piece.view(len(piece), *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }


def _linear(inputs: int, outputs: int, seed: int, name: str) -> nn.Linear:
    """A linear layer with uniform weights and biases in +-1/sqrt(inputs), torch's own range, of a named stream."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")  # draws nothing from a global generator
    stream, bound = torch_stream(seed, "pfedhn", name), inputs**-0.5
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -bound, bound, generator=stream)
    return layer
