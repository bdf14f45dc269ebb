"""Shared losses: reductions by hand, gradients, and stacked models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, vmap

from fl_bench.federation.batches import Batch
from fl_bench.methods.losses import (
    cross_entropy,
    distillation,
    imitation,
    inner_product,
    kl_divergence,
    soft_cross_entropy,
    squared_distance,
    told_cross_entropy,
)

if TYPE_CHECKING:
    from torch import Tensor

LOG2, LOG3 = math.log(2), math.log(3)
LOGITS = torch.tensor([[0.0, 0.0], [0.0, LOG3]], dtype=torch.float64)
"""Probabilities (1/2, 1/2) and (1/4, 3/4)."""


def two(first: list[float], second: list[float]) -> Tensor:
    return torch.tensor([first, second], dtype=torch.float64)


def test_kl_is_summed_over_classes_and_averaged_over_samples() -> None:
    # Student uniform over 2 classes: KL(q || u) = log 2 - H(q); H(.9, .1) = .325083, H(1, 0) = 0.
    target = torch.tensor([[0.9, 0.1], [1.0, 0.0]])
    expected = ((LOG2 - 0.325083) + LOG2) / 2
    assert kl_divergence(target, torch.zeros(2, 2)).item() == pytest.approx(expected, abs=1e-6)


def test_weights_scale_samples_and_the_sum_is_still_divided_by_their_number() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = kl_divergence(target, torch.zeros(2, 2), torch.tensor([3.0, 0.0]))
    assert loss.item() == pytest.approx(3 * LOG2 / 2, abs=1e-6)


@given(logits=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_kl_is_nothing_for_ones_own_predictions_and_positive_for_others(logits: list[float]) -> None:
    z = torch.tensor([logits], dtype=torch.float64)
    assert kl_divergence(z.softmax(dim=1), z).item() == pytest.approx(0, abs=1e-12)
    assert kl_divergence(torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64), z).item() >= -1e-12


def test_cross_entropies_by_hand() -> None:
    # -log of the probability of the label: log 2 for sample 0, log 4 or log 4/3 for class 0 or 1 of sample 1.
    private = Batch(LOGITS, y=torch.tensor([1, 0]))
    told = Batch(LOGITS, target=torch.tensor([0, 1]))
    assert cross_entropy(nn.Identity(), private).item() == pytest.approx((LOG2 + math.log(4)) / 2)
    assert told_cross_entropy(nn.Identity(), told).item() == pytest.approx((LOG2 + math.log(4 / 3)) / 2)
    # Soft targets (1, 0) and (1/2, 1/2): log 2, and (log 4 + log 4/3) / 2.
    soft = Batch(LOGITS, target=two([1.0, 0.0], [0.5, 0.5]))
    expected = (LOG2 + (math.log(4) + math.log(4 / 3)) / 2) / 2
    assert soft_cross_entropy(nn.Identity(), soft).item() == pytest.approx(expected)


def test_distillation_is_kl_with_the_batchs_weights() -> None:
    # One-hot targets on class 1: KL is log 2 and log 4/3; weights 3 and 1, divided by the two samples.
    target = two([0.0, 1.0], [0.0, 1.0])
    assert distillation(nn.Identity(), Batch(LOGITS, target=target)).item() == pytest.approx(
        (LOG2 + math.log(4 / 3)) / 2
    )
    weighted = Batch(LOGITS, target=target, weight=torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert distillation(nn.Identity(), weighted).item() == pytest.approx((3 * LOG2 + math.log(4 / 3)) / 2)


def test_soft_cross_entropy_has_the_gradient_of_kl() -> None:
    target = two([0.9, 0.1], [0.3, 0.7])
    gradients = []
    for loss in (soft_cross_entropy, distillation):
        logits = LOGITS.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(nn.Identity(), Batch(logits, target=target)), logits)[0])
    # d/dz of both is (p - target) / 2 samples.
    torch.testing.assert_close(gradients[0], (LOGITS.softmax(dim=1) - target) / 2)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_imitation_by_hand() -> None:
    # At tau = 2 the logits (0, 2 log 3) of the teacher become (1/4, 3/4), and those of the student stay (1/2, 1/2):
    # KL = 1/4 log(1/2) + 3/4 log(3/2), times tau^2 = 4.
    teacher, student = torch.tensor([[0.0, 2 * LOG3]]), torch.zeros(1, 2)
    expected = 4 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert imitation(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-6)
    plain = kl_divergence(teacher.softmax(dim=1), student)
    assert imitation(student, teacher).item() == pytest.approx(plain.item(), abs=1e-7)


def test_only_the_student_imitates() -> None:
    student, teacher = (torch.tensor([[value, 0.0]], requires_grad=True) for value in (1.0, -1.0))
    found = torch.autograd.grad(imitation(student, teacher, 3.0), [student, teacher], allow_unused=True)
    assert found[0].abs().sum() > 0
    assert found[1] is None


def linear() -> nn.Linear:
    module = nn.Linear(2, 1)
    module.weight.data, module.bias.data = torch.tensor([[1.0, -2.0]]), torch.tensor([3.0])
    return module


def test_squared_distance_by_hand() -> None:
    # (1 - 2)^2 + (-2 - 1)^2 + (3 - 5)^2 = 14, its gradient 2 (theta - anchor); names that are left out do not count.
    module = linear()
    anchor = {"weight": torch.tensor([[2.0, 1.0]]), "bias": torch.tensor([5.0])}
    loss = squared_distance(module, anchor)
    assert loss.item() == 14
    weight, bias = torch.autograd.grad(loss, list(module.parameters()))
    assert (weight.tolist(), bias.tolist()) == ([[-2.0, -6.0]], [-4.0])
    assert squared_distance(module, {"bias": anchor["bias"]}).item() == 4


def test_inner_product_by_hand() -> None:
    # 1*5 + (-2)*7 + 3*(-1) = -12; its gradient is the direction.
    module = linear()
    direction = {"weight": torch.tensor([[5.0, 7.0]]), "bias": torch.tensor([-1.0])}
    product = inner_product(module, direction)
    assert product.item() == -12
    found = torch.autograd.grad(product, list(module.parameters()))
    assert [gradient.tolist() for gradient in found] == [[[5.0, 7.0]], [-1.0]]
    assert inner_product(module, {"bias": torch.tensor([-1.0])}).item() == -3


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (cross_entropy, "labels"),
        (told_cross_entropy, "told labels"),
        (distillation, "probabilities"),
        (soft_cross_entropy, "probabilities"),
        (lambda model, batch: squared_distance(model, batch.extra["tree"]), "tree"),
        (lambda model, batch: inner_product(model, batch.extra["tree"]), "tree"),
        (lambda model, batch: imitation(model(batch.x), batch.target, 2.0), "probabilities"),
    ],
)
def test_losses_of_stacked_models_are_those_of_each(loss, kind: str) -> None:
    # An engine may train members together: the same numbers under torch.func.vmap.
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    module = nn.Linear(4, 3).double()
    weights = {"weight": draw(2, 3, 4), "bias": draw(2, 3)}
    tree = {"weight": draw(2, 3, 4), "bias": draw(2, 3)}
    x, soft = draw(2, 5, 4), draw(2, 5, 3).softmax(dim=2)
    hard = torch.randint(0, 3, (2, 5), generator=generator)

    def of(own: dict[str, Tensor], x: Tensor, hard: Tensor, soft: Tensor, tree: dict[str, Tensor]) -> Tensor:
        batch = Batch(x, y=hard, target=hard if kind == "told labels" else soft, extra={"tree": tree})

        class Bound(nn.Module):
            """The linear module with these weights."""

            def forward(self, x: Tensor) -> Tensor:
                return functional_call(module, own, (x,))

            def named_parameters(self, *_: object, **__: object):  # type: ignore[no-untyped-def]
                return iter(own.items())

        return loss(Bound(), batch)  # type: ignore[no-any-return]

    together = vmap(of)(weights, x, hard, soft, tree)
    for row in range(2):
        alone = of(
            {name: tensor[row] for name, tensor in weights.items()},
            x[row],
            hard[row],
            soft[row],
            {name: tensor[row] for name, tensor in tree.items()},
        )
        torch.testing.assert_close(together[row], alone)
