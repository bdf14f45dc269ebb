"""Any method as the control of a comparison that was made (benchmarks room): the same tests, asked by a reader.

A comparison has one control, which was named or declared before its numbers were seen. Looking at the same table from
another method is fair to do and worth less: the tests are those of one family, with Holm over all other methods.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from .decisions import decisions
from .joint import joint
from .pairs import against_control
from .plan import ALL, Tested
from .study import Study

if TYPE_CHECKING:
    from .result import Comparison, Decision, Joint


@dataclass(frozen=True)
class Against:
    """Every other method of a comparison against one of them."""

    control: str
    own: bool
    """Whether it is the control of the comparison, with its families; else all other methods are one family."""
    decisions: tuple[Decision, ...]
    joint: tuple[Joint, ...]
    """Of the same methods in the same order."""


def against_each(result: Comparison) -> tuple[Against, ...]:
    """The comparison's own control first, then every other method; without those that share no block with another.

    What stands there for a method is what `compare` says with `--control` of that name, but for sentences.
    """
    found = []
    if result.control is not None:
        found.append(Against(result.control, True, result.decisions, result.joint))
    planned = sum({row.family: row.planned for row in result.decisions}.values())
    for name in result.methods:
        others = tuple(other for other in result.methods if other != name)
        if name == result.control:
            continue
        study = Study(result.table, replace(result.options, control=name), name)
        try:
            pairs = against_control(study)
            decided = decisions(study, Tested(ALL, others, max(planned, len(others))))
        except DataError:  # its row would lack a method, and with it a number in the correction
            continue
        found.append(Against(name, False, decided, joint(study, pairs)))
    return tuple(found)
