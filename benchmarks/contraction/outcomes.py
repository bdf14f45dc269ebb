"""Predictions held against records (benchmarks room): supported, not supported, not identified, and by which number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.streams import numpy_stream

from ...cosmos.theory.fits import fit_curves
from ...cosmos.theory.steps import difference, one_step, t_interval
from ...cosmos.theory.verdicts import MARGIN, SURE, WIDEST, falls
from .reading import DIAGNOSTICS
from .study import END_ROUNDS, START, Study, changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...cosmos.theory.verdicts import Verdict
    from .predictions import Prediction
    from .reading import Block

    Array = NDArray[np.float64]

Found = Literal["supported", "not supported", "not identified", "not run"]
"""A verdict, or that arms of the prediction are not among the records."""

SAME = 0.1
"""A difference is none where its whole interval is within so much of 0."""

LEAST_MOVES = 6
"""Fewest rounds in which predictions can move for a curve to be fitted to it."""


@dataclass(frozen=True)
class Outcome:
    """A prediction on one data set."""

    dataset: str
    verdict: Found
    reason: str
    """With the number that decided."""
    estimate: float | None = None
    interval: tuple[float, float] | None = None


def outcomes(prediction: Prediction, studies: Sequence[Study], blocks: Sequence[Block]) -> list[Outcome]:
    """Hold a prediction against the base block of every data set.

    Args:
        prediction: what was predicted.
        studies: one per data set, under one risk.
        blocks: all blocks, for predictions on other settings.
    """
    return [_outcome(prediction, study, blocks) for study in studies]


def overall(found: Sequence[Outcome]) -> Found:
    """The verdict over data sets: supported on all that were run, or not supported on any, else not identified."""
    run = {outcome.verdict for outcome in found} - {"not run"}
    if not run:
        return "not run"
    if "not supported" in run:
        return "not supported"
    return "supported" if run == {"supported"} else "not identified"


def _outcome(prediction: Prediction, study: Study, blocks: Sequence[Block]) -> Outcome:
    where, own, other = study.block.dataset, study, prediction.than or prediction.arm
    if prediction.setting:
        block = changed(study.block, prediction.setting, blocks)
        if block is None:
            settings = ", ".join(f"{key}={value}" for key, value in prediction.setting.items())
            return Outcome(where, "not run", f"no records with {settings}")
        own = Study(block, study.predictions, study.risk, draws=study.draws, alpha=study.alpha)
    ours, theirs = own.risks(prediction.arm, prediction.view), study.risks(other, prediction.view)
    if ours is None or theirs is None:
        missing = prediction.arm if ours is None else other
        view = "" if prediction.view == "client" else f" with a view {prediction.view}"
        return Outcome(where, "not run", f"no records of {missing}{view}")
    if ours.shape != theirs.shape or own.block.seeds != study.block.seeds:
        return Outcome(where, "not identified", "the two settings have other seeds or clients")
    if prediction.test == "contracts":
        judgement = own.judged(prediction.arm, prediction.view)
        assert judgement is not None  # its risks are there
        rho = judgement.step.rho
        return Outcome(where, judgement.verdict, judgement.reason, rho.estimate, rho.interval)
    if prediction.test == "movement":
        return _movement(prediction, own)
    if prediction.test == "gap":
        return _gap(prediction, own)
    if prediction.test == "start":
        return _start(prediction, own, ours)
    if prediction.test == "end":
        return _end(prediction, own, ours, theirs)
    return _against(prediction, own, ours, theirs)


def _held(prediction: Prediction, where: str, estimate: float, interval: tuple[float, float] | None) -> Outcome:
    """The verdict on a difference from its interval."""
    if interval is None or not np.isfinite(interval).all():
        return Outcome(where, "not identified", "the difference is unbounded, or takes three seeds", estimate)
    low, high = interval
    inside = low <= 0 <= high
    verdict: Verdict
    if prediction.expect == "same":
        close = low >= -SAME and high <= SAME
        verdict = "supported" if inside and close else "not identified" if inside else "not supported"
    else:
        verdict = "supported" if (high < 0 if prediction.expect == "below" else low > 0) else "not supported"
    return Outcome(where, verdict, f"{estimate:+.3f}, {low:+.3f} to {high:+.3f}", estimate, interval)


def _against(prediction: Prediction, study: Study, ours: Array, theirs: Array) -> Outcome:
    """rho or floor of one arm minus that of another."""
    where, by, alpha = study.block.dataset, study.by, study.alpha
    names = (prediction.arm, prediction.than or f"{prediction.arm} in the other setting")
    for name, risks in zip(names, (ours, theirs), strict=True):
        if falls(risks, start=START, by=by, alpha=alpha)[0] <= 0:
            return Outcome(where, "not identified", f"the risk of {name} does not fall, so it has no {prediction.test}")
        step = one_step(risks, start=START, by=by, alpha=alpha)
        known = step.rho if prediction.test == "rho" else step.floor
        if known.interval is None:
            return Outcome(where, "not identified", f"{prediction.test} of {name} is not identified")
    if prediction.test == "rho":
        slope = difference(ours, theirs, start=START, by=by, alpha=alpha)
        return _held(prediction, where, slope.estimate, slope.interval)
    estimate, interval = _floors(ours, theirs, alpha)
    return _held(prediction, where, estimate, interval)


def _floors(ours: Array, theirs: Array, alpha: float) -> tuple[float, tuple[float, float] | None]:
    """Floor minus floor, with the jackknife's interval over seeds, whose pseudo-values Student's interval is taken of.

    M. Quenouille, 1956, and J. Tukey, 1958. None with fewer than three seeds, of which one has to be left out.
    """

    def floors(kept: NDArray[np.bool_]) -> float:
        own, other = (one_step(risks[kept], start=START, by="client", alpha=alpha).floor for risks in (ours, theirs))
        return own.estimate - other.estimate

    seeds = len(ours)
    whole = floors(np.ones(seeds, dtype=bool))
    if seeds < 3:
        return whole, None
    left_out = np.array([floors(np.arange(seeds) != seed) for seed in range(seeds)])
    low, high = t_interval(seeds * whole - (seeds - 1) * left_out, alpha)
    return whole, (low, high)


def _end(prediction: Prediction, study: Study, ours: Array, theirs: Array) -> Outcome:
    gap = (ours - theirs)[:, :, -END_ROUNDS:].mean(axis=2)
    values = gap.mean(axis=1) if study.by == "seed" else gap.ravel()
    return _held(prediction, study.block.dataset, float(gap.mean()), t_interval(values, study.alpha))


def _start(prediction: Prediction, study: Study, risks: Array) -> Outcome:
    """rho of the clients that start worse minus that of those that start better, halves by the risk of round 0.

    Round 0 is in no regression, so that its noise does not make the worse half improve.
    """
    half = risks.shape[1] // 2
    if not half:
        return Outcome(study.block.dataset, "not identified", "one client has no halves")
    order = np.argsort(risks[:, :, 0], axis=1)
    better, worse = (
        np.take_along_axis(risks, part[:, :, None], axis=1) for part in (order[:, :half], order[:, -half:])
    )
    for name, part in (("better", better), ("worse", worse)):
        if one_step(part, start=START, by=study.by, alpha=study.alpha).rho.interval is None:
            return Outcome(study.block.dataset, "not identified", f"rho of the {name} half is not identified")
    slope = difference(worse, better, start=START, by=study.by, alpha=study.alpha)
    return _held(prediction, study.block.dataset, slope.estimate, slope.interval)


def _gap(prediction: Prediction, study: Study) -> Outcome:
    judgement = study.judged(prediction.arm, prediction.view)
    if judgement is None or judgement.chain is None:
        return Outcome(study.block.dataset, "not run", f"{prediction.arm} has no server models")
    links, gap = judgement.chain, judgement.chain.gap
    if None in (judgement.step.rho.interval, links.a.interval, links.b.interval):
        return Outcome(study.block.dataset, "not identified", "rho, a or b is not identified", gap.estimate)
    return _held(prediction, study.block.dataset, gap.estimate, gap.interval)


def _movement(prediction: Prediction, study: Study) -> Outcome:
    """Whether the distance of successive predictions on U falls, and falls geometrically."""
    where, name = study.block.dataset, DIAGNOSTICS[2]
    moved = study.block.arms[prediction.arm].diagnostics.get(name)
    if moved is None:
        return Outcome(where, "not run", f"no {name}: run {prediction.arm} with diagnostics: true")
    moved = moved[:, np.isfinite(moved).all(axis=0)]
    if len(moved) < 2 or moved.shape[1] < LEAST_MOVES:
        return Outcome(where, "not identified", f"it takes two seeds and {LEAST_MOVES} rounds")
    curves = moved[:, None, :]
    low, high = falls(curves, start=0, alpha=study.alpha)
    if low <= 0:
        return Outcome(where, "not supported", f"the distance does not fall: by {low:.3f} to {high:.3f}")
    fit = fit_curves(
        curves, stream=numpy_stream(0, "contraction bootstrap"), start=0, draws=study.draws, alpha=study.alpha
    )
    rival = min(fit.preferred, key=fit.margin)
    margin, sure = fit.margin(rival), min(fit.preferred.values())
    low, high = fit.rho_interval
    says = f"factor {fit.rho:.2f}, {low:.2f} to {high:.2f}; AICc {margin:+.1f} against a {rival}"
    verdict: Verdict = "supported" if margin >= MARGIN and sure >= SURE else "not identified"
    if margin <= -MARGIN:
        verdict = "not supported"
    elif high - low > WIDEST:
        verdict = "not identified"
    return Outcome(where, verdict, says, fit.rho, (low, high))
