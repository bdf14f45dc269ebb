"""Ways to compute one layer of several clients and its gradients (benchmarks room), and what each takes.

grouped         what `torch.vmap` makes of it: one convolution with a group for each client, one `bmm`
channels last   the same convolution with channels last
gathered        a convolution as `bmm` over gathered patches
one by one      a kernel for each client
streams         the same on streams of their own; on a card only
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ....federation.precision import arithmetic, gpu_arithmetic
from ....federation.settings import Training
from .floors import fastest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..measure import Row

FORMATS = ("float32", "tf32", "bf16")
"""Number formats, as `training.precision` has them; the last two on a card only."""

CALLS = 10
"""Calls in a row, so that launches may run ahead."""


@dataclass(frozen=True)
class Layer:
    """A convolution with stride 1 that keeps its side, or, with a side of 0, a linear layer."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    side: int = 0
    groups: int = 1

    @property
    def operations(self) -> int:
        """Of one sample, with both gradients."""
        return 6 * self.inputs // self.groups * self.outputs * self.kernel**2 * max(1, self.side) ** 2


LAYERS = (
    Layer("W1, second convolution", 16, 32, kernel=5, side=14),
    Layer("W2, first layer", 784, 200),
    Layer("ResNet-18, first stage", 64, 64, kernel=3, side=32),
    Layer("ResNet-18, third stage", 256, 256, kernel=3, side=8),
    Layer("MobileNetV2, depthwise", 192, 192, kernel=3, side=16, groups=192),
    Layer("SqueezeNet, squeeze", 128, 32, side=15),
)
"""Layers that nets of W1, W2 and W6 spend most of their arithmetic in."""


def measure_layers(device: str, *, tiny: bool, clients: int = 25, batch: int = 32) -> list[Row]:
    """Seconds of a layer forward and backward by way and number format, for all clients together.

    Args:
        device: a torch device.
        tiny: two clients with two samples, and eight channels.
        clients: number of clients.
        batch: samples of each.
    Returns:
        Rows with `layer`, `precision`, `way`, `seconds` and operations per second (`rate`).
    """
    rows: list[Row] = []
    for layer in LAYERS:
        if tiny:
            layer = Layer(layer.name, 8, 8, layer.kernel, min(8, layer.side), min(8, layer.groups))
            clients = batch = 2
        inputs = torch.randn(clients, batch, layer.inputs, *[layer.side] * 2 * (layer.side > 0), device=device)
        kernel = [layer.kernel] * 2 * (layer.side > 0)
        weights = torch.randn(clients, layer.outputs, layer.inputs // layer.groups, *kernel, device=device)
        for precision in FORMATS if device.startswith("cuda") else FORMATS[:1]:
            training = Training(precision=precision)  # type: ignore[arg-type]  # one of its values
            with gpu_arithmetic(training, inputs.device), arithmetic(training, inputs.device):
                for way, work in ways(layer, device).items():
                    run = _with_gradients(work, inputs, weights)
                    seconds = fastest(lambda run=run: [run() for _ in range(CALLS)], device) / CALLS  # type: ignore[misc]
                    operations = layer.operations * clients * batch
                    row = {"layer": layer.name, "precision": precision, "way": way}
                    rows.append({**row, "seconds": seconds, "rate": operations / seconds})
    return rows


def ways(layer: Layer, device: str) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """What computes a layer of all clients, from inputs and weights with an axis of clients first.

    Args:
        layer: the layer.
        device: a torch device.
    Returns:
        By name; outputs have the axes (clients, batch, channels, ...).
    """
    if not layer.side:
        found = {"grouped": lambda x, w: torch.vmap(F.linear)(x, w), "one by one": _one_by_one(F.linear)}
        return {**found, **({"streams": _on_streams(F.linear)} if device.startswith("cuda") else {})}
    one = _convolution(layer)
    return {
        "grouped": torch.vmap(one),
        "channels last": _channels_last(layer),
        **({"gathered": _gathered(layer)} if layer.groups == 1 else {}),
        "one by one": _one_by_one(one),
        **({"streams": _on_streams(one)} if device.startswith("cuda") else {}),
    }


def _convolution(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: F.conv2d(x, w, padding=layer.kernel // 2, groups=layer.groups)


def _channels_last(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    def work(x: Tensor, w: Tensor) -> Tensor:
        clients = len(x)
        joined = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        kernels = w.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found = F.conv2d(joined, kernels, padding=layer.kernel // 2, groups=clients * layer.groups)
        return found.view(-1, clients, layer.outputs, *x.shape[3:]).transpose(0, 1)

    return work


def _gathered(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    def work(x: Tensor, w: Tensor) -> Tensor:
        clients, batch = x.shape[:2]
        patches = F.unfold(x.flatten(0, 1), layer.kernel, padding=layer.kernel // 2)  # (clients * batch, rows, places)
        columns = patches.view(clients, batch, *patches.shape[1:]).transpose(1, 2).flatten(2)
        found = torch.bmm(w.flatten(2), columns)  # (clients, channels, batch * places)
        return found.view(clients, layer.outputs, batch, *x.shape[3:]).transpose(1, 2)

    return work


def _one_by_one(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: torch.stack([one(*pair) for pair in zip(x.unbind(), w.unbind(), strict=True)])


def _on_streams(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Autograd runs each gradient on the stream of its forward pass."""
    streams: list[torch.cuda.Stream] = []

    def work(x: Tensor, w: Tensor) -> Tensor:
        here = torch.cuda.current_stream()
        while len(streams) < len(x):
            streams.append(torch.cuda.Stream())  # type: ignore[no-untyped-call]  # torch leaves it untyped
        found = []
        for stream, inputs, weights in zip(streams, x.unbind(), w.unbind(), strict=False):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                found.append(one(inputs, weights))
        for stream in streams:
            here.wait_stream(stream)
        return torch.stack(found)

    return work


def _with_gradients(work: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> Callable[[], object]:
    leaves = (x.requires_grad_(), w.requires_grad_())
    with torch.no_grad():
        above = torch.randn_like(work(*leaves))
    return lambda: torch.autograd.grad(work(*leaves), leaves, above)
