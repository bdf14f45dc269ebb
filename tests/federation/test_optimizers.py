"""Update rules against torch.optim, and clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.federation.optimizers import Optimizer, clip_gradients

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = ((3, 2), (4,))


def draw(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def run(optimizer: Optimizer, steps: int) -> list[Tensor]:
    parameters = draw(0)
    moments = [[torch.zeros(shape) for shape in SHAPES] for _ in optimizer.slots]
    counters = [torch.zeros(()) for _ in SHAPES]
    for step in range(steps):
        optimizer.step(parameters, draw(1 + step), moments, counters)
    return parameters


def reference(kind: type[torch.optim.Optimizer], steps: int, **settings: Any) -> list[Tensor]:
    parameters = [tensor.requires_grad_() for tensor in draw(0)]
    optimizer = kind(parameters, fused=True, **settings)
    for step in range(steps):
        for parameter, gradient in zip(parameters, draw(1 + step), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return parameters


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(momentum: float, weight_decay: float) -> None:
    ours = run(Optimizer("sgd", 0.1, momentum, weight_decay), steps=5)
    for one, other in zip(
        ours, reference(torch.optim.SGD, 5, lr=0.1, momentum=momentum, weight_decay=weight_decay), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adam_is_torchs(weight_decay: float) -> None:
    ours = run(Optimizer("adam", 0.1, weight_decay=weight_decay), steps=5)
    for one, other in zip(ours, reference(torch.optim.Adam, 5, lr=0.1, weight_decay=weight_decay), strict=True):
        assert torch.equal(one, other)


def test_first_steps_by_hand() -> None:
    # SGD, momentum 0.5, decay 0.1, lr 0.2, from w = 1 with gradient 2 twice:
    #   g = 2 + 0.1*1 = 2.1,  m = 2.1,              w = 1 - 0.42 = 0.58
    #   g = 2 + 0.058 = 2.058, m = 1.05 + 2.058 = 3.108, w = 0.58 - 0.6216 = -0.0416
    w, momentum = torch.tensor([1.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for expected in (0.58, -0.0416):
        gradient = torch.tensor([2.0], dtype=torch.float64)
        Optimizer("sgd", 0.2, 0.5, 0.1).step([w], [gradient], [[momentum]], [torch.zeros(())])
        assert w.item() == pytest.approx(expected, abs=1e-12)
    # Adam's first step is lr * sign(gradient): m / (1 - 0.9) = g and v / (1 - 0.999) = g^2.
    w, moments = torch.tensor([1.0, 1.0], dtype=torch.float64), [[torch.zeros(2, dtype=torch.float64)] for _ in "mv"]
    Optimizer("adam", 0.2).step([w], [torch.tensor([3.0, -0.5], dtype=torch.float64)], moments, [torch.zeros(())])
    assert w.tolist() == pytest.approx([0.8, 1.2], abs=1e-7)


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (Optimizer("adam", 0.1), ("exp_avg", "exp_avg_sq")),
        (Optimizer("sgd", 0.1, 0.9), ("momentum",)),
        (Optimizer("sgd", 0.1), ()),
    ],
)
def test_slots_are_what_a_rule_keeps(optimizer: Optimizer, slots: tuple[str, ...]) -> None:
    assert optimizer.slots == slots


def test_clipping_scales_all_tensors_by_the_joint_norm() -> None:
    # The joint norm of (3, 0) and (4) is 5: clipped to 1, every number is divided by 5.
    gradients = [torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)]
    clip_gradients(gradients, 1.0)
    assert gradients[0].tolist() == pytest.approx([0.6, 0.0], abs=1e-6)
    assert gradients[1].tolist() == pytest.approx([0.8], abs=1e-6)


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=6),
    largest=st.floats(0.01, 50),
)
def test_clipping_never_leaves_more_and_never_touches_less(values: list[float], largest: float) -> None:
    before = torch.tensor(values, dtype=torch.float64)
    after = before.clone()
    clip_gradients([after], largest)
    assert after.norm() <= largest * (1 + 1e-9)
    if before.norm() < largest - 1e-6:
        assert torch.equal(before, after)
    else:  # the direction stays
        assert torch.allclose(after * before.norm(), before * after.norm(), atol=1e-6)


def test_a_cosine_falls_from_the_rate_to_nothing() -> None:
    # lr/2 * (1 + cos(pi s / 4)) with lr = 0.2: cos is 1, 1/sqrt 2, 0, -1/sqrt 2 for steps 0 to 3.
    falling = Optimizer("sgd", 0.2, 0.9, 0.1, schedule="cosine")
    rates = [falling.at(step, 4).lr for step in range(4)]
    assert rates == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5)], abs=1e-12)
    third = falling.at(2, 4)
    assert (third.rule, third.momentum, third.weight_decay) == ("sgd", 0.9, 0.1)
    constant = Optimizer("adam", 0.2)
    assert constant.at(3, 4) is constant


@given(steps=st.integers(1, 50), lr=st.floats(1e-6, 10))
def test_a_cosine_only_falls_and_never_below_nothing(steps: int, lr: float) -> None:
    falling = Optimizer("adam", lr, schedule="cosine")
    rates = [falling.at(step, steps).lr for step in range(steps)]
    assert rates[0] == lr
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0
