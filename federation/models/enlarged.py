"""torchvision's nets for 224x224 images, fed with smaller ones that are enlarged (federation room).

`<net>@224` enlarges its images with bilinear interpolation and is torchvision's net from there on, without weights from
anywhere: first convolution, strides and pools are those of the original, and weights start as torchvision's do. So do
the COSMOS authors' nets see 32x32 images, at 49 times the pixels; a net without `@224` is the same one fitted to small
images. Their nets put one more linear layer behind the last one, C to C, which is left out here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from fl_bench.lazy import nn

from .norms import normalised
from .registry import model

if TYPE_CHECKING:
    from torch.nn import Linear, Module, Sequential
    from torchvision.models import VGG, AlexNet

    from .norms import Norm
    from .registry import Shape

GREY_OR_COLOUR = (1, 3)


@model(
    "vgg16@224",
    summary="torchvision's VGG-16, no normalisation, dropout 0.5; images enlarged to 224x224",
    min_side=1,
    channels=GREY_OR_COLOUR,
    source="Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration D",
)
def vgg16_enlarged(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """VGG-16 with its three large linear layers: the server's net in the COSMOS authors' code."""
    from torchvision.models import vgg16

    return _without_pool(vgg16(weights=None, num_classes=classes))  # to 7x7


@model(
    "alexnet@224",
    summary="torchvision's AlexNet, dropout 0.5; images enlarged to 224x224",
    min_side=1,
    channels=GREY_OR_COLOUR,
    source="Krizhevsky 2014 (arXiv:1404.5997), one weird trick",
)
def alexnet_enlarged(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """AlexNet with its three large linear layers."""
    from torchvision.models import alexnet

    return _without_pool(alexnet(weights=None, num_classes=classes))  # to 6x6


@normalised(
    "resnet18@224",
    summary="torchvision's ResNet-18; images enlarged to 224x224",
    min_side=1,
    channels=GREY_OR_COLOUR,
    source="He et al. 2016 (arXiv:1512.03385)",
)
def resnet18_enlarged(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """ResNet-18 with its 7x7 stem and its max-pool."""
    from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=classes, norm_layer=norm)
    head, net.fc = net.fc, nn.Identity()
    return _enlarged(net), head


@normalised(
    "mobilenetv2@224",
    summary="torchvision's MobileNetV2, dropout 0.2; images enlarged to 224x224",
    min_side=1,
    channels=GREY_OR_COLOUR,
    source="Sandler et al. 2018 (arXiv:1801.04381)",
)
def mobilenetv2_enlarged(shape: Shape, classes: int, *, norm: Norm) -> tuple[Module, Linear]:
    """MobileNetV2 with its stride-2 stem."""
    from torchvision.models import mobilenet_v2

    net = mobilenet_v2(weights=None, num_classes=classes, norm_layer=norm)
    net.classifier, head = net.classifier
    return _enlarged(net), head


@model(
    "squeezenet@224",
    summary="torchvision's SqueezeNet 1.1, dropout 0.5; images enlarged to 224x224",
    min_side=1,
    channels=GREY_OR_COLOUR,
    source="Iandola et al. 2016 (arXiv:1602.07360), release 1.1",
)
def squeezenet_enlarged(shape: Shape, classes: int) -> tuple[Module, Linear]:
    """SqueezeNet 1.1 with its stride-2 stem; its features are averaged before they are classified, see `squeezenet`."""
    from torchvision.models import squeezenet1_1

    net = squeezenet1_1(weights=None, num_classes=classes)
    dropout, convolution, *_ = net.classifier
    head = nn.Linear(512, classes)
    head.weight, head.bias = nn.Parameter(convolution.weight.detach().flatten(1)), convolution.bias
    net.classifier = nn.Sequential(dropout, nn.AdaptiveAvgPool2d(1))
    return _enlarged(net), head


def _without_pool(net: AlexNet | VGG) -> tuple[Module, Linear]:
    """A net that ends in linear layers, without its pool, which leaves the maps of a 224x224 image as they are."""
    *layers, head = net.classifier
    net.avgpool = nn.Identity()
    net.classifier = nn.Sequential(*layers)
    return _enlarged(net), head


def _enlarged(net: Module) -> Sequential:
    from .resize import Enlarge

    return nn.Sequential(OrderedDict(enlarge=Enlarge(), net=net))
