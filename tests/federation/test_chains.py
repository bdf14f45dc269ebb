"""Chains of linear layers have autograd's gradients bit for bit, and nothing else is taken for one."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fl_bench.cosmos.objectives import ConsistentDistillation
from fl_bench.federation import loop
from fl_bench.federation.batches import Batch, Teaching
from fl_bench.federation.chains import chain_of
from fl_bench.federation.models.build import build_net
from fl_bench.federation.models.net import Net
from fl_bench.federation.phase import of_outputs
from fl_bench.methods.fedmd import FedMD, FedMDConfig
from fl_bench.methods.losses import cross_entropy, distillation, soft_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

NETS = ("linear", "mlp-2", "mlp-7", "mlp-200", "mlp-16x3")


def three_calls(model: Any, batch: Batch) -> Tensor:
    """Outputs of several calls, one of which nothing is learned from."""
    first, second, third = (model(scale * batch.x) for scale in (1.0, 0.5, -2.0))
    with torch.no_grad():
        apart = model(batch.x + 1)
    return (first - second).square().mean() + F.l1_loss(third, apart) + (first * model(batch.x).detach()).mean()


OBJECTIVES = {
    "cross-entropy": cross_entropy,
    "distillation": distillation,
    "soft cross-entropy": soft_cross_entropy,
    "l1": FedMD(FedMDConfig(loss="l1")).digest_objective(),
    "mse": FedMD(FedMDConfig(loss="mse", score="probabilities")).digest_objective(),
    "cosmos": ConsistentDistillation(1.0, "both", "pixel", image=True),
    "cosmos, noisy": ConsistentDistillation(0.5, "noisy_only", "research", image=False),
    "sum": lambda model, batch: model(batch.x).sum(),
    "three calls": three_calls,
    "a constant": lambda model, batch: (0 * model(batch.x).detach()).sum() + batch.x.new_ones((), requires_grad=True),
}


def batch_of(samples: int, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> Batch:
    draw = torch.Generator().manual_seed(samples)
    x, noise = (torch.randn(samples, *shape, generator=draw, dtype=dtype) for _ in range(2))
    target = torch.rand(samples, classes, generator=draw, dtype=dtype)
    labels = torch.randint(classes, (samples,), generator=draw)
    weight = torch.rand(samples, generator=draw, dtype=dtype)
    return Batch(x, labels, target=target / target.sum(1, keepdim=True), weight=weight, noise=noise)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_autograds_bit_for_bit(name: str) -> None:
    objective = OBJECTIVES[name]
    shapes: list[tuple[tuple[int, ...], int]] = [((1, 28, 28), 10), ((5,), 2)]
    for net_name, (shape, classes), dtype in product(NETS, shapes, (torch.float32, torch.float64)):
        net = build_net(net_name, shape, classes, key=3).to(dtype)
        chain = chain_of(net)
        assert chain is not None
        for samples in (1, 2, 3, 32, 33, 1):  # buffers are used again
            batch = batch_of(samples, shape, classes, dtype)
            loss = objective(net, batch)
            parameters = list(net.parameters())
            expected = torch.autograd.grad(loss, parameters, allow_unused=True)
            ours = objective(chain, batch)
            assert torch.equal(ours, loss)
            for parameter, one, other in zip(parameters, chain.gradients(ours), expected, strict=True):
                assert torch.equal(one, torch.zeros_like(parameter) if other is None else other)


@pytest.mark.parametrize("training", [{}, {"optimizer": "adam"}, {"momentum": 0.9, "weight_decay": 0.1}], ids=str)
def test_a_marked_objective_trains_the_same_bits(make_data, make_cohort, monkeypatch, training) -> None:
    data = make_data((5, 8, 3), dtype=torch.float32)
    target = torch.rand(3, 6, 3, generator=torch.Generator().manual_seed(0))

    def trained() -> tuple[list[Tensor], int]:
        chains = []
        monkeypatch.setattr(loop, "chain_of", lambda net: chains.append(chain_of(net)) or chains[-1])
        nets = [build_net("mlp-8", (4,), 3, key=key) for key in range(3)]
        cohort = make_cohort(data, nets, **{"optimizer": "sgd", **training})
        private = cohort.fit(cross_entropy, epochs=3, clip=0.5)
        public = cohort.fit(distillation, on=Teaching(data.public.inputs(), target), epochs=2)
        return [*cohort.weights.values(), private.loss, public.loss], len([one for one in chains if one is not None])

    ours, chains = trained()
    assert chains == 6  # a member each in both phases
    for objective in (cross_entropy, distillation):
        monkeypatch.setattr(objective, "of_outputs", False)
    expected, chains = trained()
    assert chains == 0
    assert all(torch.equal(one, other) for one, other in zip(ours, expected, strict=True))


def test_a_part_of_a_net_is_trained_with_a_graph(make_data, make_cohort, monkeypatch) -> None:
    monkeypatch.setattr(loop, "chain_of", lambda net: pytest.fail("a chain trains whole nets"))
    cohort = make_cohort(make_data(), [build_net("mlp-8", (4,), 3, key=key).double() for key in range(3)])
    before = cohort.weights
    cohort.fit(cross_entropy, trainable=lambda name: name.startswith("head."))
    assert torch.equal(cohort.weights["body.1.weight"], before["body.1.weight"])
    assert not torch.equal(cohort.weights["head.weight"], before["head.weight"])


class Other(Net):
    """A net of another class may do anything."""


def hooked(net: Net) -> Net:
    net.head.register_forward_hook(lambda *_: None)
    return net


def doubled(net: Net) -> Net:
    net.head.forward = lambda x: 2 * F.linear(x, net.head.weight)  # type: ignore[method-assign]
    return net


MLP = partial(build_net, "mlp-8", (4,), 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: build_net("cnn-small", (1, 8, 8), 3),
        lambda: build_net("mlp-1", (4,), 3),
        lambda: MLP(width=8),
        lambda: Other(MLP().body, MLP().head),
        lambda: nn.ModuleDict({"shared": MLP()}),
        lambda: Net(nn.Linear(4, 4), nn.Linear(4, 3)),
        lambda: Net(nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False)), nn.Linear(4, 3)),
        lambda: Net(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 3)),
        lambda: hooked(MLP()),
        lambda: doubled(MLP()),
        lambda: MLP().to("meta"),
    ],
    ids=[
        "cnn",
        "one unit",
        "pooled",
        "other class",
        "two nets",
        "not flat",
        "no bias",
        "tanh",
        "hook",
        "own forward",
        "elsewhere",
    ],
)
def test_what_is_no_chain(make) -> None:
    assert chain_of(make()) is None


def test_a_compiled_net_is_no_chain() -> None:
    net = MLP()
    net._compiled_call_impl = net.forward  # as torch.compile leaves it
    assert chain_of(net) is None


def test_inputs_with_a_gradient_are_refused() -> None:
    chain = chain_of(MLP())
    assert chain is not None
    x = torch.zeros(2, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="marked `of_outputs` calls its net on inputs that require a gradient"):
        chain(x)
    with torch.no_grad():
        assert not chain(x).requires_grad


def test_a_mark_changes_nothing_else() -> None:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.x).sum()

    assert of_outputs(objective) is objective
