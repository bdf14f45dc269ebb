"""Nets that are chains of linear layers and ReLUs, trained without an autograd graph (federation room).

A step of such a net is a few small products, and autograd's graph and the calls of modules cost time beside them.
Objectives that look at nothing but outputs (`phase.of_outputs`) call a `Chain` in the net's place: autograd
differentiates the loss by the outputs, and the rest is written out here, with the kernels that autograd calls, in its
order. No bit differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .models.net import Net

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


class Chain:
    """A net to be called and differentiated, in the place of the module whose parameters it trains.

    Args:
        net: the module.
        layers: its linear layers, in order, with biases; the samples are flattened before the first.
        rectified: for each, whether a ReLU follows.
    """

    def __init__(self, net: nn.Module, layers: Sequence[nn.Linear], rectified: Sequence[bool]) -> None:
        self._net = net
        weights, biases = ([getattr(layer, name).detach() for layer in layers] for name in ("weight", "bias"))
        self._layers = [
            (weight, weight.t(), bias, relu) for weight, bias, relu in zip(weights, biases, rectified, strict=True)
        ]
        self._gradients = [(torch.empty_like(weight), torch.empty_like(bias)) for weight, _, bias, _ in self._layers]
        self._calls: list[tuple[list[Tensor], Tensor]] = []

    def modules(self) -> Iterator[nn.Module]:
        """The modules of the net, for objectives that ask whether one of a kind is there."""
        return self._net.modules()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), which are a leaf of the graph that the objective builds.

        Args:
            x: shape (batch, *sample shape).

        Raises:
            RuntimeError: `x` asks for a gradient, which does not pass.
        """
        if not torch.is_grad_enabled():
            logits: Tensor = self._net(x)
            return logits
        if x.requires_grad:
            raise RuntimeError(
                "an objective marked `of_outputs` calls its net on inputs that require a gradient; detach them, or "
                "remove the mark"
            )
        values = x.flatten(1)
        inputs = []
        for _, transposed, bias, relu in self._layers:
            inputs.append(values)
            values = torch.addmm(bias, values, transposed)
            if relu:
                values.relu_()
        values.requires_grad_()
        self._calls.append((inputs, values))
        return values

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """The gradient of a loss, through every call since the last one was taken.

        Args:
            loss: a scalar.
        Returns:
            The gradients by weight and bias of each layer, in order; to read or change until the next call of this,
            which writes to the same tensors.
        """
        calls, self._calls = self._calls, []
        ends = torch.autograd.grad(loss, [outputs for _, outputs in calls], allow_unused=True)
        written = False
        for (inputs, _), end in zip(reversed(calls), reversed(ends), strict=True):  # autograd goes back from the last
            if end is not None:
                self._back(inputs, end, add=written)
                written = True
        found = [tensor for pair in self._gradients for tensor in pair]
        if not written:
            torch._foreach_zero_(found)
        return found

    def _back(self, inputs: list[Tensor], end: Tensor, *, add: bool) -> None:
        """Write, or add, the gradients that one call makes of the gradient by its outputs."""
        for number in range(len(self._layers) - 1, -1, -1):
            weights, biases = self._gradients[number]
            if add:
                weights.add_(end.t().mm(inputs[number]))
                biases.add_(end.sum(0))
            else:
                torch.mm(end.t(), inputs[number], out=weights)
                torch.sum(end, 0, out=biases)
            if number:
                end = end.mm(self._layers[number][0])
                if self._layers[number - 1][3]:
                    end = torch.ops.aten.threshold_backward.default(end, inputs[number], 0)


def chain_of(net: nn.Module) -> Chain | None:
    """The net as a chain; None where it is anything else: other layers, hooks, a compiled net, not on a CPU."""
    if type(net) is not Net or next(net.parameters()).device.type != "cpu":
        return None
    if any(_changed(part) for part in net.modules()):
        return None
    parts = [*_in_order(net.body), net.head]
    if type(parts.pop(0)) is not nn.Flatten:
        return None
    layers: list[nn.Linear] = []
    rectified: list[bool] = []
    for part in parts:
        if type(part) is nn.Linear and part.bias is not None:
            layers.append(part)
            rectified.append(False)
        elif type(part) is nn.ReLU and layers:
            rectified[-1] = True
        else:
            return None
    if any(layer.out_features == 1 for layer in layers):  # autograd multiplies vectors of one number in another order
        return None
    return Chain(net, layers, rectified)


def _in_order(part: nn.Module) -> list[nn.Module]:
    """The layers of a part that does one after the other."""
    if type(part) is not nn.Sequential:
        return [part]
    return [layer for child in part for layer in _in_order(child)]


def _changed(part: nn.Module) -> bool:
    """Whether calling a module is more, or other, than its class's `forward`."""
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or part._compiled_call_impl is not None or "forward" in vars(part)
