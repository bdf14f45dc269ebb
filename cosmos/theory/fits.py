"""F + A rho^t and its rivals, fitted to the mean curve of a risk, with a bootstrap over seeds and clients.

The claim under test (methods.md 2.11) is e_i(t+1) <= rho e_i(t) + epsilon_i, hence a risk F + A rho^t. Any improving
learning curve fits that form more or less, so it is held against forms that do not contract:

    exponential   F + A rho^t          F, A >= 0, 0 <= rho < 1
    power         F + A (t+1)^-p       F, A >= 0, p > 0: the rate dies away
    line          F + A t
    constant      F

by Akaike's criterion with the correction for few points, n ln(RSS/n) + 2k + 2k(k+1)/(n-k-1), k counting the variance.
A fit alone proves nothing; `verdicts` says what else is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Form = Literal["exponential", "power", "line", "constant"]
FORMS: tuple[Form, ...] = ("exponential", "power", "line", "constant")
"""The forms that are compared, the claim first."""

PARAMETERS: dict[Form, int] = {"exponential": 3, "power": 3, "line": 2, "constant": 1}
"""Free numbers of each form, without the variance."""

STARTS: dict[Form, Array] = {
    "exponential": np.concatenate([np.linspace(0.0, 0.95, 96), np.linspace(0.955, 0.995, 9)]),
    "power": np.geomspace(0.05, 12.0, 90),
}
"""Values of rho and p that every fit starts from: F and A have closed forms there, and the best value is refined."""

ZOOMS = 10
"""How often the best interval of rates is cut anew, to a quarter each time."""

ROUNDING = 1e-7
"""Residuals below this share of a curve's range are rounding, and their size says nothing."""


@dataclass(frozen=True)
class Fit:
    """One form, fitted by least squares to one curve."""

    form: Form
    floor: float
    """F: the limit of `exponential` and `power`, the value at t = 0 of `line`, the mean of `constant`."""
    amplitude: float
    """A; the slope of `line`, 0 for `constant`."""
    rate: float
    """rho of `exponential`, p of `power`; NaN for the others."""
    rss: float
    """Sum of squared residuals."""
    aicc: float
    """Akaike's criterion with the correction for few points; smaller is better."""

    def at(self, rounds: Array) -> Array:
        """The fitted risk in some rounds, same shape."""
        values: Array = self.floor + self.amplitude * _shape(self.form, np.array(self.rate), rounds)
        return values


@dataclass(frozen=True)
class CurveFit:
    """All forms for one arm, and how firmly rate and floor are known."""

    fits: dict[Form, Fit]
    """Of the mean curve, by form."""
    start: int
    """The first round that was fitted."""
    rho_interval: tuple[float, float]
    """Bootstrap interval of rho."""
    floor_interval: tuple[float, float]
    """Bootstrap interval of F of the exponential form."""
    preferred: dict[Form, float]
    """Share of bootstrap draws in which the exponential form has a smaller AICc than this rival."""
    draws: int
    """Bootstrap draws."""

    @property
    def rho(self) -> float:
        """The estimate of rho."""
        return self.fits["exponential"].rate

    @property
    def floor(self) -> float:
        """The estimate of F."""
        return self.fits["exponential"].floor

    @property
    def best(self) -> Form:
        """The form with the smallest AICc."""
        return min(FORMS, key=lambda form: self.fits[form].aicc)

    def margin(self, rival: Form) -> float:
        """AICc of a rival minus that of the exponential form: positive speaks for the exponential."""
        return self.fits[rival].aicc - self.fits["exponential"].aicc


def checked(risks: Array, least_rounds: int = 2) -> Array:
    """Risks as float64.

    Args:
        risks: shape (seeds, clients, rounds), finite; clients without test samples left out.
        least_rounds: fewest rounds that will do.
    Raises:
        ConfigError: another shape, too few rounds, or a value that is not finite.
    """
    values: Array = np.asarray(risks, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape or values.shape[2] < least_rounds:
        raise ConfigError(
            f"risks must have shape (seeds, clients, rounds) with at least {least_rounds} rounds, found {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            f"risks must be finite, found {int((~np.isfinite(values)).sum())} that are not: leave out clients without "
            "test samples and runs that diverged"
        )
    return values


def fit_form(form: Form, curve: Array, rounds: Array) -> Fit:
    """Fit one form to one curve by least squares.

    Args:
        form: one of `FORMS`.
        curve: the risk in each round, shape (rounds,).
        rounds: t of each value, shape (rounds,).
    """
    floor, amplitude, rate, rss = (float(values[0]) for values in _fit(form, curve[None], rounds))
    return Fit(form, floor, amplitude, rate, rss, float(_aicc(form, np.array([rss]), curve[None])[0]))


def fit_curves(
    risks: Array, *, stream: np.random.Generator, start: int = 1, draws: int = 1000, alpha: float = 0.05
) -> CurveFit:
    """Fit all forms to the mean over seeds and clients; draw seeds, then clients within each, for intervals.

    Intervals are percentiles of the draws. Clients count twice, inside their seed and on their own, so that intervals
    are too wide where clients make the noise; they are too short where few seeds differ as wholes.

    Args:
        risks: shape (seeds, clients, rounds), finite; column t is round t. In units in which a floor is not negative.
        stream: of the draws.
        start: first round to fit; 1 by default, since nothing was distilled before it.
        draws: bootstrap draws.
        alpha: 0.05 for 95 % intervals.
    Raises:
        ConfigError: fewer than six rounds from `start` on, another shape, or values that are not finite.
    """
    values = checked(risks, start + 6)[:, :, start:]
    rounds = np.arange(start, start + values.shape[2], dtype=np.float64)
    mean = values.mean(axis=(0, 1))
    drawn = bootstrap_means(values, draws, stream)
    fitted = {form: _fit(form, drawn, rounds) for form in FORMS}
    scores = {form: _aicc(form, fitted[form][3], drawn) for form in FORMS}
    floor, _, rho, _ = fitted["exponential"]
    return CurveFit(
        fits={form: fit_form(form, mean, rounds) for form in FORMS},
        start=start,
        rho_interval=_percentiles(rho, alpha),
        floor_interval=_percentiles(floor, alpha),
        preferred={form: float(np.mean(scores["exponential"] < scores[form])) for form in FORMS[1:]},
        draws=draws,
    )


def bootstrap_means(values: Array, draws: int, stream: np.random.Generator) -> Array:
    """Mean curves of resampled seeds and, within each, resampled clients.

    Args:
        values: shape (seeds, clients, rounds).
        draws: how many.
        stream: of the draws.
    Returns:
        Shape (draws, rounds).
    """
    seeds, clients, rounds = values.shape
    chosen = stream.integers(seeds, size=(draws, seeds))
    counts = stream.multinomial(clients, np.full(clients, 1 / clients), size=(draws, seeds)).astype(np.float64)
    weights = np.zeros((draws, seeds, clients))
    np.add.at(weights, (np.arange(draws)[:, None], chosen), counts)
    means: Array = weights.reshape(draws, -1) @ values.reshape(-1, rounds) / (seeds * clients)
    return means


def _percentiles(draws: Array, alpha: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _shape(form: Form, rates: Array, rounds: Array) -> Array:
    """What A multiplies, shape (*rates, rounds)."""
    if form == "exponential":
        return np.asarray(rates[..., None] ** rounds)
    if form == "power":
        return np.asarray((rounds + 1) ** -rates[..., None])
    return np.broadcast_to(rounds if form == "line" else np.zeros_like(rounds), (*rates.shape, len(rounds)))


def _fit(form: Form, curves: Array, rounds: Array) -> tuple[Array, Array, Array, Array]:
    """F, A, rate and residual sum of squares of each curve, shape (curves,) each; curves (curves, rounds)."""
    if form not in STARTS:
        mean, middle = curves.mean(axis=1), rounds - rounds.mean()
        slope = curves @ middle / (middle @ middle) if form == "line" else np.zeros(len(curves))
        floor = mean - slope * rounds.mean()
        rss = ((curves - floor[:, None] - slope[:, None] * rounds) ** 2).sum(axis=1)
        return floor, slope, np.full(len(curves), np.nan), rss
    starts = STARTS[form]
    rows, rates = np.arange(len(curves)), np.tile(starts, (len(curves), 1))
    for _ in range(ZOOMS):
        best = _given_rate(form, rates, curves, rounds)[2].argmin(axis=1)
        low, high = rates[rows, np.maximum(best - 1, 0)], rates[rows, np.minimum(best + 1, rates.shape[1] - 1)]
        rates = np.linspace(low, high, 9, axis=1)
    floor, amplitude, rss = _given_rate(form, rates, curves, rounds)
    best = rss.argmin(axis=1)
    return floor[rows, best], amplitude[rows, best], rates[rows, best], rss[rows, best]


def _given_rate(form: Form, rates: Array, curves: Array, rounds: Array) -> tuple[Array, Array, Array]:
    """The best F >= 0 and A >= 0 for each curve and rate, and their residual sums, shape (curves, rates) each.

    With two unknowns the least-squares point is the free one, or lies where one of them is 0.

    Args:
        form: `exponential` or `power`.
        rates: rates to try for each curve, shape (curves, rates).
        curves: shape (curves, rounds).
        rounds: shape (rounds,).
    """
    shape = _shape(form, rates, rounds)
    points = curves.shape[1]
    mean, middle = curves.mean(axis=1, keepdims=True), shape.mean(axis=2)
    away, moving = curves - mean, shape - middle[:, :, None]
    power, square = (away**2).sum(axis=1, keepdims=True), (moving**2).sum(axis=2)
    cross = np.einsum("crt,ct->cr", moving, away)
    tiny = np.finfo(float).tiny
    slope = cross / np.maximum(square, tiny)
    without_floor = (cross + points * mean * middle) / np.maximum(square + points * middle**2, tiny)
    nothing = np.zeros_like(slope)
    candidates = [
        (mean - slope * middle, slope),
        (np.maximum(mean, 0) + nothing, nothing),
        (nothing, np.maximum(without_floor, 0)),
    ]
    residuals = []
    for floor, amplitude in candidates:
        rss = power - 2 * amplitude * cross + amplitude**2 * square
        rss = np.maximum(rss, 0) + points * (mean - floor - amplitude * middle) ** 2
        residuals.append(np.where((floor >= 0) & (amplitude >= 0), rss, np.inf))
    chosen = np.argmin(residuals, axis=0)[None]
    floors, amplitudes = (np.stack(parts) for parts in zip(*candidates, strict=True))
    first, second, third = (
        np.take_along_axis(values, chosen, axis=0)[0] for values in (floors, amplitudes, np.stack(residuals))
    )
    return first, second, third


def _aicc(form: Form, rss: Array, curves: Array) -> Array:
    points, k = curves.shape[1], PARAMETERS[form] + 1
    least = points * (ROUNDING * np.maximum(np.ptp(curves, axis=1), ROUNDING)) ** 2
    criterion: Array = points * np.log(np.maximum(rss, least) / points) + 2 * k + 2 * k * (k + 1) / (points - k - 1)
    return criterion
