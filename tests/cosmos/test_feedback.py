"""`fl_bench.cosmos.feedback`: mixtures by hand and at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fl_bench.cosmos.feedback import soft_mix
from fl_bench.errors import ConfigError


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).dirichlet(np.ones(3), shape))


def test_one_cluster_model_is_passed_on_unchanged() -> None:
    server = draw(2, 1, 6).float()
    assert torch.equal(soft_mix(server, torch.tensor([[0.3], [7.0]]), 0.5), server.expand(2, -1, -1))


def test_soft_mix_by_hand() -> None:
    # exp(-0/2) : exp(-2 ln 3 / 2) = 1 : 1/3, so weights 3/4 and 1/4: 3/4 * 1 + 1/4 * 0.2 = 0.8. Client 1 is mirrored.
    server = torch.tensor([[[1.0, 0.0]], [[0.2, 0.8]]], dtype=torch.float64)
    far = 2 * math.log(3)
    mixed = soft_mix(server, torch.tensor([[0.0, far], [far, 0.0]], dtype=torch.float64), width=2)
    assert mixed[:, 0].tolist() == [pytest.approx([0.8, 0.2]), pytest.approx([0.4, 0.6])]


def test_soft_mix_goes_from_the_nearest_model_to_the_mean_of_all() -> None:
    server = draw(3, 3, 5)
    distances = torch.tensor([[0.1, 0.2, 0.3], [5.0, 4.0, 6.0]])
    narrow, wide = soft_mix(server, distances, 1e-4), soft_mix(server, distances, 1e9)
    assert torch.allclose(narrow, server[[0, 1]])
    assert torch.allclose(wide, server.mean(dim=0).expand(2, -1, -1))


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan])
def test_soft_mix_needs_a_width(width: float) -> None:
    with pytest.raises(ConfigError, match="width must be above 0"):
        soft_mix(draw(4, 2, 2), torch.ones(3, 2), width)
