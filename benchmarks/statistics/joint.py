"""All methods against the control as one family (benchmarks room): what holds for all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from .multiple import holm, holm_of_methods
from .power import smallest_p
from .result import Joint
from .shift import hodges_lehmann, p_equivalent, p_not_worse, shift_interval
from .sign_flips import max_t, sign_flips
from .study import SEED
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import Pair
    from .study import Study


def joint(study: Study, family: Sequence[Pair]) -> tuple[Joint, ...]:
    """Estimates, simultaneous intervals and verdicts of a family of pairs; nothing for no pair.

    Args:
        study: what was compared.
        family: pairs that are judged together. Another family of the same study has no part in it.
    """
    if not family:
        return ()
    alpha, rope = study.options.alpha, study.options.rope
    columns = {name: study.scores[:, place] for place, name in enumerate(study.table.methods)}
    wide = np.stack([columns[pair.method] - columns[pair.other] for pair in family], axis=1)
    differences = [study.differences(pair.method, pair.other) for pair in family]
    largest = max_t(wide, sign_flips(len(wide), numpy_stream(SEED, "sign flips")))
    unasked = [[np.nan, np.nan]] * len(family)
    margins = [[p_equivalent(row, rope), p_not_worse(row, rope)] for row in differences] if rope else unasked
    adjusted, _ = holm_of_methods([[pair.p, *own] for pair, own in zip(family, margins, strict=True)], alpha)
    equivalent, not_worse = adjusted[:, 1], adjusted[:, 2]
    least = holm([smallest_p(len(row)) for row in differences])
    rows = []
    for place, (pair, row) in enumerate(zip(family, differences, strict=True)):
        alone, all_hold = shift_interval(row, alpha), shift_interval(row, alpha / len(family))
        rows.append(
            Joint(
                method=pair.method,
                other=pair.other,
                tests=len(family),
                shift=hodges_lehmann(row),
                shift_low=None if alone is None else alone[0],
                shift_high=None if alone is None else alone[1],
                mean=float(settled(row.mean())),
                low=None if all_hold is None else all_hold[0],
                high=None if all_hold is None else all_hold[1],
                p_max=float(largest[place]),
                p_equivalent=float(equivalent[place]),
                equivalent=bool(equivalent[place] <= alpha),
                p_not_worse=float(not_worse[place]),
                not_worse=bool(not_worse[place] <= alpha),
                attainable=bool(least[place] <= alpha),
            )
        )
    return tuple(rows)
