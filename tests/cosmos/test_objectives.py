"""The consistency loss of COSMOS: value, gradients through each branch, noise, BatchNorm, several heads."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from fl_bench.cosmos.objectives import ConsistentDistillation, frozen_statistics, with_new_tokens
from fl_bench.federation.batches import Batch


def scalar_model(w: float) -> nn.Module:
    """Logits (w x, 0): the first class has probability sigmoid(w x)."""

    class Scalar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.w * x, torch.zeros_like(x)], dim=1)

    return Scalar()


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


X, Z, W = 0.4, -3.0, 1.5
NOISY = 0.4 - 0.1 * 3.0  # x + 2 * 0.05 * z
TARGET = torch.tensor([[0.8, 0.2]], dtype=torch.float64)


def one_batch() -> Batch:
    return Batch(
        torch.tensor([[X]], dtype=torch.float64), target=TARGET, noise=torch.tensor([[Z]], dtype=torch.float64)
    )


@pytest.mark.parametrize("weight", [3.0, 0.5])
def test_value_by_hand(weight: float) -> None:
    # KL = .8 log(.8/p) + .2 log(.2/(1-p)); both classes differ by p - p~, so L_cons = (2 (p - p~)^2) / 2 classes.
    p, noisy = sigmoid(W * X), sigmoid(W * NOISY)
    expected = 0.8 * math.log(0.8 / p) + 0.2 * math.log(0.2 / (1 - p)) + weight * (p - noisy) ** 2
    objective = ConsistentDistillation(weight, "both", "pixel", image=True)
    assert objective(scalar_model(W), one_batch()).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("grad", ["both", "noisy_only"])
def test_gradient_by_hand(grad: str) -> None:
    # d/dw KL = (p - .8) x; with s = p (1 - p), d/dw 3 (p - p~)^2 = 6 (p - p~)(s x - s~ x~), without s x if only the
    # noisy branch has a gradient.
    p, noisy = sigmoid(W * X), sigmoid(W * NOISY)
    clean_part = p * (1 - p) * X if grad == "both" else 0.0
    expected = (p - 0.8) * X + 6 * (p - noisy) * (clean_part - noisy * (1 - noisy) * NOISY)
    model = scalar_model(W)
    ConsistentDistillation(3.0, grad, "pixel", image=True)(model, one_batch()).backward()
    assert model.w.grad.item() == pytest.approx(expected, abs=1e-12)


def test_noise_stays_in_what_a_pixel_can_be() -> None:
    batch = Batch(torch.tensor([[-0.95, 0.95, 0.0]]), noise=torch.tensor([[-3.0, 3.0, 1.0]]))
    image = ConsistentDistillation(1.0, "both", "pixel", image=True)
    torch.testing.assert_close(image.noisy(batch), torch.tensor([[-1.0, 1.0, 0.1]]))
    features = ConsistentDistillation(1.0, "both", "pixel", image=False)
    torch.testing.assert_close(features.noisy(batch), torch.tensor([[-1.25, 1.25, 0.1]]))
    # The authors' code: deviation 0.05 on normalised inputs, clipped to [0, 1], so dark pixels are lost.
    research = ConsistentDistillation(1.0, "both", "research", image=True)
    torch.testing.assert_close(research.noisy(batch), torch.tensor([[0.0, 1.0, 0.05]]))


def test_a_tenth_of_the_tokens_of_a_text_is_drawn_anew() -> None:
    # Quantiles of the noise: 0.82 %, 5.48 %, 9.85 % and 10.03 %; times ten and ten tokens 0.82, 5.48, 9.85, and kept.
    text = Batch(torch.tensor([[3.0, 3.0, 3.0, 3.0]]), noise=torch.tensor([[-2.4, -1.6, -1.29, -1.28]]))
    objective = ConsistentDistillation(1.0, "both", "pixel", image=False, vocabulary=10)
    assert objective.noisy(text).tolist() == [[0.0, 5.0, 9.0, 3.0]]


def test_tokens_are_drawn_evenly_from_the_vocabulary() -> None:
    noise = torch.randn(40, 5000, generator=torch.Generator().manual_seed(1))
    found = with_new_tokens(torch.full_like(noise, 7), noise, 5)
    assert (found != 7).double().mean().item() == pytest.approx(0.1, abs=0.003)
    counts = torch.bincount(found[found != 7].long(), minlength=5)
    assert len(counts) == 5
    assert (counts / counts.sum()).sub(0.2).abs().max() < 0.012


def test_several_heads_sum_and_only_active_ones_count() -> None:
    logits = nn.Parameter(torch.randn(5, 3, 4, dtype=torch.float64))
    target = torch.randn(5, 3, 4, dtype=torch.float64).softmax(dim=2)
    model = nn.Module()
    model.forward = lambda _: logits  # type: ignore[method-assign]
    batch = Batch(torch.zeros(5, 2), target=target)
    every = ConsistentDistillation(0.0, "both", "pixel", image=False)
    one_by_one = [
        nn.functional.kl_div(logits[:, k].log_softmax(1), target[:, k], reduction="batchmean") for k in range(3)
    ]
    torch.testing.assert_close(every(model, batch), sum(one_by_one))
    some = ConsistentDistillation(0.0, "both", "pixel", image=False, active=(0, 2))
    torch.testing.assert_close(some(model, batch), one_by_one[0] + one_by_one[2])


def test_noisy_pass_leaves_running_statistics_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with frozen_statistics(net):
        net(torch.randn(8, 2))
    assert all(bool((buffer == before[name]).all()) for name, buffer in net.named_buffers())
    net(torch.randn(8, 2))
    assert not all(bool((buffer == before[name]).all()) for name, buffer in net.named_buffers())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.Dropout(0.0)])
def test_the_noisy_copy_is_no_part_of_the_batch(norm: nn.Module) -> None:
    # The loss as the paper writes it, f on the batch and f on its noisy copy, each a batch of its own: a net with
    # BatchNorm sees two, and learns its running statistics from the first alone.
    net = nn.Sequential(nn.Linear(2, 3), norm, nn.Linear(3, 4)).double().train()
    x, noise = torch.randn(2, 8, 2, dtype=torch.float64)
    target = torch.randn(8, 4, dtype=torch.float64).softmax(dim=1)
    copied = copy.deepcopy(net)
    clean, noisy = copied(x), copied(x + 0.1 * noise)
    expected = nn.functional.kl_div(clean.log_softmax(1), target, reduction="batchmean")
    expected = expected + 2.0 * nn.functional.mse_loss(noisy.softmax(1), clean.softmax(1))
    objective = ConsistentDistillation(2.0, "both", "pixel", image=False)
    torch.testing.assert_close(objective(net, Batch(x, target=target, noise=noise)), expected)
    if isinstance(norm, nn.BatchNorm1d):
        assert norm.running_mean is not None
        torch.testing.assert_close(norm.running_mean, 0.1 * net[0](x).mean(dim=0))
