"""What docs/method-interface.md says of objectives: what gives the same numbers in both engines, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, hessian, jvp, vmap

from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.manual.page import PAGE
from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Pairs
from fl_bench.federation.models import model as register_model
from fl_bench.federation.settings import ModelMix
from fl_bench.methods.base import Method, NoSettings
from fl_bench.methods.contract import TRAINING, deal, finish, made_up_data, make_run
from fl_bench.methods.losses import cross_entropy, inner_product
from fl_bench.methods.registry import method

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from fl_bench.federation.batches import Batch

SGD = replace(TRAINING, precision="float64", optimizer="sgd", lr=0.05)


def weights_of(model: Any) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def loss_with(model: Any, weights: dict[str, Tensor], batch: Batch) -> Tensor:
    statistics = {name: tensor.clone() for name, tensor in model.named_buffers()}
    return F.cross_entropy(functional_call(model, {**weights, **statistics}, (batch.x,)), batch.y)


def after_a_step(model: Any, batch: Batch) -> Tensor:
    weights = weights_of(model)
    slopes = grad(lambda weights: loss_with(model, weights, batch))(weights)
    moved = {name: weights[name] - 0.1 * slopes[name] for name in weights}
    return F.cross_entropy(functional_call(model, moved, (batch.second.x,)), batch.second.y)


def after_a_fixed_step(model: Any, batch: Batch) -> Tensor:
    weights = weights_of(model)
    slopes = grad(lambda weights: loss_with(model, weights, batch))(weights)
    moved = {name: weights[name] - 0.1 * slopes[name].detach() for name in weights}
    return F.cross_entropy(functional_call(model, moved, (batch.second.x,)), batch.second.y)


def where(model: Any, batch: Batch) -> Tensor:
    loss = cross_entropy(model, batch)
    return torch.where(loss > 1, 2 * loss, loss)


def masked(model: Any, batch: Batch) -> Tensor:
    mask = (batch.y > 1).to(batch.x)
    return (mask * F.cross_entropy(model(batch.x), batch.y, reduction="none")).sum() / mask.sum().clamp_min(1)


def parts(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model.head(model.body(batch.x)), batch.y)


def adversarial(model: Any, batch: Batch) -> Tensor:
    slope = grad(lambda x: F.cross_entropy(functional_call(model.eval(), weights_of(model), (x,)), batch.y))(batch.x)
    return F.cross_entropy(model.train()(batch.x + 0.1 * slope.sign()), batch.y)


def directional(model: Any, batch: Batch) -> Tensor:
    _, change = jvp(model.eval(), (batch.x,), (batch.noise,))
    return cross_entropy(model, batch) + change.square().mean()


def curved(model: Any, batch: Batch) -> Tensor:
    z = model.body(batch.x)
    matrix = hessian(lambda bias: F.cross_entropy(z @ model.head.weight.T + bias, batch.y))(model.head.bias)
    return cross_entropy(model, batch) + matrix.diagonal().sum()


def constants(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        target = model(batch.x).softmax(dim=-1)
    return F.cross_entropy(model(batch.x + 0.1 * batch.noise), target)


def own_tensors_in_place(model: Any, batch: Batch) -> Tensor:
    return F.nll_loss(model(batch.x).softmax(dim=-1).clone().mul_(0.5).log(), batch.y)


def clipped_by_sample(model: Any, batch: Batch) -> Tensor:
    def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    slopes = vmap(grad(one), in_dims=(None, 0, 0))(weights_of(model), batch.x, batch.y)
    norms = torch.stack([slope.flatten(1).norm(dim=1) for slope in slopes.values()]).norm(dim=0)
    scales = (0.5 / norms).clamp_max(1.0)
    clipped = {n: (s * scales.view(-1, *[1] * (s.dim() - 1))).mean(dim=0).detach() for n, s in slopes.items()}
    return inner_product(model, clipped)


BOTH = (
    *(after_a_step, after_a_fixed_step, where, masked, parts, adversarial, directional, curved, constants),
    *(own_tensors_in_place, clipped_by_sample),
)
NOT_WITH_BATCHNORM = (after_a_step, clipped_by_sample)
"""A gradient through a gradient, and samples one by one, do not go with BatchNorm in training mode."""

NETS = ("mlp-8", "tiny-bn", "tiny-dropout")
CASES = [(rule, net) for rule in BOTH for net in NETS if net != "tiny-bn" or rule not in NOT_WITH_BATCHNORM]


def numbers(model: Any, batch: Batch) -> Tensor:
    loss = cross_entropy(model, batch)
    return loss * 2 if loss > 1 else loss


def selected(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.x)[batch.y > 1], batch.y[batch.y > 1])


def random(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.x + torch.randn_like(batch.x)), batch.y)


def autograd(model: Any, batch: Batch) -> Tensor:
    weights = list(weights_of(model).values())
    slopes = torch.autograd.grad(cross_entropy(model, batch), weights, create_graph=True)
    return torch.stack([slope.square().sum() for slope in slopes]).sum()


@pytest.fixture
def nets() -> None:
    """Two small nets that the zoo has no match for: one with BatchNorm, one with dropout."""

    @register_model("tiny-bn", summary="a layer and BatchNorm", min_side=None, example="tiny-bn")
    def tiny_bn(shape: tuple[int, ...], classes: int) -> tuple[nn.Module, nn.Linear]:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.ReLU()), nn.Linear(8, classes)

    @register_model("tiny-dropout", summary="a layer and dropout", min_side=None, example="tiny-dropout")
    def tiny_dropout(shape: tuple[int, ...], classes: int) -> tuple[nn.Module, nn.Linear]:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], 8), nn.ReLU(), nn.Dropout(0.5)), nn.Linear(8, classes)


def trained(objective: Any, net: str, engine: Any) -> dict[str, Tensor]:
    """Weights after two rounds of clients that descend the objective."""

    class Descends(Method[NoSettings]):
        """Clients descend an objective."""

        def client_update(self, clients: Any, received: Any, rnd: Any) -> None:
            clients.fit(objective, on=Pairs(), noise=True)

    name = f"descends-{objective.__name__}-{engine}".replace("_", "-")
    method(name)(Descends)
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), replace(SGD, engine=engine, rounds=2), models=ModelMix((net,)))
    return finish(run).weights


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # torch's own, at the first jvp
@pytest.mark.parametrize(("objective", "net"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_both_engines_give_the_same_numbers(nets: None, objective: Any, net: str) -> None:
    one, other = (trained(objective, net, engine) for engine in ("loop", "stacked"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("objective", "advice"),
    [
        (numbers, "torch.where"),
        (selected, "torch.where"),
        (random, "fit\\(noise=True\\)"),
        (autograd, "torch.func.grad"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_stacked_refuses_with_advice(objective: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        trained(objective, "mlp-8", "stacked")


def test_the_guides_per_fedavg_is_the_same_in_both_engines(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = [block for block in blocks if block.startswith('"""Per-FedAvg')]
    file = tmp_path / "per_fedavg.py"
    file.write_text(shown, encoding="utf-8")
    load_plugins([str(file)])
    dataset = made_up_data()
    one, other = (
        finish(make_run("per-fedavg", dataset, deal(dataset), replace(SGD, engine=engine))).weights
        for engine in ("loop", "stacked")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-12)
