"""From tests to one of four verdicts on each method (benchmarks room): better, worse, equivalent, undecided.

Over data sets the test is the exact signed rank, its estimate the Hodges-Lehmann shift. On one data set the only
repetitions are seeds, and the test is Student's t of differences paired by seed, its estimate their mean. Holm corrects
within a family, for both questions together: is there a difference, is it smaller than the ROPE? Of each method at most
one answer can be false (`multiple.holm_of_methods`). An interval holds what its test does not reject at the very step
at which Holm looked at it, so it never contradicts the verdict:

    better, worse     without 0
    equivalent        within the ROPE (two one-sided tests, hence the interval at twice the level)
    undecided         neither of them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .multiple import holm_of_methods
from .pairs import seed_differences
from .per_dataset import t_interval
from .result import Decision
from .shift import hodges_lehmann, p_equivalent, shift_interval
from .signed_rank import signed_rank
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .plan import Tested
    from .result import Verdict
    from .study import Study

    Array = NDArray[np.float64]


def decisions(study: Study, family: Tested) -> tuple[Decision, ...]:
    """The verdicts on the methods of a family against the control.

    Args:
        study: what was compared, with a control.
        family: the tests that are made together.
    """
    control = study.control
    assert control is not None
    if len(study.table.datasets) == 1:
        rows = [seed_differences(study.common((name, control)), name, control)[0] for name in family.methods]
        return _decide(study, family, [_Seeds(row, shared=bool(study.table.factors)) for row in rows])
    return _decide(study, family, [_Blocks(*study.observed(name, control)) for name in family.methods])


class _Blocks:
    """Differences of blocks, or of data sets whose signs turn by family, judged by the signed rank."""

    test = "signed rank"

    def __init__(self, differences: Array, families: Sequence[str]) -> None:
        self.differences = differences
        self.families = families
        self.units = len(set(families)) or len(differences)
        self.estimate = hodges_lehmann(differences)

    def p(self) -> float | None:
        return signed_rank(self.differences, self.families).p

    def p_equivalent(self, rope: float) -> float | None:
        return None if self.families or not rope else p_equivalent(self.differences, rope)

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """None also where signs turn by family: no interval belongs to that test."""
        return None if self.families else shift_interval(self.differences, alpha)


class _Seeds:
    """Differences on one data set, paired by seed, judged by Student's t."""

    test = "paired t"

    def __init__(self, differences: Array, *, shared: bool) -> None:
        self.differences = differences
        self.units = len(differences)
        self.estimate = float(settled(differences.mean()))
        self._shared = shared
        """Repetitions that share parts of their seeds are no independent ones, and nothing is tested."""

    def p(self) -> float | None:
        found = None if self._shared else t_interval(self.differences, 0.05)
        return None if found is None else found[2]

    def p_equivalent(self, rope: float) -> float | None:
        """Two one-sided tests, the larger p of the two."""
        sides = [
            None if self._shared else t_interval(row, 0.05)
            for row in (self.differences + rope, self.differences - rope)
        ]
        if sides[0] is None or sides[1] is None or not rope:
            return None
        above, below = (self.estimate + rope > 0), (self.estimate - rope < 0)
        return max(
            sides[0][2] / 2 if above else 1 - sides[0][2] / 2,
            sides[1][2] / 2 if below else 1 - sides[1][2] / 2,
        )

    def interval(self, alpha: float) -> tuple[float, float] | None:
        found = None if self._shared else t_interval(self.differences, alpha)
        return None if found is None else found[:2]


def _decide(study: Study, family: Tested, samples: Sequence[_Blocks | _Seeds]) -> tuple[Decision, ...]:
    alpha, rope = study.options.alpha, study.options.rope
    raw = [sample.p() for sample in samples]
    same = [sample.p_equivalent(rope) for sample in samples]
    asked = [
        (1.0 if differs is None else differs, np.nan if close is None else close)  # a test that cannot be made counts
        for differs, close in zip(raw, same, strict=True)
    ]
    adjusted, levels = holm_of_methods(asked, alpha)
    rows = []
    for place, (name, sample) in enumerate(zip(family.methods, samples, strict=True)):
        differs, equivalent = map(bool, adjusted[place] <= alpha)
        shown = differs and sample.estimate != 0
        verdict: Verdict = "undecided"
        if shown:
            verdict = "better" if sample.estimate > 0 else "worse"
        elif equivalent:
            verdict = "equivalent"
        claim = int(verdict == "equivalent")
        level = (1 + claim) * float(levels[place, claim])  # two one-sided tests have the interval of twice their level
        interval = None if raw[place] is None else sample.interval(level)
        rows.append(
            Decision(
                method=name,
                other=str(study.control),
                family=family.name,
                verdict=verdict,
                test=sample.test,  # type: ignore[arg-type]  # one of the two by class
                units=sample.units,
                estimate=sample.estimate,
                low=None if interval is None else float(settled(interval[0])),
                high=None if interval is None else float(settled(interval[1])),
                p=None if raw[place] is None else float(adjusted[place, claim]),
                tests=len(family.methods),
                planned=family.planned,
                negligible=shown and equivalent,
            )
        )
    return tuple(rows)
