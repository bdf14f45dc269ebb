"""All the statistics of a table in one result (benchmarks room): a pure function, the same bytes every time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError, unknown_name

from . import pairs, standing
from .families import apart, together
from .population import unit
from .power import BLOCK_WORDS, blocks_needed, families
from .result import Comparison, Counts, Options
from .spreads import within_spread
from .study import Study
from .variance import seed_variance
from .verdicts import summary, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .result import Pair
    from .table import Gap, Table

CONTROL = "cosmos"
"""The control where none is named."""


def compare(table: Table, options: Options | None = None) -> Comparison:
    """Everything that can be said of a table.

    Raises:
        DataError: numbers are missing and `on_missing` is `refuse`, or nothing is left to compare.
        ConfigError: the control is no method of the table.
    """
    options = options or Options()
    if len(table.methods) < 2:
        raise DataError(f"a comparison needs at least two methods, found {', '.join(table.methods) or 'none'}")
    if options.blocks == "dataset":
        table = replace(table.with_families({}), notes=(*table.notes, *apart(table)))
    missing = describe_gaps(table.gaps())
    study = Study(_without_gaps(table, missing, options), options, _control(table, options))
    whole, counts = study.table, _count(study)
    notes = [*whole.notes]
    primary = pairs.against_control(study)
    result = Comparison(
        options=options,
        control=study.control,
        methods=whole.methods,
        counts=counts,
        blocks=whole.block_labels(options.blocks),
        scores=tuple(tuple(float(v) if np.isfinite(v) else None for v in row) for row in study.scores),
        selection=whole.selection,
        tuning=whole.tuning,
        missing=missing,
        dropped=_dropped(table, whole),
        power=families(
            len(whole.methods),
            counts.blocks,
            options.alpha,
            unit(whole, options.blocks),
            control=study.control is not None,
        ),
        omnibus=standing.omnibus(study, notes),
        primary=primary,
        secondary=pairs.all_pairs(study),
        rank_differences=standing.rank_differences(study),
        effects=tuple(pairs.effect(study, pair) for pair in primary),
        beliefs=tuple(belief for pair in primary for belief in pairs.beliefs(study, pair, notes)),
        per_dataset=tuple(row for pair in primary for row in pairs.on_datasets(study, pair)),
        ranks=standing.method_ranks(study),
        flips=standing.order_flips(study),
        left_out=standing.leave_one_out(study),
        with_chance=_with_chance(table, study, notes),
        seed_variance=seed_variance(whole) if study.complete else (),
        notes=(),
        summary=(),
        verdicts=(),
        table=whole,
    )
    result = replace(result, notes=tuple(dict.fromkeys([*notes, *_cautions(result)])))
    return replace(result, summary=summary(result), verdicts=verdicts(result))


def describe_gaps(gaps: Iterable[Gap]) -> tuple[str, ...]:
    """What is missing, a line per data set, setting, reason and seeds."""
    seeds: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for gap in gaps:
        seeds[gap.dataset, gap.setting, gap.status, gap.method].append(str(gap.seed))
    methods: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for (dataset, setting, status, method), lacking in seeds.items():
        methods[dataset, setting, status, " ".join(lacking)].append(method)
    return tuple(
        f"{dataset}{f' [{setting}]' if setting else ''}, seed{'s' if ' ' in lacking else ''} {lacking}, {status}: "
        + ", ".join(names)
        for (dataset, setting, status, lacking), names in methods.items()
    )


def _control(table: Table, options: Options) -> str | None:
    if options.control is None:
        return CONTROL if CONTROL in table.methods else None
    if options.control not in table.methods:
        raise unknown_name("method of this comparison", options.control, table.methods)
    return options.control


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


def _with_chance(table: Table, study: Study, notes: list[str]) -> tuple[Pair, ...]:
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
    return pairs.against_control(replace(study, table=whole))


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
            "one seed moves partition, initial weights, draws and batches together: their shares of the variance "
            "cannot be told apart"
        )
    if result.table.factors:
        notes.append(
            "repetitions vary parts of their randomness and share the rest, so they are no independent seeds: what "
            "takes them for such (tests and intervals on one data set, the hierarchical model, the bootstrap) is surer "
            "than it may be"
        )
    values = [value for row in result.scores for value in row if value is not None]
    if 0 < max(values) - min(values) < options.rope:
        notes.append(
            f"all numbers lie within the ROPE of {options.rope:g} points; if they are shares of 1 and no percentages, "
            "give --rope 0.01"
        )
    return notes
