"""The contraction study as text and as plain values (benchmarks room): arms, forms, steps, curves, predictions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..contraction.outcomes import overall
from ..contraction.study import END_ROUNDS, badges
from .printing import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ...cosmos.theory.steps import Slope
    from ...cosmos.theory.verdicts import Judgement
    from ..contraction.outcomes import Outcome
    from ..contraction.predictions import Prediction
    from ..contraction.reading import Risk
    from ..contraction.study import Study

SHOWN_ROUNDS = (0, 1, 2, 4, 9, 19)
"""Rounds whose mean risk is printed, and the last."""

UNKNOWN = "not identified"

Held: TypeAlias = "Sequence[tuple[Prediction, Sequence[Outcome]]]"
"""Every prediction with what came of it on each data set."""


def print_study(console: Console, study: Study) -> None:
    """Print what one data set says: verdicts, forms, steps, residuals on U, curves."""
    block = study.block
    seeds = " ".join(map(str, block.seeds))
    print_table(
        console,
        _arm_rows(study),
        title=f"{block.dataset}: {study.risk}",
        caption=f"{block.clients} clients, {block.rounds} rounds, seeds {seeds}; deployed models; intervals "
        f"{100 * (1 - study.alpha):g} %, clusters: {study.by}s\n"
        f"end: mean of the last {END_ROUNDS} rounds. rho, floor: of one-step regressions from round 1 on; the excess "
        f"over the floor shrinks to rho of itself in a round\n* {_starred(study)}" + _left_out(study),
    )
    judged = {label: found for label in study.arms if (found := study.judged(label)) is not None}
    print_table(
        console,
        [_form_row(label, found) for label, found in judged.items()],
        title="\nForms",
        caption="F + A rho^t: rho and F of the fit with bootstrap intervals over seeds and clients; the others: their "
        "AICc minus that of F + A rho^t, positive speaks for it, below 2 says little",
    )
    chains = {label: found for label, found in judged.items() if found.chain is not None}
    if chains:
        print_table(
            console,
            [_chain_row(label, found) for label, found in chains.items()],
            title="\nServer and clients",
            caption="a: the server's risk on its clients'; b: a client's next risk on its server's; ab: both, to hold "
            "against rho; through: b beside the client's own risk, 0 where clients improve by themselves; ?: not "
            "identified",
        )
    residuals = [row for label in study.arms if (row := _residual_row(study, label))]
    if residuals:
        print_table(
            console,
            residuals,
            title="\nOn the public pool",
            caption="first -> end: KL of clients from their targets after distillation, of server models from theirs "
            "after training, and how far predictions move in a round",
        )
    print_table(console, _curve_rows(study), title="\nMean risk after round", caption=_excess(study))
    console.print()
    for label, found in judged.items():
        console.print(f"{label}: {found.verdict}: {found.reason}", markup=False, highlight=False)
    console.print()


def print_predictions(console: Console, risk: Risk, held: Held, *, reasons: bool) -> None:
    """Print the verdict on every prediction, and with `reasons` the number that decided on each data set."""
    rows = [
        {
            "prediction": prediction.name,
            **{outcome.dataset: outcome.verdict for outcome in found},
            "all": overall(found),
        }
        for prediction, found in held
    ]
    counts = [row["all"] for row in rows]
    said = ", ".join(f"{counts.count(verdict)} {verdict}" for verdict in dict.fromkeys(counts))
    print_table(
        console,
        rows,
        title=f"Predictions: {risk}",
        caption=f"{said}. All: supported on every data set, or not supported on any. Each prediction is held at its "
        "own level: with so many, some intervals miss by chance",
    )
    if not reasons:
        console.print("--reasons prints what each says, and the number that decided\n", markup=False, highlight=False)
        return
    for prediction, found in held:
        console.print(f"\n{prediction.name}: {prediction.says}", markup=False, highlight=False)
        for outcome in found:
            text = f"  {outcome.dataset}: {outcome.verdict}: {outcome.reason}"
            console.print(text, markup=False, highlight=False)
    console.print()


def as_plain(risk: Risk, studies: Sequence[Study], held: Held) -> dict[str, Any]:
    """All that is said under one risk as plain values for JSON; what is not a finite number is null."""
    values = {
        "risk": risk,
        "studies": [_plain_study(study) for study in studies],
        "predictions": [
            {**asdict(prediction), "verdict": overall(found), "outcomes": [asdict(outcome) for outcome in found]}
            for prediction, found in held
        ],
    }
    plain: dict[str, Any] = _finite(values)
    return plain


def _plain_study(study: Study) -> dict[str, Any]:
    block = study.block
    return {
        "dataset": block.dataset,
        "setting": block.setting,
        "setting_text": block.setting_text,
        "seeds": [seed.shown for seed in block.seeds],
        "clients": block.clients,
        "rounds": block.rounds,
        "clusters": study.by,
        "draws": study.draws,
        "alpha": study.alpha,
        "left_out": list(block.left_out),
        "references": {
            label: {**_plain_end(study, label), "lowest": study.lowest(label)} for label in study.references
        },
        "arms": {label: _plain_arm(study, label) for label in study.arms},
    }


def _plain_end(study: Study, label: str) -> dict[str, Any]:
    end = study.end(label)
    return {
        "badges": list(study.block.arms[label].badges),
        "curve": study.curve(label),
        "end": None if end is None else asdict(end),
    }


def _plain_arm(study: Study, label: str) -> dict[str, Any]:
    judged, arm = study.judged(label), study.block.arms[label]
    other = {view: study.curve(label, view) for view in arm.views if view != arm.deployed}
    return {
        **_plain_end(study, label),
        "control": label in study.predictions.controls,
        "other_views": other,
        "judgement": None if judged is None else asdict(judged),
        "diagnostics": {name: np.mean(values, axis=0).tolist() for name, values in arm.diagnostics.items()},
    }


def _arm_rows(study: Study) -> list[dict[str, Any]]:
    rows = []
    for label in [*study.arms, *study.references]:
        end, judged = study.end(label), study.judged(label) if label in study.arms else None
        rows.append(
            {
                "arm": label + (" *" if study.block.arms[label].badges else ""),
                "end": "" if end is None else f"{end.mean:.3f}",
                "rho": "" if judged is None else _slope(judged.step.rho),
                "floor": "" if judged is None else _slope(judged.step.floor),
                "verdict": "reference" if judged is None else judged.verdict,
            }
        )
    return rows


def _form_row(label: str, judged: Judgement) -> dict[str, Any]:
    fit = judged.fit
    return {
        "arm": label,
        "rho": _span(fit.rho, fit.rho_interval) if judged.fall[0] > 0 else "does not fall",
        "F": _span(fit.floor, fit.floor_interval) if judged.fall[0] > 0 else "-",
        **{form: f"{fit.margin(form):+.1f}" for form in fit.preferred},
    }


def _chain_row(label: str, judged: Judgement) -> dict[str, Any]:
    links = judged.chain
    assert links is not None  # those without are left out
    return {
        "arm": label,
        "a": _slope(links.a, "?"),
        "b": _slope(links.b, "?"),
        "ab": "?" if None in (links.a.interval, links.b.interval) else f"{links.a.estimate * links.b.estimate:.2f}",
        "through": _slope(links.through_server, "?"),
    }


def _residual_row(study: Study, label: str) -> dict[str, Any]:
    found = study.residuals(label)
    names = {"distill_residual": "clients", "server_residual": "server", "prediction_change": "movement"}
    texts = {
        short: "" if name not in found else "{:.4f} -> {:.4f}".format(*found[name]) for name, short in names.items()
    }
    return {"arm": label, **texts} if found else {}


def _curve_rows(study: Study) -> list[dict[str, Any]]:
    last = study.block.rounds - 1
    shown = [index for index in SHOWN_ROUNDS if index < last] + [last]
    base = study.lowest(study.references[0]) if study.references else None
    rows = []
    for label in [*study.arms, *study.references]:
        curve, end = study.curve(label), study.end(label)
        row = {"arm": label, **{str(index): f"{curve[index]:.3f}" for index in shown if curve}}
        if base is not None:
            row["excess"] = "" if end is None else f"{end.mean - base:+.3f}"
        rows.append(row)
    return rows


def _excess(study: Study) -> str:
    if not study.references:
        return ""
    return f"excess: end minus the lowest risk of {study.references[0]} in any round, an oracle: chosen on test data"


def _starred(study: Study) -> str:
    told = {label: badges(study.block.arms[label]) for label in [*study.arms, *study.references]}
    return "; ".join(dict.fromkeys(text for text in told.values() if text)) or "none of these is an oracle"


def _left_out(study: Study) -> str:
    return f"\nin no number: {'; '.join(study.block.left_out)}" if study.block.left_out else ""


def _slope(slope: Slope, unknown: str = UNKNOWN) -> str:
    return unknown if slope.interval is None else _span(slope.estimate, slope.interval)


def _span(value: float, interval: tuple[float, float]) -> str:
    """`0.74 (.67 .81)`, in as few characters as eighty columns have for it."""
    low, high = (f"{edge:.2f}".replace("0.", ".", 1) if abs(edge) < 0.995 else f"{edge:.2f}" for edge in interval)
    return f"{value:.2f} ({low} {high})"


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
