"""The shared pieces of prototype methods, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fl_bench.federation.batches import Batch
from fl_bench.federation.models.net import Net
from fl_bench.federation.payloads import Prototypes
from fl_bench.federation.rounds import Round
from fl_bench.methods.distances import between
from fl_bench.methods.prototype_nets import NearestPrototype, TrainablePrototypes
from fl_bench.methods.prototypes import (
    class_means,
    labelled_features,
    near_prototypes,
    nearest_prototype,
    no_prototypes,
)

UPLOADED = Prototypes(
    torch.tensor([[[2.0, -1.0], [0.0, 4.0], [9.0, 9.0]], [[-4.0, 3.0], [9.0, 9.0], [9.0, 9.0]]]),
    torch.tensor([[True, True, False], [True, False, False]]),
)
"""Two clients, three classes, two features; 9 stands where nothing was sent."""


def test_means_are_over_the_clients_that_have_a_class() -> None:
    means = class_means(UPLOADED)
    assert means.values.tolist() == [[[-1.0, 1.0], [0.0, 4.0], [0.0, 0.0]]]
    assert means.present.tolist() == [[True, True, False]]


def test_means_by_counts() -> None:
    # class 0: (1 * (2, -1) + 3 * (-4, 3)) / 4 = (-2.5, 2); what a client did not send counts nothing, and eighths of
    # all counts, whose sum for class 0 is below 1, are the same ratios
    for scale in (1.0, 0.125):
        means = class_means(UPLOADED, scale * torch.tensor([[1.0, 5.0, 0.0], [3.0, 2.0, 0.0]]))
        assert means.values.tolist() == [[[-2.5, 2.0], [0.0, 4.0], [0.0, 0.0]]]
        assert means.present.tolist() == [[True, True, False]]


def test_pairs_stand_in_the_order_of_identities() -> None:
    features, classes = labelled_features(UPLOADED, [7, 3])
    assert features.tolist() == [[-4.0, 3.0], [2.0, -1.0], [0.0, 4.0]]
    assert classes.tolist() == [0, 0, 1]


def test_the_pull_is_a_mean_over_the_batch_and_the_coordinates() -> None:
    # A head of zeros: CE = ln 2. z = (1, 2) is (1, 2) - (0, 4) = (1, -2) away from its prototype, z = (3, 0) has none:
    # MSE = (1 + 4) / (2 samples * 2 coordinates) = 1.25. Slope in z: 2 * (1, -2) / 4 = (0.5, -1) and 0.
    net = Net(nn.Identity(), nn.Linear(2, 2))
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    told = {"prototypes": torch.tensor([[0.0, 4.0], [9.0, 9.0]]), "present": torch.tensor([True, False])}
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    loss = near_prototypes(0.1)(net, Batch(x, torch.tensor([0, 1]), extra=told))
    assert loss.item() == pytest.approx(math.log(2) + 0.125)
    loss.backward()
    assert x.grad.flatten().tolist() == pytest.approx([0.05, -0.1, 0.0, 0.0])


def test_distances_have_a_slope_at_zero() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    found = between(features, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    assert found.detach().numpy() == pytest.approx(np.array([[5.0, 4.0], [1e-6, 3.0]]))
    found.sum().backward()
    assert features.grad.isfinite().all()


def test_a_class_without_prototype_is_farther_than_the_farthest() -> None:
    prototypes = Prototypes(torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]]), torch.tensor([[True, True, False]]))
    logits = NearestPrototype(nn.Identity(), prototypes)(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    assert logits.numpy() == pytest.approx(np.array([[-1e-6, -5.0, -6.0], [-3.0, -4.0, -5.0]]))
    unknown = Prototypes(prototypes.values, torch.zeros(1, 3, dtype=torch.bool))
    assert NearestPrototype(nn.Identity(), unknown)(torch.zeros(1, 2)).tolist() == [[-1.0, -1.0, -1.0]]


def test_every_client_classifies_with_its_own_body(deep_world, two_layers) -> None:
    run = deep_world.run("local")
    clients = run.client_cohort("mlp-4", range(3), Round(0, 0, run.federation))
    g = np.arange(12.0).reshape(3, 4) / 10
    prototypes = Prototypes(torch.from_numpy(g)[None], torch.tensor([[True, False, True]]))
    deployed = nearest_prototype(clients, prototypes)
    assert deployed.index == (0, 1, 2)
    x = deep_world.public
    for member, net in enumerate(two_layers(run)):
        expected = -np.linalg.norm(net.features(x)[:, None] - g, axis=2)
        found = deployed.logits(member, torch.from_numpy(x)).detach().numpy()
        assert found[:, [0, 2]] == pytest.approx(expected[:, [0, 2]], abs=1e-12)


def test_before_the_first_round_no_class_has_a_prototype(deep_world) -> None:
    nothing = no_prototypes(deep_world.build("local").federation)
    assert nothing.values.shape == (1, 3, 4)
    assert nothing.present.shape == (1, 3)
    assert nothing.values.dtype == torch.float64
    assert not nothing.values.any()
    assert not nothing.present.any()


def test_the_generator_is_drawn_from_its_key_alone() -> None:
    torch.manual_seed(1)
    first = TrainablePrototypes(3, 4, key=5)
    state = torch.random.get_rng_state()
    again, other = TrainablePrototypes(3, 4, key=5), TrainablePrototypes(3, 4, key=6)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
