"""A comparison as CSV (benchmarks room): a line per claim, for spreadsheets and other programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from ..leaderboard.budgets import unequal
from ..statistics.result import Prediction

if TYPE_CHECKING:
    from ..statistics.result import Belief, Comparison, Decision, Effect, Joint, OnDataset, Pair


def as_csv(result: Comparison) -> str:
    """A line per claim about two methods: against the control, all pairs, and each data set by itself."""
    effects = {(effect.method, effect.other): effect for effect in result.effects}
    rows = [
        {
            **_csv_pair("primary", result, pair, effects),
            **_csv_decision(result, decision, one),
            **_csv_outlook(result, pair),
        }
        for pair, decision, one in zip(result.primary, result.decisions, result.joint, strict=True)
    ]
    rows += [_csv_pair("all pairs", result, pair, {}) for pair in result.secondary]
    rows += [_csv_pair("diverged at chance level", result, pair, {}) for pair in result.with_chance]
    rows += [_csv_dataset(row) for row in result.per_dataset]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _csv_pair(
    family: str,
    result: Comparison,
    pair: Pair,
    effects: dict[tuple[str, str], Effect],
) -> dict[str, Any]:
    effect = effects.get((pair.method, pair.other))
    row: dict[str, Any] = {
        "family": family,
        "dataset": "",
        "setting": "",
        "method": pair.method,
        "other": pair.other,
        "blocks": pair.blocks,
        "families": result.counts.families,
        "datasets": result.counts.datasets,
        "settings": result.counts.settings,
        "seeds": f"{result.counts.seeds_least}-{result.counts.seeds_most}",
        "difference": pair.difference,
        "low": effect and effect.low,
        "high": effect and effect.high,
        "p": pair.p,
        "p_holm": pair.p_holm,
        "significant": pair.significant,
        "w_plus": pair.w_plus,
        "w_minus": pair.w_minus,
        "zeros": pair.zeros,
        "rank_biserial": pair.rank_biserial,
        "rank_p": pair.rank_p,
    }
    if effect is not None:
        row |= {
            "wins": effect.wins,
            "ties": effect.ties,
            "losses": effect.losses,
            "probability_of_improvement": effect.probability_of_improvement,
        }
    return row


def _csv_outlook(result: Comparison, pair: Pair) -> dict[str, Any]:
    """The posterior of the shift, and what a next data set may bring."""
    row: dict[str, Any] = {}
    found: list[tuple[str, Belief | Prediction]] = [("p", belief) for belief in result.beliefs if _of(pair, belief)]
    found += [(f"next_{at.model.replace('-', '_')}", at) for at in result.predictions if _of(pair, at)]
    for prefix, places in found:
        row |= {f"{prefix}_{name}": getattr(places, name) for name in ("worse", "equivalent", "better")}
        if isinstance(places, Prediction):
            row |= {f"{prefix}_low": places.low, f"{prefix}_high": places.high}
    return row


def _of(pair: Pair, claim: Belief | Prediction) -> bool:
    return (claim.method, claim.other) == (pair.method, pair.other)


def _csv_decision(result: Comparison, decision: Decision, one: Joint) -> dict[str, Any]:
    """The verdict, and what belongs to it."""
    if not result.declared:
        as_declared = "no declaration"
    else:
        as_declared = f"not as declared: {'; '.join(result.departures)}" if result.departures else "as declared"
    return {
        "verdict": decision.verdict,
        "unequal_tuning": unequal(dict(result.table.trials), decision.method, decision.other),
        "verdict_test": decision.test,
        "estimate": decision.estimate,
        "estimate_low": decision.low,
        "estimate_high": decision.high,
        "verdict_p": decision.p,
        "tests_of": decision.family,
        "tests": decision.tests,
        "tests_planned": decision.planned,
        "not_worse": one.not_worse,
        "p_not_worse": one.p_not_worse,
        "simultaneous_low": one.low,
        "simultaneous_high": one.high,
        "declared": as_declared,
    }


def _csv_dataset(row: OnDataset) -> dict[str, Any]:
    return {
        "family": "data set",
        "dataset": row.dataset,
        "setting": row.setting,
        "method": row.method,
        "other": row.other,
        "seeds": row.seeds,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "p": row.p,
        "p_holm": row.p_holm,
        "significant": row.significant,
        "bca_low": row.bca_low,
        "bca_high": row.bca_high,
    }


def _csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
