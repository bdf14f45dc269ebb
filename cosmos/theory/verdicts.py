"""Supported, not supported, not identified: what one arm's curves say about the claim that the risk contracts.

A good exponential fit is not enough: any improving learning curve has one, and noise alone makes one-step slopes fall
below 1. The rule, in this order:

1. **The risk falls.** Student's interval over seeds of the mean of the first rounds minus that of the last lies above
   0 (`falls`). Else: not supported.
2. **No rival explains the curve better.** A power law, line or constant has an AICc smaller by `MARGIN` or more: not
   supported.
3. **Floor and rate can be told apart.** The bootstrap interval of the fitted rho is wider than `WIDEST`, or that of the
   one-step slope is unbounded: not identified.
4. **A step shrinks the excess.** The interval of the one-step slope, which noise does not pull to 0, lies below 1.
   Else: not supported, or not identified where it is wider than `NARROW`.
5. **The exponential explains the curve better.** Its AICc is smaller by `MARGIN` than every rival's, and smaller in a
   share `SURE` of the bootstrap draws. Else: not identified: the curve is too short or too noisy to tell contraction
   from a rate that dies away.
6. **It comes from where the claim says.** With controls: one that falls, by `FALLEN` of the arm's fall or more, and
   whose rho is not larger: not supported. Without: `Chain.through_server` must be above 0; where it may be 0 and is
   less than the 1 - `Chain.kept` of a client that is drawn to its server model, clients follow their own course: not
   supported; else, and without the server's risks: not identified, because training alone could look the same. Controls
   come first because they intervene, where a regression only watches: clients may be drawn to a server model whose own
   risk stands still.

Supported only after all six.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .fits import checked, fit_curves
from .steps import By, chain, difference, one_step, t_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .fits import CurveFit
    from .steps import Chain, Slope, Step

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

Verdict = Literal["supported", "not supported", "not identified"]

WIDEST = 0.8
"""An interval of rho wider than this spans nearly all that rho can be."""
NARROW = 0.2
"""An interval of the one-step slope that holds 1 speaks against contraction where it is no wider than this."""
FALLEN = 0.1
"""A control falls where its fall is above 0 and at least this share of the arm's."""
MARGIN = 2.0
"""Difference of AICc that counts."""
SURE = 0.95
"""Share of bootstrap draws in which the exponential must beat each rival."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on one arm, why, and the numbers behind it."""

    verdict: Verdict
    reason: str
    """One sentence, with the number that decided."""
    fall: tuple[float, float]
    """Interval of the fall: mean risk of the first rounds minus that of the last."""
    fit: CurveFit
    step: Step
    chain: Chain | None
    """None where the server's risks were not given."""
    controls: dict[str, Slope]
    """rho of this arm minus rho of each control that falls."""

    @property
    def rho(self) -> float | None:
        """The one-step slope; None where it is not identified."""
        return None if self.step.rho.interval is None else self.step.rho.estimate

    @property
    def floor(self) -> float | None:
        """The floor of the one-step regression; None where floor and rate cannot be told apart."""
        return None if self.step.floor.interval is None else self.step.floor.estimate


def judge(
    risks: Array,
    *,
    stream: np.random.Generator,
    server: Array | None = None,
    clusters: Labels | None = None,
    controls: Mapping[str, Array] | None = None,
    start: int = 1,
    by: By = "seed",
    draws: int = 1000,
    alpha: float = 0.05,
) -> Judgement:
    """Judge the curves of one arm by the module's rule.

    Args:
        risks: risk of every client after every round, shape (seeds, clients, rounds), finite and not negative.
        stream: of the bootstrap.
        server: risk of each client's cluster model, same shape; see `steps.chain`.
        clusters: cluster of each client, shape (seeds, clients) or (seeds, clients, rounds); one cluster by default.
        controls: risks of control arms with the same seeds, clients and rounds, by name.
        start: the first round that is used.
        by: what is independent.
        draws: bootstrap draws.
        alpha: 0.05 for 95 % intervals.
    Raises:
        ConfigError: shapes that do not agree, too few rounds, values that are not finite, or one cluster only.
    """
    values = checked(risks, start + 6)
    fit = fit_curves(values, stream=stream, start=start, draws=draws, alpha=alpha)
    step = one_step(values, start=start, by=by, alpha=alpha)
    links = None
    if server is not None:
        assigned: Labels = np.zeros(values.shape[:2], dtype=np.int64) if clusters is None else clusters
        links = chain(values, server, assigned, start=start, by=by, alpha=alpha)
    fall = falls(values, start=start, by=by, alpha=alpha)
    against = {
        name: difference(values, control, start=start, by=by, alpha=alpha)
        for name, control in (controls or {}).items()
        if _falls_too(falls(control, start=start, by=by, alpha=alpha), fall)
    }
    verdict, reason = _rule(fall, fit, step, links, against, controlled=bool(controls))
    return Judgement(verdict, reason, fall, fit, step, links, against)


def falls(risks: Array, *, start: int = 1, by: By = "seed", alpha: float = 0.05) -> tuple[float, float]:
    """Interval of the mean risk in the first third of the rounds minus that in the last third, over clusters."""
    values = checked(risks, start + 2)[:, :, start:]
    third = max(values.shape[2] // 3, 1)
    drop = values[:, :, :third].mean(axis=2) - values[:, :, -third:].mean(axis=2)
    return t_interval(drop.mean(axis=1) if by == "seed" else drop.ravel(), alpha)


def _falls_too(control: tuple[float, float], arm: tuple[float, float]) -> bool:
    return control[0] > 0 and sum(control) >= FALLEN * sum(arm)


def _rule(
    fall: tuple[float, float],
    fit: CurveFit,
    step: Step,
    links: Chain | None,
    controls: Mapping[str, Slope],
    *,
    controlled: bool,
) -> tuple[Verdict, str]:
    """The six conditions in order; see the module."""
    if fall[1] < 0:
        return "not supported", f"the risk rises from first to last rounds, by {_range((-fall[1], -fall[0]))}"
    if fall[0] <= 0:
        return "not supported", f"the risk is not shown to fall: from first to last rounds by {_range(fall)}"
    rival = min(("power", "line", "constant"), key=lambda form: fit.margin(form))  # type: ignore[arg-type]
    margin = fit.margin(rival)  # type: ignore[arg-type]
    if margin <= -MARGIN:
        return "not supported", f"a {rival} explains the curve better, by {-margin:.1f} of AICc"
    low, high = fit.rho_interval
    if high - low > WIDEST:
        return "not identified", f"rate and floor cannot be told apart: rho of the fit is in {_range((low, high))}"
    if step.rho.interval is None:
        return "not identified", "the risks move too little to tell a one-step slope"
    if not step.rho.below(1):
        wide = step.rho.interval[1] - step.rho.interval[0] > NARROW
        return "not identified" if wide else "not supported", (
            f"a step may leave all of the excess: its slope is in {_range(step.rho.interval)}"
        )
    weakest = min(fit.preferred.values())
    if margin < MARGIN or weakest < SURE:
        return "not identified", (
            f"a {rival} does nearly as well: {margin:.1f} of AICc, and the exponential leads in {weakest:.0%} of draws"
        )
    for name, slope in controls.items():
        if not slope.below(0):
            return "not supported", f"{name} falls as fast: its rho is no larger, difference {_range(slope.interval)}"
    if not controlled and (links is None or not links.through_server.above(0)):
        if links is not None and links.through_server.below(1 - links.kept.estimate):
            return "not supported", (
                "clients follow their own course alone: slope on their server model beside their own risk "
                f"{_range(links.through_server.interval)}"
            )
        return "not identified", "nothing tells distillation from training alone: controls would"
    return "supported", f"the excess shrinks to {_range(step.rho.interval)} of itself in a round"


def _range(interval: tuple[float, float] | None) -> str:
    return "unbounded" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"
