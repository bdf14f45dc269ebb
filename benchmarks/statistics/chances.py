"""From a table to the chance that its comparison shows anything (benchmarks room), family by family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from .comparison import of_family, study_of
from .detection import power_of, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .detection import Power
    from .plan import Plan
    from .result import Options
    from .table import Table


def chances(
    table: Table,
    options: Options,
    plan: Plan,
    *,
    blocks: int | None = None,
    seeds: int | None = None,
    methods: Sequence[str] = (),
    needs: bool = True,
) -> tuple[Power, ...]:
    """What a comparison can be expected to show, family by family.

    Args:
        table: runs whose spread is taken.
        options: as the comparison is asked.
        plan: the families of tests.
        blocks: of the design; None: those of the table.
        seeds: of the design; None: those of the table.
        methods: all methods of the design; those that the table lacks count as tests, too.
        needs: whether to look for designs that would have a good chance.
    Raises:
        DataError: nothing varies, there is no control, the table may not be compared, or one block is to tell of
            several, or several of one.
        ConfigError: the control is no method of the table.
    """
    study, _ = study_of(table, options)
    if study.control is None:
        raise DataError("power is that of tests against a control, and none is named; name it with --control")
    if not study.complete:
        raise DataError(
            "power is told of blocks that have all methods; --on-missing complete-blocks leaves out the others"
        )
    seen = len(study.scores)
    if blocks is not None and (blocks == 1) != (seen == 1):
        raise DataError(
            f"power over {blocks} data sets was asked, and the numbers are of one, which shows no spread over them; "
            "leave --blocks out (the seeds of that one are then what is compared), or run a second one"
            if seen == 1
            else f"power on one data set was asked, and the numbers are of {seen}; one is compared by its seeds: name "
            "it with --datasets, and leave --blocks out"
        )
    known = list(dict.fromkeys([*methods, *study.table.methods]))
    tests = {family.name: len(family.methods) for family in plan.tested(known, study.control)}
    repetitions = max(len(condition.seeds) for condition in study.table.conditions)
    return tuple(
        power_of(
            spread_of(of_family(study, family), family.methods),
            family=family.name,
            tests=tests[family.name],
            blocks=blocks or seen,
            seeds=seeds or repetitions,
            alpha=options.alpha,
            needs=needs,
        )
        for family in plan.tested(study.table.methods, study.control)
    )
