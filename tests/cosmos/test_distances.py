"""`fl_bench.cosmos.distances`: numbers by hand, a brute-force second implementation, and what always holds."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.cosmos.distances import Distance, pairwise, to_centroids
from fl_bench.errors import ConfigError, Diverged
from fl_bench.methods import distances

EVERY = get_args(Distance)


def draw(seed: int, n: int, samples: int, classes: int) -> torch.Tensor:
    rows = np.random.default_rng(seed).dirichlet(np.ones(classes), (n, samples))
    return torch.tensor(rows, dtype=torch.float32)


def by_definition(p: np.ndarray, q: np.ndarray, distance: str) -> float:
    """One pair, one sample at a time, from the docstring."""

    def cross_entropy(a: np.ndarray, b: np.ndarray) -> float:
        return -sum(x * math.log(max(y, 1e-9)) for x, y in zip(a, b, strict=True))

    def divergence(a: np.ndarray, b: np.ndarray) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    n = len(p)
    if distance == "ce":
        return sum(cross_entropy(a, b) + cross_entropy(b, a) for a, b in zip(p, q, strict=True)) / 2 / n
    if distance == "js":
        middle = (p + q) / 2
        pairs = zip(p, q, middle, strict=True)
        return sum(divergence(a, m) / 2 + divergence(b, m) / 2 for a, b, m in pairs) / n
    return math.sqrt(((p - q) ** 2).sum() / (n if distance == "l2" else 1))


# Two clients, one sample, p = (1/2, 1/2) and q = (1/4, 3/4).
#   l2  sqrt(1/16 + 1/16) = sqrt(1/8)
#   ce  H(p, q) = -1/2 ln 1/4 - 1/2 ln 3/4 = 1/2 ln 16/3;  H(q, p) = ln 2
#   js  the middle is (3/8, 5/8): -3/8 ln 3/8 - 5/8 ln 5/8 minus the mean of the entropies ln 2 and
#       1/4 ln 4 + 3/4 ln 4/3
# With a second sample on which both say (1, 0), where every term is 0, means halve and l2_raw stays.
SOFT = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [1.0, 0.0]]])
SOFT_JS = -3 / 8 * math.log(3 / 8) - 5 / 8 * math.log(5 / 8)
SOFT_JS -= (math.log(2) + math.log(4) / 4 + 3 / 4 * math.log(4 / 3)) / 2


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ("l2_raw", math.sqrt(1 / 8)),
        ("l2", math.sqrt(1 / 16)),
        ("ce", (math.log(16 / 3) / 2 + math.log(2)) / 2 / 2),
        ("js", SOFT_JS / 2),
    ],
)
def test_two_clients_by_hand(distance: Distance, expected: float) -> None:
    assert pairwise(SOFT, distance).tolist() == [[0.0, pytest.approx(expected)], [pytest.approx(expected), 0.0]]


@pytest.mark.parametrize(
    ("distance", "largest"),
    [("l2", math.sqrt(2)), ("l2_raw", math.sqrt(2 * 2)), ("ce", 9 * math.log(10)), ("js", math.log(2))],
)
def test_clients_that_are_certain_of_different_classes_are_at_the_largest_distance(
    distance: Distance, largest: float
) -> None:
    # Two samples; on each, client 0 says class 0 and client 1 class 1. Every row of `ce` is -log 1e-9.
    certain = torch.tensor([[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2])
    assert pairwise(certain, distance)[0, 1].item() == pytest.approx(largest)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 5),
    samples=st.integers(1, 4),
    classes=st.integers(2, 4),
    distance=st.sampled_from(EVERY),
)
def test_agrees_with_the_definition(seed: int, n: int, samples: int, classes: int, distance: Distance) -> None:
    predictions = draw(seed, n, samples, classes)
    matrices = predictions.double().numpy()
    found = pairwise(predictions, distance)
    assert found.dtype == torch.float64
    assert torch.equal(found, found.T)
    for i in range(n):
        assert found[i, i] == 0
        for j in range(i):
            assert found[i, j].item() == pytest.approx(by_definition(matrices[i], matrices[j], distance), abs=1e-12)


@pytest.mark.parametrize("distance", EVERY)
def test_blocks_of_the_public_set_add_up(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = draw(1, 4, 6, 3)
    whole = pairwise(predictions, distance)
    monkeypatch.setattr(distances, "BLOCK_ELEMENTS", 4 * 5)  # 18 numbers per client in blocks of 5, 5, 5 and 3
    assert torch.allclose(pairwise(predictions, distance), whole, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("distance", ["l2", "l2_raw", "js"])
def test_equal_clients_are_at_distance_0_exactly_and_nearly_equal_ones_are_not(
    distance: Distance, dtype: torch.dtype
) -> None:
    predictions = draw(2, 7, 50, 10).to(dtype)
    predictions[3] = predictions[0]
    predictions[5] = predictions[0]
    predictions[6] = predictions[0]
    predictions[6, 0, 0] += 2e-3
    zero = (pairwise(predictions, distance) == 0).nonzero().tolist()
    assert [pair for pair in zero if pair[0] < pair[1]] == [[0, 3], [0, 5], [3, 5]]


@pytest.mark.parametrize("seed", range(5))
def test_what_rounding_leaves_of_equal_clients_is_not_a_distance(seed: int) -> None:
    # In this size matrix products add the numbers of one client and of its copy in different orders.
    predictions = draw(seed, 33, 97, 11)
    predictions[16:] = predictions[0]
    assert (pairwise(predictions, "l2")[16:, 16:] == 0).all()


def test_a_far_client_does_not_hide_the_difference_of_two_close_ones() -> None:
    # Clients 0 and 1 differ by 1e-3 in one entry; client 2 is at |P_0 - P_2|^2 = 2 * 1000 from the first.
    predictions = torch.zeros(3, 1000, 2, dtype=torch.float64)
    predictions[:2, :, 0] = 1.0
    predictions[2, :, 1] = 1.0
    predictions[1, 0, 1] = 1e-3
    found = pairwise(predictions, "l2_raw")
    assert found[0, 1].item() == pytest.approx(1e-3, rel=1e-5)
    assert found[0, 2].item() == pytest.approx(math.sqrt(2000))


def test_rows_that_sum_to_slightly_more_than_1_give_no_negative_distance() -> None:
    # A float32 softmax can reach 1 + 1.2e-7, whose -log is negative.
    above = torch.tensor([[[1.0000001, 0.0]]]).repeat(2, 1, 1)
    assert pairwise(above, "ce").tolist() == [[0, 0], [0, 0]]


def test_small_differences_of_close_clients_keep_their_digits() -> None:
    # All clients share a large common part; client i is 1e-5 * i away from client 0 in one entry of one sample.
    predictions = draw(3, 1, 1000, 10).double().repeat(3, 1, 1)
    predictions[:, 7, 0] += 1e-5 * torch.arange(3)
    assert pairwise(predictions, "l2_raw")[0].tolist() == pytest.approx([0, 1e-5, 2e-5], rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.sampled_from(EVERY), order=st.permutations(range(5)))
def test_permuting_clients_permutes_distances(seed: int, distance: Distance, order: list[int]) -> None:
    predictions = draw(seed, 5, 3, 3)
    expected = pairwise(predictions, distance)[order][:, order]
    assert torch.allclose(pairwise(predictions[order], distance), expected, atol=1e-12)


@pytest.mark.parametrize("distance", EVERY)
def test_predictions_that_are_not_finite_are_refused(distance: Distance) -> None:
    predictions = draw(4, 3, 2, 2)
    predictions[1, 0, 0] = math.nan
    predictions[2, 1, 1] = math.inf
    with pytest.raises(Diverged, match="client row 1"):
        pairwise(predictions, distance)


def test_an_unknown_distance_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no distance is named 'l2raw'; did you mean 'l2_raw'"):
        pairwise(SOFT, "l2raw")  # type: ignore[arg-type]


def test_distances_to_centroids_are_those_of_pairwise() -> None:
    predictions = draw(5, 5, 4, 3)
    between = pairwise(predictions, "l2")
    assert torch.allclose(to_centroids(predictions[:3], predictions[3:]), between[:3, 3:], rtol=1e-9)
