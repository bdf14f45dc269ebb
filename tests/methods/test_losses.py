"""Shared losses: reductions by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fl_bench.methods.averaging import weighted_mean
from fl_bench.methods.losses import imitation, kl_divergence


def test_kl_is_summed_over_classes_and_averaged_over_samples() -> None:
    # Student uniform over 2 classes: KL(q || u) = log 2 - H(q); H(.9, .1) = .325083, H(1, 0) = 0.
    target = torch.tensor([[0.9, 0.1], [1.0, 0.0]])
    expected = ((math.log(2) - 0.325083) + math.log(2)) / 2
    assert kl_divergence(target, torch.zeros(2, 2)).item() == pytest.approx(expected, abs=1e-6)


def test_weights_scale_samples_and_the_sum_is_still_divided_by_their_number() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = kl_divergence(target, torch.zeros(2, 2), torch.tensor([3.0, 0.0]))
    assert loss.item() == pytest.approx(3 * math.log(2) / 2, abs=1e-6)


def test_weighted_mean_by_hand_and_counters_from_the_first_client() -> None:
    tree = {"w": torch.tensor([[1.0, -2.0], [3.0, 2.0]]), "seen": torch.tensor([5, 9])}
    mean = weighted_mean(tree, torch.tensor([0.25, 0.75]))
    assert mean["w"].tolist() == [[2.5, 1.0]]
    assert mean["seen"].tolist() == [5]


def test_imitation_is_tempered_and_trains_the_student_alone() -> None:
    # Logits (2 log 3, 0) at tau = 2 are (log 3, 0), so the teacher says (3/4, 1/4); the student is uniform:
    # KL = log 2 - H(3/4, 1/4) = .693147 - .562335 = .130812, times tau^2 = 4. Its gradient is
    # tau^2 * (p - q) / tau = 2 * (1/2 - 3/4, 1/2 - 1/4) = (-1/2, 1/2), and the teacher has none.
    teacher = torch.tensor([[2 * math.log(3), 0.0]], requires_grad=True)
    student = torch.zeros(1, 2, requires_grad=True)
    loss = imitation(student, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * 0.130812, abs=1e-5)
    loss.backward()
    assert student.grad.flatten().tolist() == pytest.approx([-0.5, 0.5], abs=1e-6)
    assert teacher.grad is None
