"""Claims about two methods (benchmarks room): tests with their correction, effects, single data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError
from fl_bench.streams import numpy_stream

from . import effects, ranks
from .multiple import holm, holm_of_methods
from .per_dataset import bca_interval, t_interval
from .result import Effect, OnDataset, Pair
from .shift import p_equivalent
from .study import SEED
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .study import Study
    from .table import Condition, Table

    Array = NDArray[np.float64]


def against_control(study: Study) -> tuple[Pair, ...]:
    """The primary family: every other method against the control; none without a control.

    Holm takes in that equivalence is asked of the same methods, as in `decisions.py`; not where signs turn by family,
    for which there is no test of it, nor with a ROPE of 0.

    Raises:
        DataError: two of them share no block.
    """
    control, methods = study.control, study.table.methods
    if control is None:
        return ()
    pairs = [_pair(study, method, control) for method in methods if method != control]
    means = _mean_ranks(study)
    size = len(methods), len(study.scores)
    raw = [ranks.control_p(means[pair.method] - means[control], *size) for pair in pairs] if means else []
    rope = 0.0 if study.options.blocks == "cluster" else study.options.rope
    close = [p_equivalent(study.differences(pair.method, pair.other), rope) if rope else np.nan for pair in pairs]
    asked = [(pair.p, own) for pair, own in zip(pairs, close, strict=True)]
    adjusted, _ = holm_of_methods(np.reshape(asked, (-1, 2)), study.options.alpha)
    return _adjust(pairs, adjusted[:, 0], [float(p) for p in holm(raw)] if means else None, study.options.alpha)


def all_pairs(study: Study) -> tuple[Pair, ...]:
    """The secondary family.

    Raises:
        DataError: two methods share no block.
    """
    methods = study.table.methods
    pairs = [_pair(study, one, other) for place, one in enumerate(methods) for other in methods[place + 1 :]]
    means = _mean_ranks(study)
    size = len(methods), len(study.scores)
    rank_p = [ranks.nemenyi_p(means[pair.method] - means[pair.other], *size) for pair in pairs] if means else None
    return _adjust(pairs, holm([pair.p for pair in pairs]), rank_p, study.options.alpha)


def effect(study: Study, pair: Pair) -> Effect:
    """How large the difference of a pair is."""
    both = study.common((pair.method, pair.other))
    draws = study.bootstrap((pair.method, pair.other))
    interval = effects.wide_percentiles(draws[pair.method] - draws[pair.other], len(both.families), study.options.alpha)
    means = dict(zip(both.methods, effects.overall_means(both), strict=True))
    wins, ties, losses = effects.win_tie_loss(study.differences(pair.method, pair.other), study.options.rope)
    return Effect(
        method=pair.method,
        other=pair.other,
        difference=float(settled(means[pair.method] - means[pair.other])),
        low=None if interval is None else float(settled(interval[0])),
        high=None if interval is None else float(settled(interval[1])),
        wins=wins,
        ties=ties,
        losses=losses,
        probability_of_improvement=effects.probability_of_improvement(both, pair.method, pair.other),
    )


def on_datasets(study: Study, family: Sequence[Pair]) -> tuple[OnDataset, ...]:
    """Every pair on every data set and setting by itself, corrected over the whole table."""
    found = [(pair, at) for pair in family for at in study.common((pair.method, pair.other)).conditions]
    alpha = study.options.alpha
    rows = [_on_dataset(pair, at, alpha, alpha / len(found)) for pair, at in found]
    tested = [place for place, row in enumerate(rows) if row.p is not None]
    for place, p in zip(tested, holm([rows[place].p or 0.0 for place in tested]), strict=True):
        rows[place] = replace(rows[place], p_holm=float(p), significant=bool(p <= alpha))
    return tuple(rows)


def _on_dataset(pair: Pair, condition: Condition, alpha: float, level: float) -> OnDataset:
    """One cell, not yet adjusted.

    Args:
        pair: who is compared.
        condition: with their numbers only.
        alpha: level of the bootstrap interval.
        level: of Student's interval.
    """
    runs = dict(zip(sorted((pair.method, pair.other)), condition.array(), strict=True))
    differences = runs[pair.method] - runs[pair.other]
    student = t_interval(differences, level)
    bca = bca_interval(differences, alpha, numpy_stream(SEED, "bca", condition.key))
    return OnDataset(
        dataset=condition.dataset,
        setting=condition.setting,
        method=pair.method,
        other=pair.other,
        seeds=len(differences),
        difference=float(settled(differences.mean())),
        low=None if student is None else student[0],
        high=None if student is None else student[1],
        bca_low=None if bca is None else bca[0],
        bca_high=None if bca is None else bca[1],
        p=None if student is None else student[2],
        p_holm=None,
        significant=False,
    )


def _pair(study: Study, method: str, other: str) -> Pair:
    """One test, not yet adjusted."""
    differences = study.differences(method, other)
    if not len(differences):
        raise DataError(f"{method} and {other} share no block; leave one of them out (--methods)")
    test = study.sign_test(method, other)
    return Pair(
        method=method,
        other=other,
        blocks=len(differences),
        zeros=test.zeros,
        difference=float(settled(differences.mean())),
        w_plus=test.w_plus,
        w_minus=test.w_minus,
        p=test.p,
        p_holm=test.p,
        significant=False,
        rank_biserial=test.rank_biserial,
        rank_p=None,
    )


def _adjust(pairs: list[Pair], adjusted: Array, rank_p: list[float] | None, alpha: float) -> tuple[Pair, ...]:
    from_ranks: Sequence[float | None] = rank_p or [None] * len(pairs)
    return tuple(
        replace(pair, p_holm=float(p), significant=bool(p <= alpha), rank_p=other)
        for pair, p, other in zip(pairs, adjusted, from_ranks, strict=True)
    )


def _mean_ranks(study: Study) -> Mapping[str, float]:
    """Mean rank by method; empty where ranks say nothing: incomplete blocks, or two methods."""
    if not study.complete or len(study.table.methods) < 3:
        return {}
    return dict(zip(study.table.methods, ranks.mean_ranks(study.scores).tolist(), strict=True))


def seed_differences(table: Table, method: str, other: str) -> list[Array]:
    """Differences by seed in each family, averaged over settings, then data sets; only seeds that all of those have."""
    result = []
    for datasets in table.families.values():
        rows: list[dict[int, float]] = []
        weights: list[float] = []
        for condition in table.conditions:
            if condition.dataset in datasets:
                runs = dict(zip(table.methods, condition.array(), strict=True))
                differences = runs[method] - runs[other]
                rows.append(dict(zip(condition.seeds, differences.tolist(), strict=True)))
                weights.append(1 / sum(other.dataset == condition.dataset for other in table.conditions))
        seeds = sorted(set.intersection(*(set(row) for row in rows)))
        means = [np.average([row[seed] for row in rows], weights=weights) for seed in seeds]
        result.append(np.array(means, dtype=float))
    return result
