"""`fl_bench.methods.aggregation`: every rule by hand, temperatures, and what always holds."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import ConfigError
from fl_bench.methods.aggregation import Rule, aggregate, max_conf_global, sharpen

EVERY = get_args(Rule)


def draw(seed: int, *shape: int, classes: int = 3) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).dirichlet(np.ones(classes), shape))


def one_sample(*rows: list[float]) -> torch.Tensor:
    """Members that score a single public sample."""
    return torch.tensor([[row] for row in rows], dtype=torch.float64)


def test_mean_by_hand() -> None:
    members = one_sample([0.2, 0.8], [0.6, 0.4])
    assert aggregate(members, "mean")[0].tolist() == pytest.approx([0.4, 0.6])
    # With weights 3 and 1: 3/4 * 0.2 + 1/4 * 0.6 = 0.3.
    assert aggregate(members, "mean", weights=torch.tensor([3, 1]))[0].tolist() == pytest.approx([0.3, 0.7])


def test_median_of_an_odd_number_is_divided_by_its_sum() -> None:
    # Medians of (.1 .2 .6), (.3 .7 .2), (.6 .1 .2) entry by entry: .2, .3, .2, which sum to .7.
    members = one_sample([0.1, 0.3, 0.6], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2])
    assert aggregate(members, "median")[0].tolist() == pytest.approx([2 / 7, 3 / 7, 2 / 7])


def test_median_of_an_even_number_is_the_lower_or_the_midpoint() -> None:
    # Sorted .1 .2 .6 .9 and .1 .4 .8 .9: lower .2 and .4, divided by .6; midpoints .4 and .6 (means .45 and .55).
    members = one_sample([0.2, 0.8], [0.6, 0.4], [0.1, 0.9], [0.9, 0.1])
    assert aggregate(members, "median")[0].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert aggregate(members, "median", midpoint=True)[0].tolist() == pytest.approx([0.4, 0.6])


def test_max_conf_takes_the_row_of_the_most_certain_member_sample_by_sample() -> None:
    members = torch.tensor([[[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]], [[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]]])
    # Sample 0: 0.9 beats 0.6. Sample 1: 0.7 beats 0.6. Sample 2: 0.8 each, the first member's row.
    expected = torch.tensor([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
    assert torch.equal(max_conf_global(members), expected)
    assert torch.allclose(aggregate(members, "max_conf"), expected)


def test_trimmed_cuts_both_ends_of_every_entry() -> None:
    # Entry 0: .1 .2 .3 .4 .9 without .1 and .9, mean .3; entry 1: .9 .8 .7 .6 .1 without .9 and .1, mean .7.
    members = one_sample([0.9, 0.1], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8])
    assert aggregate(members, "trimmed", trim=0.2)[0].tolist() == pytest.approx([0.3, 0.7])
    assert aggregate(members, "trimmed", trim=0.39)[0].tolist() == pytest.approx([0.3, 0.7])  # floor(1.95) = 1
    assert aggregate(members, "trimmed", trim=0.19)[0].tolist() == pytest.approx(
        [0.38, 0.62]
    )  # floor(0.95) = 0: the mean


def test_trimmed_cuts_a_whole_number_where_floating_point_falls_short() -> None:
    # 0.29 * 100 is 28.999999999999996; with 29 cut from each end only rows of (1/2, 1/2) are left.
    members = one_sample(*[[1.0, 0.0]] * 29, *[[0.5, 0.5]] * 71)
    assert aggregate(members, "trimmed", trim=0.29)[0].tolist() == [0.5, 0.5]


def test_entropy_weighted_counts_by_the_inverse_perplexity() -> None:
    # Perplexities 1 and 2, so weights 2/3 and 1/3: 2/3 * 1 + 1/3 * 1/2 = 5/6.
    assert aggregate(one_sample([1, 0], [0.5, 0.5]), "entropy_weighted")[0].tolist() == pytest.approx([5 / 6, 1 / 6])


@pytest.mark.parametrize(("rule", "trim"), [("median", 0.0), ("trimmed", 0.34)])
def test_where_every_entry_is_cut_to_0_the_mean_is_left(rule: Rule, trim: float) -> None:
    # Three members certain of three classes: each entry is 0, 0, 1, whose median is 0 and whose trimmed mean is 0.
    # The second sample, where two agree, is not touched by that.
    members = torch.eye(3)[torch.tensor([[0, 0], [1, 0], [2, 1]])]
    merged = aggregate(members, rule, trim=trim)
    assert merged.tolist() == [pytest.approx([1 / 3] * 3), [1, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    members=st.integers(1, 6),
    rule=st.sampled_from(EVERY),
    trim=st.floats(0, 0.49),
    midpoint=st.booleans(),
)
def test_rows_are_probabilities_whatever_the_order_of_members(
    seed: int, members: int, rule: Rule, trim: float, midpoint: bool
) -> None:
    predictions = draw(seed, members, 4)
    merged = aggregate(predictions, rule, trim=trim, midpoint=midpoint)
    assert merged.sum(dim=1).tolist() == pytest.approx([1.0] * 4)
    assert (merged >= 0).all()
    order = np.random.default_rng(seed).permutation(members)
    assert torch.allclose(aggregate(predictions[order], rule, trim=trim, midpoint=midpoint), merged)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), members=st.integers(1, 6), rule=st.sampled_from(EVERY), midpoint=st.booleans())
def test_members_that_agree_are_their_own_aggregate(seed: int, members: int, rule: Rule, midpoint: bool) -> None:
    shared = draw(seed, 4)
    merged = aggregate(shared.repeat(members, 1, 1), rule, trim=0.2, midpoint=midpoint)
    assert torch.allclose(merged, shared, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), members=st.integers(1, 5), scale=st.floats(0.1, 10))
def test_only_the_ratio_of_weights_counts_and_equal_ones_are_the_plain_mean(
    seed: int, members: int, scale: float
) -> None:
    predictions = draw(seed, members, 4)
    equal = torch.full((members,), scale)
    assert torch.allclose(aggregate(predictions, "mean", weights=equal), aggregate(predictions, "mean"), atol=1e-6)
    weights = torch.rand(members, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    scaled = aggregate(predictions, "mean", weights=weights * scale)
    assert torch.allclose(scaled, aggregate(predictions, "mean", weights=weights))


def test_settings_of_aggregation_are_checked() -> None:
    members = draw(0, 2, 2)
    with pytest.raises(ConfigError, match="did you mean 'median'"):
        aggregate(members, "medain")  # type: ignore[arg-type]
    for trim in (-0.1, 0.5, math.nan):
        with pytest.raises(ConfigError, match=r"trim must be in \[0, 0.5\)"):
            aggregate(members, "trimmed", trim=trim)
    with pytest.raises(ConfigError, match="weights are for 'mean'"):
        aggregate(members, "median", weights=torch.ones(2))


def test_the_most_confident_of_one_model_is_the_model() -> None:
    server = draw(2, 1, 6).float()
    assert torch.equal(max_conf_global(server), server[0])


# --- geometric median


def test_the_geometric_median_on_a_line_is_the_median() -> None:
    # Rows (p, 1 - p) lie on a line. The mean of .1 .4 .5 .5 .5 is .4, one of the rows: there the three at .5 pull with
    # 3 - 1 = 2 against the one row that resists, so the iteration goes on, to .5.
    members = one_sample(*[[p, 1 - p] for p in (0.1, 0.4, 0.5, 0.5, 0.5)])
    assert aggregate(members, "geomedian")[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    # With .1 .3 .5 .3 .3 the mean is .3, where three rows resist a pull of 1 - 1 = 0: it stays.
    members = one_sample(*[[p, 1 - p] for p in (0.1, 0.3, 0.5, 0.3, 0.3)])
    assert aggregate(members, "geomedian")[0].tolist() == pytest.approx([0.3, 0.7], abs=1e-12)


def test_the_geometric_median_by_hand() -> None:
    # Three corners of the simplex: the centre, by symmetry. Two clients at (1, 0, 0) and one each at the others: the
    # two resist with 2, the others pull with two unit vectors at 60 degrees, together sqrt 3 < 2: it is (1, 0, 0).
    corners = torch.eye(3, dtype=torch.float64)[:, None]
    assert aggregate(corners, "geomedian")[0].tolist() == pytest.approx([1 / 3] * 3)
    assert aggregate(corners[[0, 0, 1, 2]], "geomedian")[0].tolist() == pytest.approx([1, 0, 0], abs=1e-4)


def test_the_geometric_median_is_a_row_where_the_others_pull_just_too_little() -> None:
    # From (0, 0) the rows (cos a, sin a) and (cos a, -sin a) pull with 2 cos a. At a = 61 degrees that is 0.97 < 1: the
    # row at (0, 0) is the median, and the iteration alone would creep towards it. (Any plane in the simplex will do.)
    angle = math.radians(61)
    plane = torch.tensor([[1, -1, 0], [1, 1, -2]], dtype=torch.float64)
    plane = 0.2 * plane / plane.norm(dim=1, keepdim=True)
    around = torch.tensor([[0, 0], [math.cos(angle), math.sin(angle)], [math.cos(angle), -math.sin(angle)]]).double()
    members = (1 / 3 + around @ plane)[:, None]
    assert aggregate(members, "geomedian")[0].tolist() == pytest.approx([1 / 3] * 3, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), members=st.integers(1, 7), apart=st.sampled_from([1, 1e-2, 1e-4, 0]))
def test_no_row_has_a_smaller_sum_of_distances_than_the_geometric_median(seed: int, members: int, apart: float) -> None:
    from scipy.optimize import minimize

    predictions = draw(seed, members, 2)
    predictions[-1] = predictions[0] + apart * (predictions[-1] - predictions[0])  # steps shrink near rows
    found = aggregate(predictions, "geomedian")
    for sample in range(2):
        rows = predictions[:, sample].numpy()

        def total(y: np.ndarray, rows: np.ndarray = rows) -> float:
            return float(np.linalg.norm(rows - y, axis=1).sum())

        exact = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 8000}
        starts = (rows.mean(axis=0), rows[0])
        best = min(minimize(total, start, method="Nelder-Mead", options=exact).fun for start in starts)
        assert total(found[sample].numpy()) <= best + 1e-9


@pytest.mark.parametrize("rule", ["median", "trimmed", "geomedian"])
def test_a_minority_of_liars_moves_robust_rules_little(rule: Rule) -> None:
    # Five honest members near (.7, .2, .1), four liars certain of class 2: the mean gives them .44 of class 2 more.
    honest = one_sample(*[[0.68 + 0.01 * k, 0.21 - 0.01 * k, 0.11] for k in range(5)])
    members = torch.cat([honest, one_sample(*[[0.0, 0.0, 1.0]] * 4)])
    assert aggregate(members, rule, trim=0.45)[0, 2].item() < 0.2
    assert aggregate(members, "mean")[0, 2].item() > 0.5


# --- spectral filter


def test_the_spectral_filter_by_hand() -> None:
    # Rows (p, 1 - p) lie on a line, so the one with p farthest from the mean goes. Of .1 .2 .3 .4 .9, mean .38: .9; of
    # the other four, mean .25, .1 and .4 are equally far, and the member that comes first goes, .4 here.
    members = one_sample(*[[p, 1 - p] for p in (0.4, 0.3, 0.2, 0.1, 0.9)])
    assert aggregate(members, "spectral", trim=0.19)[0, 0].item() == pytest.approx(0.38)  # floor(.95) = 0
    assert aggregate(members, "spectral", trim=0.39)[0, 0].item() == pytest.approx(0.25)  # floor(1.95) = 1
    assert aggregate(members, "spectral", trim=0.4)[0, 0].item() == pytest.approx(0.2)


def test_the_spectral_filter_drops_what_is_far_along_the_top_eigenvector_not_what_is_farthest() -> None:
    # In a plane of the simplex, with axes a = (1, -1, 0) and b = (1, 1, -2) and 1/3 as origin: two rows each at +-5 a
    # and one at 7 b' (b' as long as a), mean 7/5 b'. Along a the squares sum to 4 * 25 = 100, along b' to 49 - 49/5 =
    # 39.2: the top eigenvector is a. The last row is farthest from the mean, 5.6 against sqrt(25 + 1.96) = 5.2, but at
    # 0 along a. One of the others goes, the first: the rest have the mean -5/4 a + 7/4 b'.
    a, b = (torch.tensor(axis, dtype=torch.float64) for axis in ([1, -1, 0], [1, 1, -2]))
    a, b = 0.02 * a / a.norm(), 0.02 * b / b.norm()
    members = 1 / 3 + torch.stack([5 * a, -5 * a, 5 * a, -5 * a, 7 * b])[:, None]
    expected = 1 / 3 - 5 / 4 * a + 7 / 4 * b
    assert aggregate(members, "spectral", trim=0.2)[0].tolist() == pytest.approx(expected.tolist())


def test_the_spectral_filter_looks_for_a_new_direction_after_every_row() -> None:
    # In the same plane: (0, 50) goes first, along b. The rest have the mean 0 and vary along a, where (3, 0) goes next,
    # though (-1, -.2) is farthest along b. The last three have the mean (-1, 0).
    axes = torch.tensor([[1, -1, 0], [1, 1, -2]], dtype=torch.float64)
    axes = 0.004 * axes / axes.norm(dim=1, keepdim=True)
    around = torch.tensor([[-1, 0.1], [-1, -0.2], [3, 0], [-1, 0.1], [0, 50]], dtype=torch.float64)
    merged = aggregate((1 / 3 + around @ axes)[:, None], "spectral", trim=0.4)
    assert merged[0].tolist() == pytest.approx((1 / 3 - axes[0]).tolist())


def test_the_spectral_filter_takes_samples_by_themselves() -> None:
    # Member 2 is the outlier of the first sample, member 0 of the second.
    members = torch.tensor([[0.1, 0.9], [0.2, 0.3], [0.8, 0.2], [0.3, 0.1]], dtype=torch.float64)
    merged = aggregate(torch.stack([members, 1 - members], dim=2), "spectral", trim=0.25)
    assert merged[:, 0].tolist() == pytest.approx([0.2, 0.2])


def test_the_spectral_filter_drops_a_quarter_of_liars_altogether() -> None:
    # Six honest members near (.7, .2, .1) and two certain of class 2, which is the direction of most variance.
    honest = one_sample(*[[0.68 + 0.01 * k, 0.21 - 0.01 * k, 0.11] for k in range(6)])
    members = torch.cat([honest, one_sample(*[[0.0, 0.0, 1.0]] * 2)])
    assert aggregate(members, "spectral", trim=0.25)[0].tolist() == pytest.approx(honest.mean(dim=0)[0].tolist())


# --- temperature


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.1, 10), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_sharpening_a_softmax_divides_its_logits(seed: int, tau: float, dtype: torch.dtype) -> None:
    z = torch.tensor(np.random.default_rng(seed).uniform(-6, 6, (5, 4)), dtype=dtype)  # p > 1e-6: nothing is clamped
    found = sharpen(z.softmax(dim=1), tau)
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float64 or tau >= 1 else 2e-6 / tau  # float32 logs, magnified by 1 / tau
    assert torch.allclose(found, (z / tau).softmax(dim=1), atol=tolerance)


def test_sharpening_by_hand() -> None:
    # tau = 1/2 squares: .04 .09 .25 over .38. tau = 2 takes roots: 3/5 and 4/5 over 7/5.
    assert sharpen(torch.tensor([0.2, 0.3, 0.5]), 0.5).tolist() == pytest.approx([4 / 38, 9 / 38, 25 / 38])
    assert sharpen(torch.tensor([0.36, 0.64]), 2).tolist() == pytest.approx([3 / 7, 4 / 7])
    # An entry of 0 counts as 1e-8, whose root is 1e-4.
    assert sharpen(torch.tensor([1.0, 0.0]), 2).tolist() == pytest.approx([1 / 1.0001, 1e-4 / 1.0001])


def test_temperature_1_changes_no_bit_of_rows_that_need_no_clamp() -> None:
    rows = draw(1, 50, classes=7).float()
    rows[3] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    found = sharpen(rows, 1)
    untouched = (rows >= 1e-8).all(dim=1)
    assert untouched.sum() == 49
    assert torch.equal(found[untouched], rows[untouched])
    # The other row becomes (1, 1e-8, ...) / (1 + 6e-8): no logarithm of 0 downstream.
    assert found[3].tolist() == pytest.approx([1, *[1e-8] * 6], rel=1e-6)


def test_temperature_0_is_the_first_arg_max_and_small_ones_approach_it() -> None:
    rows = torch.tensor([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
    assert torch.equal(sharpen(rows, 0), torch.tensor([[1, 0, 0], [0, 0, 1]], dtype=torch.float64))
    # 1e-3 raises to the power 1000: underflow must not lose the row. A tie stays a tie.
    assert torch.allclose(sharpen(rows, 1e-3), torch.tensor([[0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64))


@pytest.mark.parametrize("temperature", [-0.5, math.nan])
def test_temperatures_below_0_are_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature must be at least 0"):
        sharpen(torch.ones(1, 2) / 2, temperature)
