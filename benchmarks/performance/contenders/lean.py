"""The arithmetic of the contender careful (benchmarks room): nets on rows of weights, steps and tests, one thread each.

A model is a row of a matrix, so that averaging is one product and processes share all models as one piece of memory.
Kernels of convolutions are stored channels last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .plain import NOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

TEST_BATCH = 500
"""Images per forward pass without gradients."""


def row_of(model: nn.Module) -> Tensor:
    """A model's parameters as a row, shape (parameters,)."""
    with torch.no_grad():
        return torch.cat([_channels_last(parameter).flatten() for parameter in model.parameters()])


def leaves(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """A row as the parameters of a model: views that gradients are taken for.

    Args:
        row: shape (parameters,).
        shapes: of the parameters.
    """
    parts = torch.split(row, [shape.numel() for shape in shapes])
    return [_shaped(part, shape).detach().requires_grad_() for part, shape in zip(parts, shapes, strict=True)]


def forward(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    """Logits, shape (samples, classes), of the nets of `plain.net`: the CNN where the first weights are kernels.

    Pooling comes before ReLU: the maximum is the same, and a quarter of the numbers are left.

    Args:
        weights: as `leaves` gives them.
        images: shape (samples, 1, 28, 28) for the CNN and (samples, 784) for the MLP.
    """
    if len(weights) == 4:
        first, first_bias, last, last_bias = weights
        return F.linear(F.linear(images, first, first_bias).relu_(), last, last_bias)
    for kernel, bias in (weights[0:2], weights[2:4]):
        images = F.max_pool2d(F.conv2d(images, kernel, bias, padding=2), 2).relu_()
    hidden = F.linear(images.flatten(1), weights[4], weights[5]).relu_()
    return F.linear(hidden, weights[6], weights[7])


def descend(weights: list[Tensor], loss: Tensor, lr: float, clip: float | None = None) -> None:
    """A step of SGD on all parameters at once; `clip` bounds the norm of the gradient, all parameters together."""
    gradients = torch.autograd.grad(loss, weights)
    if clip is not None:
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        lr *= min(1.0, clip / (norm + 1e-6))
    with torch.no_grad():
        torch._foreach_add_(weights, gradients, alpha=-lr)


def consistent(weights: Sequence[Tensor], images: Tensor, target: Tensor, draws: torch.Generator) -> Tensor:
    """COSMOS's loss as `plain.consistent` has it; images and their noisy copies pass the net together."""
    noisy = torch.randn(images.shape, generator=draws).mul_(NOISE).add_(images).clamp_(-1.0, 1.0)
    logits, others = forward(weights, torch.cat([images, noisy])).chunk(2)
    logarithms = logits.log_softmax(dim=1)
    agreement = F.mse_loss(others.softmax(dim=1), logarithms.exp())
    return F.kl_div(logarithms, target, reduction="batchmean") + agreement


@torch.no_grad()
def predict(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    """Logits of many images, shape (samples, classes)."""
    return torch.cat([forward(weights, batch) for batch in torch.split(images, TEST_BATCH)])


def correct(weights: Sequence[Tensor], images: Tensor, labels: Tensor) -> int:
    """How many images get their label."""
    return int((predict(weights, images).argmax(dim=1) == labels).sum())


def _channels_last(parameter: Tensor) -> Tensor:
    return parameter.permute(0, 2, 3, 1) if parameter.dim() == 4 else parameter


def _shaped(part: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) != 4:
        return part.view(shape)
    out, channels, height, width = shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)
