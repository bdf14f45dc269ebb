"""Plain chains of convolutions: LeNet-5, the FedAvg CNN, AlexNet-small, VGG (federation room).

All of them pool before the ReLU: max and ReLU are both monotone, so the function is the same, and the ReLU then
touches a quarter of the values. The ReLU works in place because neither max pooling nor a linear layer needs its
own output for the gradient. Nets of 5x5 convolutions predict in oneDNN's layout (`blocked.py`); 3x3 ones are no faster
in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import nn

from .norms import normalised
from .registry import model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.nn import Linear, Module, Sequential

    from .norms import Norm
    from .registry import Shape


@model(
    "lenet5",
    summary="conv5 6, pool, conv5 16, pool, FC 120, FC 84 (no padding)",
    min_side=16,  # 16 - 4 = 12, pooled 6, - 4 = 2, pooled 1
    source="LeCun et al. 1998, with ReLU and max pooling",
)
def lenet5(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """LeNet-5 as it is used today: ReLU, max pooling, every feature map seen by every filter."""
    return _conv5_net(shape, classes, filters=(6, 16), padding=0, hidden=(120, 84))


@model(
    "cnn",
    summary='conv5 32, pool, conv5 64, pool, FC 512 ("same" padding)',
    min_side=4,
    source="the FedAvg CNN, McMahan et al. 2017 (arXiv:1602.05629)",
)
def cnn(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """The CNN of the FedAvg paper."""
    return _conv5_net(shape, classes, filters=(32, 64), padding=2, hidden=(512,))


@model("cnn-small", summary='conv5 16, pool, conv5 32, pool, FC 128 ("same" padding)', min_side=4)
def cnn_small(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """The FedAvg CNN with fewer filters and units, for many clients on a CPU."""
    return _conv5_net(shape, classes, filters=(16, 32), padding=2, hidden=(128,))


@model(
    "alexnet-small",
    summary="conv3 64, 128, 256 x2, 512 x2, a pool after each width, FC 4096 x2 with dropout",
    min_side=16,
    source="the AlexNet for 32x32 images of the COSMOS authors' code",
)
def alexnet_small(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """AlexNet for 32x32 images; the only net here whose dropout sits between fully connected layers."""
    channels, height, width = shape
    body = _conv3_stages(channels, [(64, 1), (128, 1), (256, 2), (512, 2)], norm=None).append(nn.Flatten())
    for inputs in (512 * (height // 16) * (width // 16), 4096):
        body.append(nn.Linear(inputs, 4096)).append(nn.ReLU(inplace=True)).append(nn.Dropout())
    return body, nn.Linear(4096, classes)


@normalised(
    "vgg11",
    summary="VGG-11, CIFAR type (global pool, one FC)",
    min_side=32,
    source="Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration A",
)
def vgg11(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """Eight normalised 3x3 convolutions in five stages."""
    return _vgg(shape, classes, (1, 1, 2, 2, 2), norm)


@normalised(
    "vgg16",
    summary="VGG-16, CIFAR type (global pool, one FC)",
    min_side=32,
    source="Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration D",
)
def vgg16(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """Thirteen normalised 3x3 convolutions in five stages."""
    return _vgg(shape, classes, (2, 2, 3, 3, 3), norm)


@model(
    "vgg16-plain",
    summary="VGG-16, CIFAR type (global pool, one FC), no normalisation",
    min_side=32,
    source="Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration D",
)
def vgg16_plain(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """Thirteen 3x3 convolutions in five stages, as published without normalisation.

    Weights start as torchvision's VGG: with torch's own start a signal is lost on the way through thirteen layers.
    """
    body, head = _vgg(shape, classes, (2, 2, 3, 3, 3), norm=None)
    for layer in body:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return body, head


def _conv5_net(
    shape: Shape, classes: int, *, filters: Sequence[int], padding: int, hidden: Sequence[int]
) -> tuple[Module, Linear]:
    """5x5 convolutions, each with a 2x2 pool and a ReLU, then fully connected layers with ReLU."""
    from .blocked import BlockedChain

    inputs, height, width = shape
    body = BlockedChain()
    for outputs in filters:
        body.append(nn.Conv2d(inputs, outputs, 5, padding=padding)).append(nn.MaxPool2d(2)).append(
            nn.ReLU(inplace=True)
        )
        height, width = (height + 2 * padding - 4) // 2, (width + 2 * padding - 4) // 2
        inputs = outputs
    body.append(nn.Flatten())
    inputs *= height * width
    for outputs in hidden:
        body.append(nn.Linear(inputs, outputs)).append(nn.ReLU(inplace=True))
        inputs = outputs
    return body, nn.Linear(inputs, classes)


def _vgg(shape: Shape, classes: int, depths: Sequence[int], norm: Norm | None) -> tuple[Sequential, Linear]:
    """VGG with a global average pool and one linear layer in place of the three large ones."""
    widths = (64, 128, 256, 512, 512)
    body = _conv3_stages(shape[0], list(zip(widths, depths, strict=True)), norm)
    return body.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()), nn.Linear(widths[-1], classes)


def _conv3_stages(inputs: int, stages: Sequence[tuple[int, int]], norm: Norm | None) -> Sequential:
    """Stages of (width, depth): `depth` padded 3x3 convolutions with norm and ReLU, the last one pooled by 2."""
    body = nn.Sequential()
    for width, depth in stages:
        for layer in range(depth):
            body.append(nn.Conv2d(inputs, width, 3, padding=1))
            if norm is not None:
                body.append(norm(width))
            if layer == depth - 1:
                body.append(nn.MaxPool2d(2))
            body.append(nn.ReLU(inplace=True))
            inputs = width
    return body
