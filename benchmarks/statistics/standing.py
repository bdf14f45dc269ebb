"""Claims about the order of methods (benchmarks room): mean ranks, and how firm they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from . import effects, ranks
from .pairs import against_control
from .result import Flip, LeftOut, MethodRank, Omnibus, RankDifferences
from .study import SEED, Study
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def omnibus(study: Study, notes: list[str]) -> Omnibus | None:
    """Whether the methods differ at all; why there is no answer is added to `notes`."""
    blocks, methods = study.scores.shape
    if methods < 3:
        notes.append("two methods need no omnibus test")
        return None
    if blocks < 2:
        notes.append("one block allows no omnibus test")
        return None
    if not study.complete:
        try:
            chi2, df, p = ranks.skillings_mack(study.scores)
        except ValueError as error:
            notes.append(f"no omnibus test: {error}")
            return None
        return Omnibus("Skillings-Mack", blocks, methods, chi2, df, p, None, None, None, "")
    found = ranks.friedman(study.scores)
    agree = bool(np.isinf(found.f))
    return Omnibus(
        test="Friedman",
        blocks=blocks,
        methods=methods,
        chi2=found.chi2,
        chi2_df=found.df,
        chi2_p=found.chi2_p,
        f=None if agree else found.f,
        f_df=found.f_df,
        f_p=found.f_p,
        note="all blocks agree completely: F is infinite, its p the exact probability of that" if agree else "",
    )


def method_ranks(whole: Study, study: Study) -> tuple[MethodRank, ...]:
    """Every method's mean, best mean rank first.

    Args:
        whole: all methods.
        study: those that are ranked; the others, ablations and bounds, follow by their means.
    """
    rows = [_mean(whole, method) for method in study.table.methods]
    if study.complete:
        mean_ranks = ranks.mean_ranks(study.scores).tolist()
        rows = [replace(row, mean_rank=rank) for row, rank in zip(rows, mean_ranks, strict=True)]
    if study.complete and len(study.table.families) > 1:
        draws = ranks.bootstrap_ranks(study.scores, study.groups, effects.DRAWS, numpy_stream(SEED, "ranks"))
        interval = effects.wide_percentiles(draws, len(study.table.families), study.options.alpha)
        without = np.array(list(ranks.leave_one_out(study.scores, study.groups).values()))
        best = _share_of_best(draws)
        rows = [
            replace(
                row,
                rank_low=None if interval is None else float(interval[0][place]),
                rank_high=None if interval is None else float(interval[1][place]),
                best=float(best[place]),
                without_one=(float(without[:, place].min()), float(without[:, place].max())),
            )
            for place, row in enumerate(rows)
        ]
    rest = [_mean(whole, method) for method in whole.table.methods if method not in study.table.methods]
    return tuple(
        row
        for group in (rows, rest)
        for row in sorted(group, key=lambda row: (row.mean_rank or 0.0, -row.mean, row.method))
    )


def rank_differences(study: Study) -> RankDifferences | None:
    """Critical differences of mean ranks; None where ranks say nothing."""
    blocks, methods = study.scores.shape
    if not study.complete or methods < 3 or blocks < 2:
        return None
    alpha = study.options.alpha
    difference = ranks.critical_difference(methods, blocks, alpha)
    groups = ranks.cliques(ranks.mean_ranks(study.scores), difference)
    return RankDifferences(
        alpha=alpha,
        critical_difference=difference,
        control_difference=ranks.control_difference(methods, blocks, alpha),
        groups=tuple(tuple(study.table.methods[place] for place in group) for group in groups),
    )


def order_flips(study: Study) -> tuple[Flip, ...]:
    """Pairs whose order by mean rank depends on a third method; none where blocks are incomplete."""
    if not study.complete:
        return ()
    methods = study.table.methods
    return tuple(
        Flip(methods[better], methods[worse], tuple(methods[third] for third in thirds))
        for better, worse, thirds in ranks.order_flips(study.scores)
    )


def leave_one_out(study: Study, families: Sequence[Study]) -> tuple[LeftOut, ...]:
    """The leader and the primary verdicts without each family of data sets; none where blocks are incomplete.

    With a block less every p is larger. Where a verdict is lost without any of half of them or more, that is the
    reason, and none of them is named for it.

    Args:
        study: the methods that are ranked.
        families: those that are tested together.
    """
    if not all(one.complete for one in (study, *families)) or len(study.table.families) < 2:
        return ()
    everywhere = _differing(families)
    rests = [[_without(family, unit) for family in families] for unit in study.table.families]
    now = [_differing(rest) for rest in rests]
    often = {name for name in everywhere if 2 * sum(name not in found for found in now) >= len(now)}
    rows = []
    for unit, label, found in zip(study.table.families, study.table.family_labels(), now, strict=True):
        part = _without(study, unit)
        leader = part.table.methods[int(np.argmin(settled(ranks.mean_ranks(part.scores))))]
        lost = everywhere - found - often
        rows.append(LeftOut(label, leader, tuple(sorted(found - everywhere)), tuple(sorted(lost))))
    return tuple(rows)


def _differing(families: Sequence[Study]) -> set[str]:
    """Methods that differ significantly from the control."""
    return {pair.method for family in families for pair in against_control(family) if pair.significant}


def _without(study: Study, unit: str) -> Study:
    return replace(study, table=study.table.take_conditions(lambda at: at.unit != unit))


def _mean(study: Study, method: str) -> MethodRank:
    own = study.common([method])
    draws = study.bootstrap([method])[method]
    interval = effects.wide_percentiles(draws, len(own.families), study.options.alpha)
    return MethodRank(
        method=method,
        mean=float(effects.overall_means(own)[0]),
        low=None if interval is None else float(interval[0]),
        high=None if interval is None else float(interval[1]),
        blocks=len(own.block_labels(study.options.blocks)),
        mean_rank=None,
        rank_low=None,
        rank_high=None,
        best=None,
        without_one=None,
    )


def _share_of_best(draws: Array) -> Array:
    """In which share of the draws each method has the best mean rank; level ones share it."""
    top = settled(draws) == settled(draws).min(axis=1, keepdims=True)
    shares: Array = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
