"""`fl_bench.cosmos.weighting`: methods.md 2.7 by hand, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.cosmos.weighting import Weighting, label_weights
from fl_bench.errors import ConfigError

COUNTS = torch.tensor([[3, 1, 0], [0, 2, 2]])
TEACHERS = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
LABELS = torch.tensor([0, 2, 1, 0])


def test_none_has_no_weights() -> None:
    assert label_weights("none", COUNTS, None, None) is None


def test_pseudo_by_hand() -> None:
    # Client 0: n.q = 3*1 = 3 and 1*0.5 + 0*0.5 = 0.5, mean 1.75: 12/7 and 2/7.
    # Client 1: n.q = 2*0.5 = 1 and 2*1 = 2, mean 1.5: 2/3 and 4/3.
    weights = label_weights("pseudo", COUNTS, TEACHERS, None)
    assert weights is not None
    assert weights.tolist() == [pytest.approx([12 / 7, 2 / 7]), pytest.approx([2 / 3, 4 / 3])]


def test_oracle_by_hand() -> None:
    # Counts of the labels 0, 2, 1, 0: client 0 has 3, 0, 1, 3, mean 7/4; client 1 has 0, 2, 2, 0, mean 1.
    weights = label_weights("oracle", COUNTS, None, LABELS)
    assert weights is not None
    assert weights.tolist() == [pytest.approx([12 / 7, 0, 4 / 7, 12 / 7]), pytest.approx([0, 2, 2, 0])]


def test_oracle_raw_divides_by_the_number_of_public_samples_only() -> None:
    weights = label_weights("oracle_raw", COUNTS, None, LABELS)
    assert weights is not None
    assert weights.tolist() == [pytest.approx([0.75, 0, 0.25, 0.75]), pytest.approx([0, 0.5, 0.5, 0])]


@pytest.mark.parametrize("mode", ["pseudo", "oracle"])
def test_a_client_whose_classes_never_occur_learns_nothing(mode: Weighting) -> None:
    # Client 0 holds class 2 only; the public set shows class 0. Client 1 holds class 0: weight 1 everywhere.
    counts = torch.tensor([[0, 0, 5], [4, 0, 0]])
    teachers = torch.tensor([1.0, 0.0, 0.0]).expand(2, 3, 3)
    weights = label_weights(mode, counts, teachers, torch.zeros(3, dtype=torch.int64))
    assert weights is not None
    assert weights.tolist() == [[0, 0, 0], [1, 1, 1]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), samples=st.integers(1, 6), scale=st.integers(2, 9))
def test_pseudo_has_mean_1_and_ignores_how_much_data_a_client_has(seed: int, n: int, samples: int, scale: int) -> None:
    rng = np.random.default_rng(seed)
    counts = torch.tensor(rng.integers(1, 9, (n, 3)))
    teachers = torch.tensor(rng.dirichlet(np.ones(3), (n, samples)))
    weights = label_weights("pseudo", counts, teachers, None)
    more = label_weights("pseudo", counts * scale, teachers, None)
    assert weights is not None
    assert more is not None
    assert weights.dtype == torch.float64  # that of the teachers
    assert weights.mean(dim=1).tolist() == pytest.approx([1.0] * n)
    assert torch.allclose(weights, more)


def test_certain_teachers_make_pseudo_equal_oracle() -> None:
    teachers = torch.nn.functional.one_hot(LABELS, 3).float().expand(2, -1, -1)
    pseudo, oracle = (label_weights(mode, COUNTS, teachers, LABELS) for mode in ("pseudo", "oracle"))
    assert pseudo is not None
    assert oracle is not None
    assert torch.allclose(pseudo, oracle)


def test_what_a_mode_needs_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="needs the predictions"):
        label_weights("pseudo", COUNTS, None, LABELS)
    for mode in ("oracle", "oracle_raw"):
        with pytest.raises(ConfigError, match="needs the true public labels"):
            label_weights(mode, COUNTS, TEACHERS, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'oracle'"):
        label_weights("oracl", COUNTS, TEACHERS, LABELS)  # type: ignore[arg-type]
