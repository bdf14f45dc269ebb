"""torchvision's nets fed with enlarged images: what they see, how many numbers they have; both engines agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from fl_bench.errors import ConfigError
from fl_bench.federation.models import build_net, check_model, count_parameters, fitting
from fl_bench.federation.models.dropout import with_counted_dropout
from fl_bench.federation.models.resize import Enlarge

if TYPE_CHECKING:
    from fl_bench.federation.batches import Batch
    from fl_bench.federation.models.net import Net

GREY, COLOUR = (1, 32, 32), (3, 32, 32)
NAMES = [name for name in fitting(COLOUR) if name.endswith("@224")]


def outline(name: str, classes: int) -> Net:
    with torch.device("meta"):
        return build_net(name, COLOUR, classes)


def test_images_by_hand() -> None:
    # Two pixels side by side, 0 and 1, on 224: centres of the wide pixels lie at 55.5 and 167.5, so that columns up to
    # 55 keep 0, columns from 168 keep 1, and between them values rise by 1/112 a column: column 56 is 0.5 / 112.
    image = torch.tensor([[[[0.0, 1.0]]]])
    enlarged = Enlarge()(image)
    assert enlarged.shape == (1, 3, 224, 224)
    row = enlarged[0, 2, 100]
    assert row[:56].tolist() == [0.0] * 56
    assert row[168:].tolist() == [1.0] * 56
    assert row[[56, 57, 111, 112]].tolist() == pytest.approx([0.5 / 112, 1.5 / 112, 55.5 / 112, 56.5 / 112], abs=1e-6)
    assert torch.equal(enlarged[0, 0], enlarged[0, 1])


def test_colours_stay_apart() -> None:
    image = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 5, 4)
    enlarged = Enlarge()(image)
    torch.testing.assert_close(enlarged, torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand_as(enlarged))


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # methods.md 4.2 and 4.3, which count the authors' extra linear layer of C^2 + C in
        ("vgg16@224", 10, 134_301_624 - 110),
        ("vgg16@224", 100, 134_680_344 - 10_100),
        ("vgg16@224", 200, 135_120_144 - 40_200),
        ("resnet18@224", 10, 11_181_752 - 110),
        ("resnet18-bn@224", 10, 11_181_752 - 110),
        ("mobilenetv2@224", 100, 2_362_072 - 10_100),
        ("mobilenetv2-bn@224", 100, 2_362_072 - 10_100),
        ("squeezenet@224", 10, 727_736 - 110),
        ("squeezenet@224", 200, 865_296 - 40_200),
        ("alexnet@224", 10, 57_044_810),
        ("alexnet@224", 100, 57_413_540),
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int) -> None:
    assert count_parameters(outline(name, classes)) == parameters


def test_the_panel() -> None:
    nets = ["alexnet", "mobilenetv2", "mobilenetv2-bn", "resnet18", "resnet18-bn", "squeezenet", "vgg16"]
    assert set(NAMES) == {f"{net}@224" for net in nets}
    assert set(NAMES) <= set(fitting((1, 1, 1)))


@pytest.mark.parametrize("shape", [(2, 32, 32), (32,)])
def test_other_samples_are_refused_before_anything_is_built(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"at least 1x1, 1 or 3 channels, and the samples have shape.*these fit: "):
        check_model("resnet18@224", shape)


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_is_in_the_head_alone(name: str) -> None:
    net = outline(name, 7)
    assert [key for key, _ in net.named_parameters() if not key.startswith("body.")] == ["head.weight", "head.bias"]
    assert not any(isinstance(layer, nn.Linear) and layer.out_features == 7 for layer in net.body.modules())
    kinds = {type(layer) for layer in net.modules()} & {nn.GroupNorm, nn.BatchNorm2d}
    normalised = name.startswith(("resnet", "mobilenet"))
    assert kinds == ({nn.BatchNorm2d if "-bn" in name else nn.GroupNorm} if normalised else set())


@pytest.mark.parametrize("name", ["resnet18-bn@224", "mobilenetv2@224", "squeezenet@224"])
def test_the_key_alone_decides_the_weights(name: str) -> None:
    def weights(key: int | None) -> torch.Tensor:
        return torch.cat([value.flatten() for value in build_net(name, COLOUR, 10, key=key).state_dict().values()])

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(weights(7), first)
    assert not torch.equal(weights(8), first)


def published(name: str) -> nn.Module:
    """torchvision's net with the weights of ours."""
    net = build_net(f"{name}@224", COLOUR, 4, key=3)
    builders = {"resnet18-bn": "resnet18", "squeezenet": "squeezenet1_1", "vgg16": "vgg16", "alexnet": "alexnet"}
    theirs = getattr(torchvision.models, builders[name])(weights=None, num_classes=4)
    head = {"resnet18-bn": "fc", "squeezenet": "classifier.1"}.get(name, "classifier.6")
    state = {key.removeprefix("body.net."): value for key, value in net.state_dict().items() if key.startswith("body.")}
    like = theirs.get_parameter(f"{head}.weight")
    state |= {f"{head}.weight": net.head.weight.reshape(like.shape), f"{head}.bias": net.head.bias}
    theirs.load_state_dict(state)
    if name == "squeezenet":
        theirs.classifier[2] = nn.Identity()  # its ReLU, which forbids negative logits
    return nn.ModuleList([net, theirs]).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18-bn", "squeezenet", "alexnet", "vgg16"])
def test_an_enlarged_batch_is_torchvisions_on_enlarged_images(name: str) -> None:
    ours, theirs = published(name).children()
    x = torch.randn(2, *COLOUR, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = ours(x)
        torch.testing.assert_close(logits, theirs(F.interpolate(x, 224, mode="bilinear")), rtol=1e-4, atol=1e-5)
    assert not torch.equal(logits[0], logits[1])


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("squeezenet@224", GREY), ("vgg16-plain", COLOUR)])
def test_both_engines_train_on_a_batch_and_predict_alike(
    make_data: Any, make_cohort: Any, name: str, shape: tuple[int, ...]
) -> None:
    data = make_data((2, 3), shape=shape, public=2)
    cohorts = []
    for engine in ("loop", "stacked"):
        nets = [with_counted_dropout(build_net(name, shape, 3, key=key)).double() for key in (0, 1)]
        cohorts.append(make_cohort(data, nets, engine=engine, batch_size=2, lr=0.01, optimizer="sgd", momentum=0.0))
    looped, stacked = cohorts
    before = looped.weights
    logs = [cohort.fit(cross_entropy, batches=1) for cohort in cohorts]
    torch.testing.assert_close(logs[1].loss, logs[0].loss, rtol=0, atol=1e-9)
    for key, tensor in looped.weights.items():
        torch.testing.assert_close(stacked.weights[key], tensor, rtol=0, atol=1e-9)
    assert any(not torch.equal(tensor, before[key]) for key, tensor in looped.weights.items())
    public = data.public.inputs()
    torch.testing.assert_close(stacked.predict(public), looped.predict(public), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_one_enlarged_batch_trains_the_servers_net() -> None:
    net = build_net("vgg16@224", GREY, 47, key=1)
    x = torch.randn(2, *GREY, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of its dropout
        loss = F.cross_entropy(net.train()(x), torch.tensor([3, 40]))
    loss.backward()
    assert loss.item() == pytest.approx(3.85, abs=0.3)  # ln 47: a new net knows nothing
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.get_parameter("body.net.features.0.weight").grad.abs().max() > 0  # type: ignore[union-attr]
