"""Residual, inverted-residual and Fire nets from torchvision's blocks, fitted to small images (federation room).

torchvision's nets start with a strided 7x7 or 3x3 convolution for 224x224 images. Here the first convolution is
3x3 with stride 1 and takes any number of channels; weights start as torchvision's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import nn

from .norms import normalised
from .registry import model

if TYPE_CHECKING:
    from torch.nn import Conv2d, Linear, Module

    from .norms import Norm
    from .registry import Shape


@normalised(
    "resnet8",
    summary="CIFAR ResNet-8 (widths 16, 32, 64, 1 block each, 1x1 projections)",
    min_side=4,
    source="He et al. 2016 (arXiv:1512.03385), section 4.2",
)
def resnet8(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """CIFAR ResNet with one basic block per stage."""
    return _cifar_resnet(shape, classes, 1, norm)


@normalised(
    "resnet20",
    summary="CIFAR ResNet-20 (widths 16, 32, 64, 3 blocks each, 1x1 projections)",
    min_side=4,
    source="He et al. 2016 (arXiv:1512.03385), section 4.2",
)
def resnet20(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """CIFAR ResNet with three basic blocks per stage."""
    return _cifar_resnet(shape, classes, 3, norm)


@normalised(
    "resnet18",
    summary="ResNet-18 with a 3x3 stem and no max-pool",
    min_side=8,
    source="He et al. 2016 (arXiv:1512.03385)",
)
def resnet18(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """torchvision's ResNet-18 without the two early reductions, which 32x32 images cannot spare."""
    from torchvision.models import resnet18 as torchvision_resnet18

    body = torchvision_resnet18(weights=None, num_classes=classes, norm_layer=norm)
    body.conv1 = _he_normal(nn.Conv2d(shape[0], 64, 3, padding=1, bias=False))
    body.maxpool = nn.Identity()
    head, body.fc = body.fc, nn.Identity()
    return body, head


@normalised(
    "mobilenetv2",
    summary="MobileNetV2 with a stride-1 stem, dropout 0.2",
    min_side=16,
    source="Sandler et al. 2018 (arXiv:1801.04381)",
)
def mobilenetv2(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """torchvision's MobileNetV2 with the first stride taken out."""
    from torchvision.models import mobilenet_v2

    body = mobilenet_v2(weights=None, num_classes=classes, norm_layer=norm)
    body.features[0][0] = _he_normal(nn.Conv2d(shape[0], 32, 3, padding=1, bias=False))
    dropout, head = body.classifier
    body.classifier = dropout
    return body, head


@model(
    "squeezenet",
    summary="SqueezeNet 1.1 with a stride-1 stem, dropout 0.5",
    min_side=10,  # 10 - 2 = 8, then three pools of 3 with stride 2, rounded up: 4, 2, 1
    source="Iandola et al. 2016 (arXiv:1602.07360), release 1.1",
)
def squeezenet(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """torchvision's SqueezeNet 1.1 with the first stride taken out and a linear layer as its classifier.

    The original classifies every pixel (1x1 convolution, ReLU) and averages the scores. Here the features are
    averaged first and a linear layer with the same parameters classifies them: without the ReLU, which would
    forbid negative logits, that is the same function.
    """
    from torchvision.models import squeezenet1_1

    body = squeezenet1_1(weights=None, num_classes=classes)
    stem, head = nn.Conv2d(shape[0], 64, 3), nn.Linear(512, classes)
    nn.init.kaiming_uniform_(stem.weight)
    nn.init.normal_(head.weight, std=0.01)
    for layer in (stem, head):
        nn.init.zeros_(layer.get_parameter("bias"))
    body.features[0] = stem
    body.classifier = nn.Sequential(body.classifier[0], nn.AdaptiveAvgPool2d(1))
    return body, head


def _cifar_resnet(shape: Shape, classes: int, blocks: int, norm: Norm) -> tuple[Module, Linear]:
    """A 3x3 stem, `blocks` basic blocks at each of 16, 32 and 64 channels, a global average pool."""
    from torchvision.models.resnet import BasicBlock

    body = nn.Sequential(nn.Conv2d(shape[0], 16, 3, padding=1, bias=False), norm(16), nn.ReLU(inplace=True))
    inputs = 16
    for width in (16, 32, 64):
        for block in range(blocks):
            stride, shortcut = 1, None
            if block == 0 and width > 16:
                stride, shortcut = 2, nn.Sequential(nn.Conv2d(inputs, width, 1, stride=2, bias=False), norm(width))
            body.append(BasicBlock(inputs, width, stride, shortcut, norm_layer=norm))
            inputs = width
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            _he_normal(module)
    return body.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()), nn.Linear(inputs, classes)


def _he_normal(conv: Conv2d) -> Conv2d:
    """Initialise as torchvision initialises its ResNet and MobileNetV2."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
