"""All the statistics of a table in one result (benchmarks room): a pure function, the same bytes every time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError, unknown_name

from ..leaderboard.naming import in_setting
from . import pairs, standing
from .decisions import decisions
from .families import apart, together
from .joint import joint
from .plan import CONTROL, whole_table
from .population import unit
from .power import BLOCK_WORDS, blocks_needed, families
from .prediction import beliefs, predictions
from .result import Comparison, Counts, Options
from .spreads import within_spread
from .study import Study
from .variance import seed_variance
from .verdicts import summary, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .plan import Plan, Tested
    from .result import Pair
    from .table import Gap, Table


def compare(table: Table, options: Options | None = None, plan: Plan | None = None) -> Comparison:
    """Everything that can be said of a table.

    Args:
        table: the numbers.
        options: what is asked.
        plan: the families of tests as they were meant; one of all methods of the table when None.
    Raises:
        DataError: numbers are missing and `on_missing` is `refuse`, or nothing is left to compare.
        ConfigError: the control is no method of the table.
    """
    options = options or Options()
    table = _grouped(table, options)
    study, missing = study_of(table, options)
    whole, counts, control = study.table, _count(study), study.control
    plan = plan or whole_table(table.methods, control)
    tested = plan.tested(whole.methods, control) if control is not None else ()
    studies = [study if len(tested) == 1 else of_family(study, family) for family in tested]
    main = studies[0] if studies else study
    by_family = [pairs.against_control(one) for one in studies]
    primary = tuple(pair for family in by_family for pair in family)
    notes = [*whole.notes]
    result = Comparison(
        options=options,
        control=control,
        methods=whole.methods,
        counts=counts,
        blocks=whole.block_labels(options.blocks),
        scores=tuple(tuple(float(v) if np.isfinite(v) else None for v in row) for row in study.scores),
        selection=whole.selection,
        tuning=whole.tuning,
        declared=plan.said,
        departures=plan.departures,
        missing=missing,
        dropped=_dropped(table, whole),
        power=families(plan.sizes(whole.methods, control), counts.blocks, options.alpha, unit(whole, options.blocks)),
        omnibus=standing.omnibus(main, notes),
        primary=primary,
        secondary=pairs.all_pairs(main),
        rank_differences=standing.rank_differences(main),
        decisions=tuple(row for one, family in zip(studies, tested, strict=True) for row in decisions(one, family)),
        effects=tuple(pairs.effect(study, pair) for pair in primary),
        joint=tuple(row for one, family in zip(studies, by_family, strict=True) for row in joint(one, family)),
        beliefs=beliefs(study, primary),
        predictions=tuple(row for pair in primary for row in predictions(study, pair, notes)),
        per_dataset=pairs.on_datasets(study, primary),
        ranks=standing.method_ranks(study, main),
        flips=standing.order_flips(main),
        left_out=standing.leave_one_out(main, studies),
        with_chance=_with_chance(table, study, tested, notes),
        seed_variance=seed_variance(whole) if study.complete else (),
        notes=(),
        summary=(),
        verdicts=(),
        table=whole,
    )
    result = replace(result, notes=tuple(dict.fromkeys([*notes, *_cautions(result)])))
    return replace(result, summary=summary(result), verdicts=verdicts(result))


def study_of(table: Table, options: Options) -> tuple[Study, tuple[str, ...]]:
    """A table that may be compared with its control, and what is missing of it.

    Raises:
        DataError: numbers are missing and `on_missing` is `refuse`, or nothing is left to compare.
        ConfigError: the control is no method of the table.
    """
    if len(table.methods) < 2:
        raise DataError(f"a comparison needs at least two methods, found {', '.join(table.methods) or 'none'}")
    table = _grouped(table, options)
    missing = describe_gaps(table.gaps())
    control = _control(table, options)
    return Study(_without_gaps(table, missing, options), options, control), missing


def _grouped(table: Table, options: Options) -> Table:
    """The table with each data set by itself where that is asked for, and a caution."""
    if options.blocks != "dataset":
        return table
    return replace(table.with_families({}), notes=(*table.notes, *apart(table)))


def describe_gaps(gaps: Iterable[Gap]) -> tuple[str, ...]:
    """What is missing, a line per data set, setting, reason and seeds."""
    seeds: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for gap in gaps:
        seeds[gap.dataset, gap.setting_name, gap.status, gap.method].append(str(gap.seed))
    methods: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for (dataset, setting, status, method), lacking in seeds.items():
        methods[dataset, setting, status, " ".join(lacking)].append(method)
    return tuple(
        f"{in_setting(dataset, setting)}, seed{'s' if ' ' in lacking else ''} {lacking}, {status}: " + ", ".join(names)
        for (dataset, setting, status, lacking), names in methods.items()
    )


def _control(table: Table, options: Options) -> str | None:
    """The control; on one data set the first method where none is named, so that there is something to say."""
    if options.control is None:
        first = table.methods[0] if len(table.datasets) == 1 else None
        return CONTROL if CONTROL in table.methods else first
    if options.control not in table.methods:
        raise unknown_name("method of this comparison", options.control, table.methods)
    return options.control


def of_family(study: Study, family: Tested) -> Study:
    """The control and the methods of a family, and nothing that the others do to them."""
    return replace(study, table=study.table.take_methods((str(study.control), *family.methods)))


def _without_gaps(table: Table, missing: Sequence[str], options: Options) -> Table:
    """A table that can be compared."""
    listed = "\n  ".join(missing)
    if missing and options.on_missing == "refuse":
        raise DataError(
            "the table is incomplete, and comparing what happens to be there would not be fair; missing are\n"
            f"  {listed}\n"
            "run them, or compare fewer methods (--methods), or say what to do with --on-missing: `complete-blocks` "
            "leaves out what some method lacks, `skillings-mack` compares each pair of methods on what both have"
        )
    if not missing:
        return table
    whole = table.complete() if options.on_missing == "complete-blocks" else table.common_seeds()
    if not whole.conditions:
        raise DataError(f"no data set has a seed that all methods have; missing are\n  {listed}")
    return whole


def _dropped(before: Table, after: Table) -> tuple[str, ...]:
    """What going on without the missing numbers cost, by condition."""
    kept = {condition.label: condition.repetitions(after.factors) for condition in after.conditions}
    lines = []
    for condition in before.conditions:
        seeds = condition.repetitions(before.factors)
        lost = [str(seed) for seed in seeds if seed not in kept.get(condition.label, ())]
        if condition.label not in kept:
            lines.append(condition.label)
        elif lost:
            lines.append(f"{condition.label}, seed{'s' if len(lost) > 1 else ''} {' '.join(lost)}")
    return tuple(lines)


def _count(study: Study) -> Counts:
    seeds = [len(condition.seeds) for condition in study.table.conditions]
    return Counts(
        blocks=len(study.scores),
        families=len(study.table.families),
        datasets=len(study.table.datasets),
        settings=len(study.table.settings),
        conditions=len(study.table.conditions),
        seeds_least=min(seeds),
        seeds_most=max(seeds),
    )


def _with_chance(table: Table, study: Study, tested: Sequence[Tested], notes: list[str]) -> tuple[Pair, ...]:
    """The primary tests with diverged runs at chance level; why there are none is added to `notes`."""
    if not any(gap.status == "diverged" for gap in table.gaps()):
        return ()
    try:
        filled, diverged = table.with_chance()
    except DataError as error:
        notes.append(f"diverged runs cannot enter at chance level: {error}")
        return ()
    notes.append(f"with diverged runs at chance level: {'; '.join(describe_gaps(diverged))}")
    whole = filled.complete() if study.options.on_missing == "complete-blocks" else filled.common_seeds()
    study = replace(study, table=whole)
    return tuple(pair for family in tested for pair in pairs.against_control(of_family(study, family)))


def _cautions(result: Comparison) -> list[str]:
    """What a reader must know to read the numbers rightly."""
    notes, counts, options = [], result.counts, result.options
    if counts.datasets == 1:
        notes.append("one data set: no interval over data sets, and no claim beyond it")
    elif counts.families < blocks_needed(1, options.alpha):
        several = BLOCK_WORDS[unit(result.table, "family")][1]
        notes.append(
            f"no intervals over {several}: from {counts.families} none can hold {100 * (1 - options.alpha):g} %, "
            f"{blocks_needed(1, options.alpha)} are needed"
        )
    if counts.seeds_least < 2:
        notes.append("where a data set has one seed there is no interval for it alone")
    if options.blocks == "setting":
        notes.append(
            "blocks are data sets in a setting, a secondary analysis: blocks of one data set are not independent, and "
            "tests over them reject too often; intervals resample whole families of data sets"
        )
    notes += [*together(result.table, options.blocks), *within_spread(result.table, result.control)]
    if not result.table.factors and counts.seeds_most > 1:
        notes.append(
            "one seed sets partition, initial weights, draws and batches together: their shares of the variance "
            "cannot be told apart"
        )
    if result.table.factors:
        notes.append(
            "repetitions vary parts of their randomness and share the rest, so they are no independent seeds: what "
            "takes them for such (tests and intervals on one data set, the hierarchical model, the bootstrap) is surer "
            "than it may be"
        )
    return notes
