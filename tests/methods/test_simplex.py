"""Euclidean projection on the probability simplex: by hand, by its optimality conditions, against a search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_bench.methods.simplex import project_on_simplex

matrices = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-5, 5))


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),  # already there
        ([0.6, 0.8], [0.4, 0.6]),  # both lose the surplus 0.4 in halves
        ([0.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]),  # both signs of the shift: +1/4 each
        ([2.0, 0.0], [1.0, 0.0]),  # theta = (1 - 2) / 1; 0 - 1 < 0 is cut
        # Sorted .9, .6, -.5. j = 2: .6 + (1 - 1.5)/2 = .35 > 0; j = 3: -.5 + (1 - 1)/3 < 0. So r = 2, theta = -.25.
        ([-0.5, 0.9, 0.6], [0.0, 0.65, 0.35]),
        ([-3.0], [1.0]),  # a single number is 1
        ([7.0, 7.0, -9.0], [0.5, 0.5, 0.0]),  # ties share
    ],
)
def test_projections_by_hand(point: list[float], nearest: list[float]) -> None:
    found = project_on_simplex(torch.tensor([point], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx(nearest, abs=1e-12)


def by_support(point: np.ndarray) -> np.ndarray:
    """The nearest of the projections on all faces, the slow way."""
    best, distance = None, np.inf
    for size in range(1, len(point) + 1):
        for support in itertools.combinations(range(len(point)), size):
            candidate = np.zeros_like(point)
            chosen = list(support)
            candidate[chosen] = point[chosen] + (1 - point[chosen].sum()) / size
            if candidate.min() >= 0 and ((candidate - point) ** 2).sum() < distance:
                best, distance = candidate, ((candidate - point) ** 2).sum()
    assert best is not None
    return best


@given(points=matrices)
def test_it_is_the_nearest_point_of_the_simplex(points: np.ndarray) -> None:
    found = project_on_simplex(torch.from_numpy(points))
    assert found.shape == points.shape
    for row, point in zip(found.numpy(), points, strict=True):
        np.testing.assert_allclose(row, by_support(point), rtol=0, atol=1e-9)


@given(points=matrices, shift=st.floats(-3, 3))
def test_rows_sum_to_one_and_a_common_shift_does_not_matter(points: np.ndarray, shift: float) -> None:
    found = project_on_simplex(torch.from_numpy(points))
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(points), dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(project_on_simplex(torch.from_numpy(points + shift)), found, rtol=0, atol=1e-9)
    torch.testing.assert_close(project_on_simplex(found), found, rtol=0, atol=1e-12)  # projecting again moves nothing


@given(points=matrices)
def test_order_is_kept(points: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(points.shape[1])
    found = project_on_simplex(torch.from_numpy(points[:, order]))
    torch.testing.assert_close(found, project_on_simplex(torch.from_numpy(points))[:, order], rtol=0, atol=1e-12)
