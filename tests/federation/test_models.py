from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from fl_bench.errors import ConfigError
from fl_bench.federation.models import (
    MODELS,
    NetBytes,
    build_net,
    check_model,
    count_parameters,
    fitting,
    model,
    model_names,
    net_bytes,
)
from fl_bench.federation.models.net import Net
from fl_bench.federation.models.norms import group_count
from fl_bench.federation.models.registry import find_model

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.federation.models import ModelPlugin

ROW, DIGIT, GREY, COLOUR, TINY = (64,), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)


def native(shape: tuple[int, ...]) -> list[str]:
    """The nets that take samples of `shape` at their own size; those that enlarge them are in test_enlarged."""
    return [name for name in fitting(shape) if "@" not in name]


PANEL = [(name, shape) for shape in (ROW, DIGIT, GREY, COLOUR, TINY) for name in native(shape)]
NAMES = native(TINY)  # the largest images: every net takes them
NORMALISED = ["resnet8", "resnet20", "resnet18", "mobilenetv2", "vgg11", "vgg16"]
CHAINS = ["lenet5", "cnn", "cnn-small"]


def outline(name: str, shape: tuple[int, ...], classes: int = 10) -> Net:
    """The net without weights, for shapes and counts."""
    with torch.device("meta"):
        return build_net(name, shape, classes)


def output(net: nn.Module, *shape: int) -> torch.Size:
    """The shape of what a net without weights makes of inputs of this shape.

    On zeros: torch computes every shape on the meta device in Python, which takes longer than the numbers.
    """
    net.to_empty(device="cpu")
    with torch.inference_mode():
        for value in net.state_dict().values():
            value.zero_()
        found: torch.Size = net(torch.zeros(shape)).shape
    return found


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in net.state_dict().values()])


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        # one weight per input and class, one bias per class
        ("linear", GREY, 10, 784 * 10 + 10),
        ("linear", ROW, 3, 64 * 3 + 3),
        ("mlp-200", GREY, 10, 784 * 200 + 200 + 200 * 10 + 10),
        ("mlp-200x2", GREY, 10, 199_210),  # the 2NN of the FedAvg paper, which gives this number
        # small nets and nets of the COSMOS authors' code: methods.md 4.1 and 4.2, there without the extra C^2 + C
        ("lenet5", GREY, 10, 44_426),
        ("lenet5", GREY, 47, 47_571),
        ("lenet5", GREY, 62, 48_846),
        ("lenet5", COLOUR, 10, 62_006),
        ("lenet5", COLOUR, 100, 69_656),
        ("cnn", GREY, 10, 1_663_370),
        ("cnn", GREY, 62, 1_690_046),
        # conv5 16: 26*16, conv5 32: (16*25 + 1)*32, FC 128 on 7*7*32: 1569*128, head: 129*10
        ("cnn-small", GREY, 10, 416 + 12_832 + 200_832 + 1_290),
        ("resnet8", COLOUR, 10, 78_042),
        ("resnet8", COLOUR, 100, 83_892),
        ("resnet20", COLOUR, 10, 272_474),
        ("resnet20", COLOUR, 100, 278_324),
        ("resnet18", COLOUR, 10, 11_173_962),
        # torchvision's ResNet-18 is 11 181 752 - 110 at C = 10; 64 filters of 3*3*3 in place of 3*7*7
        ("resnet18", COLOUR, 10, 11_181_752 - 110 - 64 * 3 * (49 - 9)),
        ("resnet18", COLOUR, 200, 11_319_312 - 40_200 - 64 * 3 * (49 - 9)),
        ("mobilenetv2", COLOUR, 10, 2_236_792 - 110),
        ("mobilenetv2", COLOUR, 100, 2_362_072 - 10_100),
        ("mobilenetv2", COLOUR, 200, 2_520_272 - 40_200),
        ("mobilenetv2", GREY, 10, 2_236_792 - 110 - 32 * 2 * 9),  # two input channels fewer
        ("squeezenet", COLOUR, 10, 727_736 - 110),
        ("squeezenet", COLOUR, 100, 783_896 - 10_100),
        ("squeezenet", COLOUR, 200, 865_296 - 40_200),
        ("squeezenet", GREY, 10, 727_736 - 110 - 64 * 2 * 9),
        ("alexnet-small", COLOUR, 10, 29_715_850),
        ("alexnet-small", COLOUR, 100, 30_084_580),
        ("alexnet-small", COLOUR, 200, 30_494_280),
        # torchvision's VGG-16 is 134 301 624 - 110; take out FC 25088-4096-4096-10, put in 512-10 and a scale and
        # a shift for each of 2*64 + 2*128 + 3*256 + 6*512 = 4224 channels
        ("vgg16", COLOUR, 10, 134_301_514 - 25_089 * 4096 - 4097 * 4096 - 4097 * 10 + 5_130 + 2 * 4_224),
        # without normalisation no scales and shifts
        ("vgg16-plain", COLOUR, 10, 134_301_514 - 25_089 * 4096 - 4097 * 4096 - 4097 * 10 + 5_130),
        # (inputs * 9 + 3) * outputs per normalised convolution, then the head
        (
            "vgg11",
            COLOUR,
            10,
            30 * 64 + 579 * 128 + (1155 + 2307) * 256 + (2307 + 3 * 4611) * 512 + 5_130,
        ),
    ],
)
def test_parameter_counts(name: str, shape: tuple[int, ...], classes: int, parameters: int) -> None:
    assert count_parameters(outline(name, shape, classes)) == parameters


@given(width=st.integers(1, 40), depth=st.integers(1, 5), classes=st.integers(2, 9))
def test_an_mlp_has_the_layers_its_name_says(width: int, depth: int, classes: int) -> None:
    net = outline(f"mlp-{width}x{depth}", (7,), classes)
    layers = [(layer.in_features, layer.out_features) for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert sorted(layers) == sorted([(7, width), *[(width, width)] * (depth - 1), (width, classes)])


def test_an_mlp_by_hand() -> None:
    # Hidden units relu(x) and relu(-x), summed by the head: |x|.
    net = build_net("mlp-2", (1,), 1)
    values = {
        "body.1.weight": [[1.0], [-1.0]],
        "body.1.bias": [0.0, 0.0],
        "head.weight": [[1.0, 1.0]],
        "head.bias": [0.0],
    }
    net.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    assert net(torch.tensor([[3.0], [-2.0]])).tolist() == [[3.0], [2.0]]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("linear", 0),
        ("mlp-8x3", 3),
        ("lenet5", 4),
        ("cnn", 3),
        ("cnn-small", 3),
        ("alexnet-small", 8),
        ("vgg11", 8),
        ("vgg16-plain", 13),
    ],
)
def test_every_layer_but_the_head_has_a_relu(name: str, count: int) -> None:
    assert sum(isinstance(layer, nn.ReLU) for layer in outline(name, COLOUR).modules()) == count


@pytest.mark.parametrize("name", NORMALISED)
def test_norms_by_name(name: str) -> None:
    plain, published = outline(name, COLOUR), outline(f"{name}-bn", COLOUR)
    kinds = [{type(layer) for layer in net.modules()} & {nn.GroupNorm, nn.BatchNorm2d} for net in (plain, published)]
    assert kinds == [{nn.GroupNorm}, {nn.BatchNorm2d}]
    assert count_parameters(plain) == count_parameters(published)


@pytest.mark.parametrize(("channels", "groups"), [(16, 2), (32, 4), (64, 8), (256, 32), (512, 32), (24, 1), (3, 1)])
def test_group_count_examples(channels: int, groups: int) -> None:
    assert group_count(channels) == groups


@given(channels=st.integers(1, 5000))
def test_groups_divide_the_channels_and_are_not_tiny(channels: int) -> None:
    groups = group_count(channels)
    assert channels % groups == 0
    assert 1 <= groups <= 32
    assert channels // groups >= min(channels, 8)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("linear", 3072),
        ("mlp-64", 64),
        ("mlp-32x3", 32),
        ("lenet5", 84),
        ("cnn", 512),
        ("cnn-small", 128),
        ("alexnet-small", 4096),
        ("resnet8", 64),
        ("resnet20", 64),
        ("resnet18", 512),
        ("mobilenetv2", 1280),
        ("squeezenet", 512),
        ("vgg11", 512),
        ("vgg16", 512),
        ("vgg16-plain", 512),
    ],
)
def test_feature_width(name: str, features: int) -> None:
    net = outline(name, COLOUR)
    assert net.features == features
    assert output(net.body, 2, *COLOUR) == (2, features)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("lenet5", 10),  # (32 - 4) / 2 - 4
        ("cnn", 16),
        ("cnn-small", 16),
        ("alexnet-small", 4),  # three pools before the last convolution
        ("vgg11", 2),  # four
        ("vgg16-bn", 2),
        ("vgg16-plain", 2),
        ("resnet8", 8),  # two strides
        ("resnet20", 8),
        ("resnet18", 4),  # three strides: the stem and torchvision's max-pool no longer reduce
        ("mobilenetv2", 2),  # four strides: the stem's is gone
        ("squeezenet", 3),  # 32 - 2 = 30, pools of 3 with stride 2, rounded up: 15, 7, 3
    ],
)
def test_side_of_the_last_feature_map(name: str, side: int) -> None:
    net = outline(name, COLOUR)
    sides: list[tuple[int, ...]] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: sides.append(tuple(output.shape[2:])))
    output(net, 2, *COLOUR)
    assert sides[-1] == (side, side)


@pytest.mark.parametrize(
    ("name", "layer", "std"),
    [
        # He et al. 2015 by fan-out: sqrt(2 / (filters * 9))
        ("resnet8", "body.5.conv2.weight", (2 / (64 * 9)) ** 0.5),
        ("resnet18", "body.conv1.weight", (2 / (64 * 9)) ** 0.5),
        ("mobilenetv2", "body.features.0.0.weight", (2 / (32 * 9)) ** 0.5),
        # and by fan-in: sqrt(2 / (channels * 9)); the head as torchvision's last convolution
        ("squeezenet", "body.features.0.weight", (2 / (3 * 9)) ** 0.5),
        ("squeezenet", "head.weight", 0.01),
        ("vgg16-plain", "body.0.weight", (2 / (64 * 9)) ** 0.5),
        ("vgg16-plain", "head.weight", 0.01),
    ],
)
def test_initial_weights_are_those_of_torchvision(name: str, layer: str, std: float) -> None:
    # 864 weights or more: the standard error of their deviation is 2.4 % or less. torch's default is 30 % off or more.
    net = build_net(name, COLOUR, 10, key=0)
    assert net.get_parameter(layer).std().item() == pytest.approx(std, rel=0.08)


@pytest.mark.parametrize(("name", "shape"), PANEL)
def test_body_and_head(name: str, shape: tuple[int, ...]) -> None:
    net = outline(name, shape, classes=7)
    assert output(net, 2, *shape) == (2, 7)
    assert isinstance(net.head, nn.Linear)
    names = [key for key, _ in net.named_parameters()]
    assert [key for key in names if not key.startswith("body.")] == ["head.weight", "head.bias"]
    # The classifier is in the head alone: none of torchvision's stayed behind in the body.
    assert not any(isinstance(layer, nn.Linear) and layer.out_features == 7 for layer in net.body.modules())


def test_the_panel_is_what_it_should_be() -> None:
    assert [name for name, shape in PANEL if shape == ROW] == ["linear", "mlp-200"]
    assert {"cnn", "cnn-small", "resnet8", "resnet18"} <= {name for name, shape in PANEL if shape == DIGIT}
    assert {name for name, shape in PANEL if shape == GREY} == {name for name in NAMES if not name.startswith("vgg")}
    assert {name for name, shape in PANEL if shape == COLOUR} == set(NAMES)


@pytest.mark.parametrize(
    "plugin", [MODELS[name] for name in MODELS.names() if "@" not in name], ids=lambda plugin: plugin.name
)
def test_the_smallest_image_a_net_accepts(plugin: ModelPlugin) -> None:
    side = plugin.min_side
    if side is None:
        for shape in [(1,), (5, 2), (1, 1, 1)]:
            assert output(outline(plugin.example, shape), 2, *shape) == (2, 10)
        return
    if plugin.takes != ("image",):  # test_sequential has these
        return
    for image in [(2, side, side), (2, side, side + 16)]:
        assert output(outline(plugin.example, image), 2, *image) == (2, 10)
    for shape in [(2, side - 1, side), (2, side, side - 1), (side,), (side, side)]:
        with pytest.raises(ConfigError, match=rf"at least {side}x{side}.*these fit: .*mlp-200"):
            check_model(plugin.example, shape)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-bn")])
def test_one_sample_trains(name: str) -> None:
    # At the smallest image every map shrinks to one pixel, where BatchNorm could not train on one sample.
    side = find_model(name)[0].min_side or 4
    shape = (1, side, side)
    net = build_net(name, shape, 5)
    x = torch.rand(1, *shape)
    nn.functional.cross_entropy(net.train()(x), torch.tensor([3])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.head.weight.grad is not None
    assert net.head.weight.grad.abs().sum() > 0
    with torch.inference_mode():
        assert net.eval()(x).shape == (1, 5)


@pytest.mark.parametrize("name", ["resnet8-bn", "resnet18-bn", "mobilenetv2-bn", "vgg11-bn"])
def test_batch_norm_nets_train_on_two_samples(name: str) -> None:
    net = build_net(name, COLOUR, 5)
    nn.functional.cross_entropy(net(torch.rand(2, *COLOUR)), torch.tensor([3, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", [*CHAINS, "mlp-16x2", "resnet8", "resnet8-bn", "squeezenet", "mobilenetv2"])
def test_the_key_alone_decides_the_weights(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(build_net(name, GREY, 10, key=7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(weights(build_net(name, GREY, 10, key=7)), first)
    assert not torch.equal(weights(build_net(name, GREY, 10, key=8)), first)
    assert torch.equal(weights(build_net(name, GREY, 10)), weights(build_net(name, GREY, 10, key=0)))


def test_keys_may_have_63_bits() -> None:
    first, second = (build_net("linear", ROW, 3, key=key) for key in (2**63 - 1, 2**63 - 2))
    assert not torch.equal(first.head.weight, second.head.weight)


@pytest.mark.parametrize(
    "name", ["linear", "mlp-64", *CHAINS, *NORMALISED, "resnet8-bn", "mobilenetv2-bn", "squeezenet", "vgg16-plain"]
)
def test_a_new_net_neither_explodes_nor_forgets_its_input(name: str) -> None:
    net = build_net(name, COLOUR, 10, key=3).eval()
    with torch.inference_mode():
        logits = net(torch.randn(2, *COLOUR, generator=torch.Generator().manual_seed(0)))
    assert logits.isfinite().all()
    assert logits.abs().max() < 20
    spread = (logits[0] - logits[1]).abs().max() / logits.abs().max()
    assert spread > 0.01  # 0.00004 of VGG-16 without normalisation, had it the weights that torch starts layers with


@pytest.mark.parametrize(("name", "pools"), [("lenet5", 2), ("cnn", 2), ("cnn-small", 2), ("vgg11", 5)])
def test_pooling_before_relu_is_the_same_function(name: str, pools: int) -> None:
    # max(relu(a), relu(b)) = relu(max(a, b)), bit by bit: both pick one of the same numbers, or 0.
    net = build_net(name, COLOUR, 10, key=5)
    layers = list(net.body.children())
    assert not any(isinstance(a, nn.ReLU) and isinstance(b, nn.MaxPool2d) for a, b in pairwise(layers))
    swapped = 0
    for i, (layer, after) in enumerate(pairwise(layers)):
        if isinstance(layer, nn.MaxPool2d) and isinstance(after, nn.ReLU):
            layers[i], layers[i + 1] = after, layer
            swapped += 1
    assert swapped == pools
    x = torch.randn(2, *COLOUR, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net(x), net.head(nn.Sequential(*layers)(x)))


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", CHAINS)
def test_predictions_in_blocks_are_the_same(name: str, shape: tuple[int, ...]) -> None:
    net = build_net(name, shape, 10, key=5)
    channels_last = torch.randn(3, *shape[1:], shape[0], generator=torch.Generator().manual_seed(0)).movedim(-1, 1)
    blocked: list[bool] = []
    for part in net.body.children():
        part.register_forward_pre_hook(lambda _, inputs: blocked.append(inputs[0].is_mkldnn))
    for x in (channels_last, channels_last.contiguous()):
        usual = net(x)
        assert not any(blocked)  # a gradient may be asked for
        with torch.inference_mode():
            torch.testing.assert_close(net(x), usual.detach(), rtol=1e-5, atol=1e-6)
        assert sum(blocked) == 6  # two convolutions, two pools, two ReLUs
        blocked.clear()
    net.double()
    with torch.inference_mode():
        net(channels_last.double())
    assert not any(blocked)  # oneDNN has no float64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38], ids=str)
@pytest.mark.parametrize("layer", ["body.0.weight", "body.0.bias", "body.3.weight"])
@pytest.mark.parametrize("name", CHAINS)
def test_predictions_of_broken_weights_stay_broken(name: str, layer: str, value: float) -> None:
    # oneDNN's max pool takes max(nan, 1) for 1 and its ReLU makes 0 of nan: a diverged model would look healthy.
    net = build_net(name, GREY, 10, key=5)
    net.get_parameter(layer).data.view(-1)[0] = value
    x = torch.randn(3, *GREY, generator=torch.Generator().manual_seed(0))
    usual = net(x)
    with torch.inference_mode():
        assert torch.equal(net(x).isnan(), usual.isnan())
        assert torch.equal(net(x * value).isnan(), net.head(nn.Sequential(*net.body.children())(x * value)).isnan())


def test_a_chain_may_be_sliced_and_mapped() -> None:
    net, x = build_net("lenet5", GREY, 10, key=5), torch.randn(2, *GREY)
    with torch.inference_mode():
        torch.testing.assert_close(vmap(net)(x[:, None]).squeeze(1), net(x))
        torch.testing.assert_close(net.body[:3](x), nn.Sequential(*net.body.children())[:3](x))  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("linear", ROW),
        ("mlp-16x2", ROW),
        ("lenet5", GREY),
        ("cnn", DIGIT),
        ("cnn-small", DIGIT),
        ("resnet8", DIGIT),
        ("squeezenet", (1, 10, 10)),
        ("mobilenetv2", (1, 16, 16)),
    ],
)
@pytest.mark.parametrize("shared", [True, False], ids=["same batch", "own batches"])
def test_stacked_equals_one_by_one(name: str, shape: tuple[int, ...], shared: bool) -> None:
    nets = [build_net(name, shape, 4, key=key).double().eval() for key in (0, 1)]
    parameters, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 3, 1])

    def loss(p: dict[str, torch.Tensor], b: dict[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(nets[0], (p, b), (batch,)), y)

    dims = (0, 0, None if shared else 0)
    stacked = vmap(grad(loss), in_dims=dims)(parameters, buffers, x[0] if shared else x)
    for k, net in enumerate(nets):
        nn.functional.cross_entropy(net(x[0] if shared else x[k]), y).backward()
        for key, parameter in net.named_parameters():
            torch.testing.assert_close(stacked[key][k], parameter.grad, rtol=1e-10, atol=1e-10)


def test_squeezenet_averages_before_it_classifies() -> None:
    # torchvision's order, without its ReLU: classify each pixel by a 1x1 convolution, then average the scores.
    net = build_net("squeezenet", COLOUR, 4, key=2).double().eval()
    x = torch.randn(2, *COLOUR, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pixels = net.body.features(x)  # type: ignore[operator]
    scores = torch.einsum("bfhw,cf->bchw", pixels, net.head.weight) + net.head.bias[:, None, None]
    torch.testing.assert_close(net(x), scores.mean(dim=(2, 3)))


@pytest.mark.parametrize(("name", "dropouts"), [("alexnet-small", 2), ("mobilenetv2", 1), ("squeezenet", 1)])
def test_dropout_is_a_module(name: str, dropouts: int) -> None:
    assert sum(isinstance(layer, nn.Dropout) for layer in outline(name, COLOUR).modules()) == dropouts


def test_the_other_nets_have_no_dropout() -> None:
    for name in set(NAMES) - {"alexnet-small", "mobilenetv2", "mobilenetv2-bn", "squeezenet"}:
        assert not any(isinstance(layer, nn.Dropout) for layer in outline(name, COLOUR).modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cnn-smal", "no model is named 'cnn-smal'; did you mean 'cnn-small'"),
        ("transformer", "no model is named 'transformer'.*known: .*lenet5"),
        ("", "no model is named ''"),
        ("mlp", "mlp-<width>.*'mlp-200' would do"),
        ("mlp-0", "mlp-<width>.*whole numbers from 1"),
        ("mlp-abc", "mlp-<width>"),
        ("mlp--3", "mlp-<width>"),
        ("mlp-64x", "mlp-<width>"),
        ("mlp-64x0", "mlp-<width>"),
        ("mlp-64x2x2", "mlp-<width>"),
        ("mlp-6.4", "mlp-<width>"),
        ("mlp-1٣", "mlp-<width>"),  # a digit to Python's int(), not to a reader of a grid
        ("mlp-100000", "to 99999"),
        ("mlp-64\n", "mlp-<width>"),
    ],
)
def test_names_that_do_not_work(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_model(name, DIGIT)
    with pytest.raises(ConfigError, match=message):
        build_net(name, DIGIT, 10)


def test_a_net_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(ConfigError) as error:
        build_net("lenet5", DIGIT, 10)
    message = str(error.value)
    assert "images of at least 16x16" in message
    assert "(1, 8, 8)" in message
    assert message.endswith(", ".join(fitting(DIGIT)))
    with pytest.raises(ConfigError, match=r"these fit: linear, mlp-200$"):
        check_model("cnn", ROW)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of the test end with it."""
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))


@pytest.mark.usefixtures("own_registry")
def test_a_plugin_of_a_few_lines() -> None:
    @model("wide-net-<width>", summary="one hidden layer", min_side=2, example="wide-net-8")
    def wide(shape: tuple[int, ...], classes: int, width: int) -> tuple[nn.Module, nn.Linear]:
        inputs = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU()), nn.Linear(width, classes)

    assert build_net("wide-net-5", DIGIT, 3)(torch.zeros(2, *DIGIT)).shape == (2, 3)
    assert "wide-net-8" in fitting(DIGIT)
    assert "wide-net-8" not in fitting(ROW)
    row = next(row for row in model_names() if row["name"] == "wide-net-<width>")
    assert row["summary"] == "one hidden layer"
    assert row["inputs"] == "images of at least 2x2"
    with pytest.raises(ConfigError, match=r"wide-net-<width>.*'wide-net-8' would do"):
        check_model("wide-net-x", DIGIT)
    with pytest.raises(ConfigError, match="already registered"):
        model("wide-net-<depth>", summary="another", example="wide-net-1")(wide)


@pytest.mark.usefixtures("own_registry")
def test_a_family_needs_an_example() -> None:
    with pytest.raises(ConfigError, match="example that follows the pattern"):
        model("deep-<depth>", summary="no example")(lambda shape, classes, depth: None)  # type: ignore[arg-type, return-value]


def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    # In a process of its own: entry points are read once. `check_model` is the first thing that looks a name up.
    (tmp_path / "their_nets.py").write_text(
        "from torch import nn\n"
        "from fl_bench.federation.models import model\n"
        "@model('theirs', summary='logistic regression')\n"
        "def theirs(shape, classes):\n"
        "    return nn.Flatten(), nn.Linear(shape[0], classes)\n"
    )
    (tmp_path / "their_nets-1.dist-info").mkdir()
    (tmp_path / "their_nets-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-nets\nVersion: 1\n"
    )
    (tmp_path / "their_nets-1.dist-info" / "entry_points.txt").write_text("[fl_bench.models]\ntheirs = their_nets\n")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from fl_bench.federation.models import build_net, check_model\n"
        "check_model('theirs', (5,)); print(build_net('theirs', (5,), 3).head, build_net('linear', (5,), 2).head)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Linear(in_features=5") == 2


def test_every_net_is_listed_with_what_it_takes() -> None:
    rows = model_names()
    assert [row["name"] for row in rows] == [MODELS[name].pattern for name in MODELS.names()]
    assert all(row["summary"] and row["inputs"] for row in rows)


def test_listing_and_checking_do_not_import_torch() -> None:
    code = (
        "import sys; from fl_bench.federation.models import check_model, model_names; model_names(); "
        "check_model('mlp-64x2', (64,)); check_model('resnet18-bn', (3, 32, 32)); "
        "print([name for name in ('torch', 'torchvision', 'pandas', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("features", "width", "pooled"),
    [
        ([1.0, 3.0, 5.0, 9.0], 2, [2.0, 7.0]),  # neighbours in twos
        ([1.0, 3.0, 5.0], 2, [2.0, 4.0]),  # windows from floor(3j / 2) to ceil(3(j + 1) / 2): 0-1 and 1-2
        ([1.0, 3.0], 4, [1.0, 1.0, 3.0, 3.0]),  # fewer than wanted: each is repeated
        ([1.0, 3.0], 2, [1.0, 3.0]),
    ],
)
def test_features_are_averaged_to_a_width(features: list[float], width: int, pooled: list[float]) -> None:
    net = Net.pooled(nn.Flatten(), width, 3)
    x = torch.tensor([features, [-value for value in features]])
    assert net.body(x).tolist() == [pooled, [-value for value in pooled]]
    assert net.features == width
    assert net(x).shape == (2, 3)


@pytest.mark.parametrize("name", ["mlp-7", "linear", "cnn-small", "resnet8"])
def test_nets_of_one_width(name: str) -> None:
    net = build_net(name, DIGIT, 4, key=3, width=5)
    x = torch.randn(2, *DIGIT, generator=torch.Generator().manual_seed(0))
    assert net.body(x).shape == (2, 5)
    assert net(x).shape == (2, 4)
    assert net.head.weight.shape == (4, 5)
    plain = build_net(name, DIGIT, 4, key=3)
    for key, tensor in plain.body.state_dict().items():  # the same body, under the pool
        assert torch.equal(tensor, net.state_dict()[f"body.net.{key}"])
    again = build_net(name, DIGIT, 4, key=3, width=5)
    assert torch.equal(weights(net), weights(again))
    assert build_net(name, DIGIT, 4, key=3).features == plain.features


def test_a_pool_has_no_parameters() -> None:
    # 64 inputs, 7 units and biases; then 5 features to 4 classes and biases.
    assert count_parameters(build_net("mlp-7", DIGIT, 4, width=5)) == 64 * 7 + 7 + 5 * 4 + 4


def test_features_of_the_wanted_width_pass_as_they_are() -> None:
    # an average over one neighbour, forwards and backwards; -inf and nan would spread to nobody
    pool = build_net("mlp-7", DIGIT, 4, key=3, width=7).body.pool
    features = torch.tensor([[-1.5, 0.0, 1e-30, 3e38, torch.inf, torch.nan, 2.0]], requires_grad=True)
    assert torch.equal(pool(features).nan_to_num(9.0), features.nan_to_num(9.0))
    pool(features).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[1.0] * 7]


@pytest.mark.parametrize(
    ("name", "width", "number", "expected"),
    [
        # 6 inputs, 8 hidden units, 4 classes: 48 + 8 and 32 + 4 numbers.
        # A p x q matrix has factors of min(p, q) * (p + q + 1) numbers: 8 x 6 has 90, 4 x 8 52, 4 x 3 24, 4 x 6 44.
        ("mlp-8", None, 4, NetBytes(weights=92 * 4, trainable=92 * 4, head=36 * 4, features=8, factors=154 * 4)),
        ("mlp-8", None, 8, NetBytes(weights=92 * 8, trainable=92 * 8, head=36 * 8, features=8, factors=154 * 8)),
        ("mlp-8", 3, 4, NetBytes(weights=72 * 4, trainable=72 * 4, head=16 * 4, features=3, factors=126 * 4)),
        ("linear", None, 4, NetBytes(weights=28 * 4, trainable=28 * 4, head=28 * 4, features=6, factors=48 * 4)),
    ],
)
def test_bytes_of_a_net(name: str, width: int | None, number: int, expected: NetBytes) -> None:
    assert net_bytes(name, (6,), 4, width, number) == expected


def test_statistics_weigh_on_the_wire_and_are_not_trained() -> None:
    # Every BatchNorm of c channels adds 2c floats of statistics and one int64 counter to its 2c parameters.
    found, floats = (net_bytes("resnet8-bn", DIGIT, 4, None, number) for number in (4, 8))
    norms = [part for part in build_net("resnet8-bn", DIGIT, 4).modules() if isinstance(part, nn.BatchNorm2d)]
    channels = sum(norm.num_features for norm in norms)
    assert found.weights - found.trainable == 2 * channels * 4 + len(norms) * 8
    assert found.norms == 4 * channels * 4 + len(norms) * 8  # scale, shift, mean, variance; a counter of 8 bytes
    assert floats.weights - floats.trainable == 2 * channels * 8 + len(norms) * 8  # counters do not follow the floats
    assert found.trainable == 4 * count_parameters(build_net("resnet8-bn", DIGIT, 4))
