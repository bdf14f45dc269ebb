"""Forms of curves: recovered where they are exact, against scipy where they are not; the bootstrap; refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from fl_bench.cosmos.theory import worlds
from fl_bench.cosmos.theory.fits import FORMS, STARTS, Form, bootstrap_means, fit_curves, fit_form
from fl_bench.errors import ConfigError
from fl_bench.streams import numpy_stream

T = np.arange(1.0, 31.0)
STREAM = ("theory", "fits")


@pytest.mark.parametrize(
    ("form", "curve", "floor", "amplitude", "rate"),
    [
        ("exponential", 0.3 + 0.7 * 0.85**T, 0.3, 0.7, 0.85),
        ("exponential", 0.9 * 0.5**T, 0.0, 0.9, 0.5),
        ("exponential", 0.2 + 0.4 * 0.97**T, 0.2, 0.4, 0.97),
        ("power", 0.3 + 0.7 * (T + 1) ** -1.0, 0.3, 0.7, 1.0),
        ("power", 0.1 + 2.0 * (T + 1) ** -0.4, 0.1, 2.0, 0.4),
        ("line", 3 - 0.1 * T, 3.0, -0.1, math.nan),
        ("constant", np.tile([1.0, 3.0], 15), 2.0, 0.0, math.nan),
    ],
)
def test_a_form_finds_its_own_numbers(form: Form, curve: np.ndarray, floor: float, amplitude: float, rate: float):
    found = fit_form(form, curve, T)
    assert (found.floor, found.amplitude) == pytest.approx((floor, amplitude), abs=2e-5)
    assert found.rate == pytest.approx(rate, abs=2e-6, nan_ok=True)
    assert found.at(T) == pytest.approx(curve if form != "constant" else np.full(30, 2.0), abs=1e-6)


@pytest.mark.parametrize("form", ["exponential", "power"])
def test_no_start_of_scipy_finds_better(form: Form) -> None:
    # Least squares by scipy from the five starts of methods.md 2.11, F, A >= 0, on noisy curves of all kinds.
    shapes = {"exponential": lambda t, r: r**t, "power": lambda t, r: (t + 1) ** -r}
    top = {"exponential": 0.995, "power": STARTS["power"][-1]}[form]
    noise = numpy_stream(0, *STREAM).normal(0, 0.05, (4, 30))
    for curve in (0.3 + 0.8**T + noise[0], 2 - 0.05 * T + noise[1], 0.5 + 0.02 * T + noise[2], 1 / (T + 1) + noise[3]):
        found = fit_form(form, curve, T)
        assert min(found.floor, found.amplitude) >= 0
        for start in (0.1, 0.3, 0.5, 0.7, 0.9):
            other = optimize.least_squares(
                lambda v, curve=curve: v[0] + v[1] * shapes[form](T, v[2]) - curve,
                (0.5, 0.5, start),
                bounds=([0, 0, STARTS[form][0]], [np.inf, np.inf, top]),
            )
            assert found.rss <= 2 * other.cost * (1 + 1e-6)


def test_aicc_by_hand() -> None:
    # Residuals of the mean of 1 and 3: ten times 1. n = 10, k = 2 with the variance: 10 ln 1 + 4 + 12 / 7.
    assert fit_form("constant", np.tile([1.0, 3.0], 5), np.arange(10.0)).aicc == pytest.approx(4 + 12 / 7)
    # The line through them explains 5^2 / 82.5: sum (t - 4.5)(y - 2) = 5 and sum (t - 4.5)^2 = 82.5 for t = 0..9.
    rss = 10 - 25 / 82.5
    assert fit_form("line", np.tile([1.0, 3.0], 5), np.arange(10.0)).aicc == pytest.approx(
        10 * math.log(rss / 10) + 6 + 24 / 6
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_true_form_wins(form: Form) -> None:
    curve = {
        "exponential": 0.3 + 0.7 * 0.8**T,
        "power": 0.3 + 0.7 / (T + 1),
        "line": 3 - 0.05 * T,
        "constant": np.full(30, 1.0),
    }[form]
    noise = numpy_stream(1, *STREAM).normal(0, 0.02, (5, 20, 30))
    assert fit_curves(curve + noise, stream=numpy_stream(2, *STREAM), start=0, draws=10).best == form


def test_the_first_round_counts_only_if_asked() -> None:
    risks = np.concatenate([[7.0], 0.3 + 0.7 * 0.8**T]) + np.zeros((2, 3, 1))
    found = fit_curves(risks, stream=numpy_stream(0, *STREAM), draws=5)
    assert (found.rho, found.floor) == pytest.approx((0.8, 0.3), abs=1e-5)
    assert found.fits["exponential"].amplitude == pytest.approx(0.7, abs=1e-5)  # at t = 0, which was left out
    assert fit_curves(risks, stream=numpy_stream(0, *STREAM), start=0, draws=5).rho < 0.5


def test_draws_resample_seeds_then_clients() -> None:
    # Two seeds of two clients with the values 0, 0 and 1, 3. A drawn seed's mean is that of two drawn clients: its
    # variance is the mean of 0 and 1/2 inside plus that of 0 and 2 between, 1/4 + 1, and two are averaged: 5/8.
    values = np.array([[[0.0], [0.0]], [[1.0], [3.0]]])
    means = bootstrap_means(values, 20000, numpy_stream(3, *STREAM))
    assert means.shape == (20000, 1)
    assert means.mean() == pytest.approx(1.0, abs=0.02)
    assert means.var() == pytest.approx(5 / 8, abs=0.02)


def test_the_same_stream_the_same_intervals() -> None:
    risks = worlds.taught(numpy_stream(0, *STREAM)).clients
    first, second = (fit_curves(risks, stream=numpy_stream(5, *STREAM), draws=30) for _ in range(2))
    assert first.rho_interval == second.rho_interval
    assert first.rho_interval[0] < first.rho < first.rho_interval[1]
    assert first.preferred["constant"] == 1.0


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(seeds, clients, rounds\) with at least 7 rounds, found \(2, 3, 6\)"):
        fit_curves(np.ones((2, 3, 6)), stream=numpy_stream(0, *STREAM))
    with pytest.raises(ConfigError, match="found 1 that are not"):
        fit_curves(np.where(np.arange(30) == 4, np.nan, 1.0)[None, None], stream=numpy_stream(0, *STREAM))


@pytest.mark.slow
def test_intervals_of_the_fit_cover() -> None:
    # Clients' noise counts twice, so coverage is at least nominal here; the test asks for no less than 0.92.
    covered = []
    for seed in range(200):
        world = worlds.taught(numpy_stream(seed, *STREAM, "coverage"), kept=0.2, a=0.6, b=0.5)
        found = fit_curves(world.clients, stream=numpy_stream(seed, *STREAM), start=0, draws=200)
        assert world.rho is not None and world.floor is not None  # noqa: PT018 - for the type checker
        covered.append(
            [
                interval[0] <= truth <= interval[1]
                for interval, truth in ((found.rho_interval, world.rho), (found.floor_interval, world.floor))
            ]
        )
    assert np.mean(covered, axis=0).min() >= 0.92
