"""From records to the lines of leaderboards (benchmarks room): a pure function of the records.

One line per (dataset, setting, method, view). Seeds are averaged; runs that are not `done` are counted and named,
never averaged in; nothing is dropped silently. The reported round is the last one, or the best on validation data;
the best on test data exists only as the column `optimism`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, get_args

from fl_bench.errors import DataError

from ...federation.settings import UNSEEN
from ..records.checks import Status
from .clusterless import clusterless
from .pairing import check_pairing, comparisons, names_of, setting_brief, setting_text
from .reported import deployed_view, reported_in
from .training_rules import recorded_rules
from .versions import left_out, superseded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..grid.protocol import Protocol
    from ..grid.repetition import Repetition
    from ..records.record import Record
    from ..records.rows import Row
    from ..tuning.ledger import Ledger
    from .reported import Selection
    from .training_rules import LocalRules


LEAKS = ("leak_labels", "leak_labels_prior", "leak_membership", "leak_membership_tpr")
"""Columns of runs whose messages were attacked, of the deployed view."""


@dataclass(frozen=True)
class Line:
    """One line of a leaderboard. Accuracies and gaps in percent (points), bytes per client and round."""

    dataset: str
    setting: str
    """Hash of partition, models and training: lines of different settings must not be compared."""
    setting_text: str
    setting_name: str
    """What tells it from the other settings of the data set, such as `alpha=0.1`; empty where there is one. Files have
    no such column: it depends on which records there are."""
    setting_brief: str
    """The setting in a few words; files have no such column."""
    method: str
    category: str
    """What kind of method it is, such as `bound`; nothing where it is not on record. Files have no such column."""
    view: str
    deployed: bool
    """Whether this view is the method's number; the others say something about it."""
    selection: Selection
    seeds: int
    """Seeds that are averaged, n."""
    acc_mean: float | None
    acc_std: float | None
    """Over seeds, with n - 1 in the denominator; none where runs vary parts of their randomness."""
    acc_ci95_low: float | None
    """95 % interval of the mean over seeds by Student's t; none where runs vary parts of their randomness and share the
    others, which makes them no independent seeds."""
    acc_ci95_high: float | None
    acc_worst_decile: float | None
    """Mean accuracy of the worst tenth of the clients."""
    val: float | None
    """Mean validation accuracy over clients at the reported round, which settings may be chosen by; none for views that
    are not the method's number: only that one is scored on validation data."""
    acc_drawn: float | None
    """Mean accuracy of the clients that took part in at least one round, by then (federation/rows.py); none in records
    from before it was counted. A column only where a line has `acc_new`."""
    acc_new: float | None
    """That of the clients that never took part; none where everybody did."""
    acc_honest: float | None
    """Mean accuracy of the clients that are not poisoned (`faults.poison`); none, and no column, where nobody is."""
    leak_labels: float | None
    """Error of the class shares that a curious server infers from what clients sent in the last round, total variation
    in [0, 1] (`training.leakage`, docs/leakage.md); none, and no column, where no run was attacked."""
    leak_labels_prior: float | None
    """The same error of a prior that reads no message."""
    leak_membership: float | None
    """Area under the curve of its guesses whether a sample was trained on; 0.5 is guessing."""
    leak_membership_tpr: float | None
    """Share of training samples that it finds where it takes 1 % of the others for them."""
    gap_to_local: float | None
    """Mean difference to Local-only, paired by seed."""
    gap_to_centralized: float | None
    optimism: float | None
    """What choosing the round by test accuracy would add; nothing is chosen by it."""
    in_group_ceiling: float | None
    """Mean share of samples from the client's own group: the ceiling of a model that knows only those classes."""
    bytes_up: float | None
    """Bytes that a participating client sends per round."""
    bytes_down: float | None
    bytes_total: float | None
    """Bytes of the whole run, all clients, both ways, without `bytes_one_off`."""
    bytes_one_off: float | None
    """Bytes of shipping the public inputs to all clients once."""
    seconds: float | None
    """Wall seconds of a run."""
    badges: str
    """What the method was told that it should not know."""
    done: int
    diverged: int
    failed: int
    timeout: int
    unsupported: int
    seeds_done: str
    """The seeds that are averaged; `0/init=3` is one whose initial weights come from seed 3."""
    seeds_not_done: str
    """The seeds that ended otherwise, and how."""
    seeds_missing: str
    """Seeds that other methods of this comparison have and this one has not."""
    note: str
    trained_with: LocalRules | None
    """What clients descend the loss of private data by; none where that is not known. A column only where some method
    has an optimizer or rate of its own."""
    protocols: tuple[Protocol, ...]
    """Those of the runs that are averaged or counted, oldest first; a column only where one is beyond the first."""


@dataclass(frozen=True)
class OverallLine:
    """One line over all datasets of a setting."""

    setting: str
    setting_text: str
    method: str
    view: str
    deployed: bool
    selection: Selection
    datasets: int
    """Datasets with a number."""
    datasets_missing: str
    """Datasets of this setting without one; then mean, gap and rank stay empty."""
    seeds_least: int
    acc_mean: float | None
    """Mean over datasets of the means over seeds."""
    val: float | None
    """Mean over datasets of the validation accuracy of the deployed view."""
    gap_to_local: float | None
    rank_mean: float | None
    """Mean rank among deployed views, 1 is best, ties share."""
    badges: str
    trained_with: LocalRules | None
    """As in the lines of single data sets; settings of a method are the same on all."""
    protocols: tuple[Protocol, ...]
    """Those of the runs on all datasets, oldest first; a column only where one is beyond the first."""


@dataclass(frozen=True)
class _Score:
    """One view of one finished run at the reported round."""

    accuracy: float
    worst_decile: float | None
    validation: float | None
    optimism: float
    drawn: float | None
    new: float | None
    honest: float | None


def lines(records: Sequence[Record], selection: Selection = "last", ledger: Ledger | None = None) -> list[Line]:
    """All lines of all leaderboards, sorted.

    Args:
        records: the records to compare.
        selection: which round is reported.
        ledger: of their results folder; no number depends on it.
    Raises:
        DataError: methods of one comparison did not run on the same partition, weights, draws or public order.
    """
    check_pairing(records)
    older = superseded(records)
    blocks = comparisons(records)
    names = names_of(blocks)
    return [
        replace(line, setting_name=names[block])
        for block, methods in blocks.items()
        for line in _block(block, methods, older, selection, ledger)
    ]


def overall(board: Sequence[Line]) -> list[OverallLine]:
    """Lines over all datasets, from the lines of the single ones."""
    ranks = _ranks(board)
    datasets: dict[str, set[str]] = defaultdict(set)
    groups: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in board:
        datasets[line.setting].add(line.dataset)
        groups[line.setting, line.method, line.view].append(line)
    result = []
    for (setting, method, view), group in sorted(groups.items()):
        numbers = [line for line in group if line.acc_mean is not None]
        missing = sorted(datasets[setting] - {line.dataset for line in numbers})
        gaps = [line.gap_to_local for line in numbers if line.gap_to_local is not None]
        places = [ranks[line] for line in numbers if line in ranks]
        whole = not missing
        result.append(
            OverallLine(
                setting=setting,
                setting_text=group[0].setting_text,
                method=method,
                view=view,
                deployed=group[0].deployed,
                selection=group[0].selection,
                datasets=len(numbers),
                datasets_missing=" ".join(missing),
                seeds_least=min((line.seeds for line in numbers), default=0),
                acc_mean=fmean(line.acc_mean for line in numbers if line.acc_mean is not None) if whole else None,
                val=_whole([line.val for line in numbers], whole=whole),
                gap_to_local=fmean(gaps) if whole and len(gaps) == len(numbers) else None,
                rank_mean=fmean(places) if whole and len(places) == len(numbers) else None,
                badges="; ".join(sorted({badge for line in group for badge in line.badges.split("; ") if badge})),
                trained_with=group[0].trained_with,
                protocols=tuple(sorted({protocol for line in group for protocol in line.protocols})),
            )
        )
    return result


def _block(
    block: tuple[str, str],
    methods: Mapping[str, Sequence[Record]],
    older: Sequence[Record],
    selection: Selection,
    ledger: Ledger | None,
) -> list[Line]:
    """The lines of one dataset and setting."""
    seeds = sorted({record.repetition for group in methods.values() for record in group})
    scores = {label: _scores(group, selection) for label, group in methods.items()}
    bounds = ("local", "centralized")
    references = {name: _reference(name, methods, scores) for name in bounds}
    of_unseen = {name: _reference(name, methods, scores, UNSEEN) for name in bounds}
    result = []
    for label, group in methods.items():
        deployed = deployed_view(group)
        outdated, rules = left_out(older, group), recorded_rules(group, ledger)
        for view in sorted(scores[label] or {deployed: {}}, key=lambda view: (view != deployed, view)):
            own, held = scores[label].get(view, {}), of_unseen if view == UNSEEN else references
            line = _line(block, label, view, deployed, group, own, held, seeds, outdated, selection)
            result.append(replace(line, trained_with=rules))
    return result


def _line(
    block: tuple[str, str],
    label: str,
    view: str,
    deployed: str,
    group: Sequence[Record],
    scores: Mapping[Repetition, _Score],
    references: Mapping[str, Mapping[Repetition, _Score]],
    seeds: Sequence[Repetition],
    outdated: str,
    selection: Selection,
) -> Line:
    done = sorted((record for record in group if record.status == "done"), key=lambda record: record.repetition)
    accuracies = [scores[seed].accuracy for seed in sorted(scores)]
    shared = any(seed.varied for seed in scores)  # then they are no independent seeds
    low, high = (None, None) if shared else within_percent(interval(accuracies))
    worst = [score.worst_decile for score in scores.values() if score.worst_decile is not None]
    status = Counter(record.status for record in group)
    ended = {record.repetition: record.status for record in group}
    leaks = {name: _mean(_last(done, name) if view == deployed else []) for name in LEAKS}
    ceilings = [record.facts.get("heterogeneity", {}).get("in_group_test") for record in done]
    badges = {
        badge
        for record in done
        for badge in (*record.facts.get("badges", ()), *record.facts.get("view_badges", {}).get(view, ()))
    }
    return Line(
        dataset=block[0],
        setting=block[1],
        setting_text=setting_text(group[0].cell),
        setting_name="",
        setting_brief=setting_brief(group[0].cell),
        method=label,
        category=next((str(run.facts["category"]) for run in group if "category" in run.facts), ""),
        view=view,
        deployed=view == deployed,
        selection=selection,
        seeds=len(scores),
        acc_mean=_mean(accuracies),
        acc_std=stdev(accuracies) if len(accuracies) > 1 and not shared else None,
        acc_ci95_low=low,
        acc_ci95_high=high,
        acc_worst_decile=_mean(worst),
        val=_mean([score.validation for score in scores.values() if score.validation is not None]),
        acc_drawn=_mean([score.drawn for score in scores.values() if score.drawn is not None]),
        acc_new=_mean([score.new for score in scores.values() if score.new is not None]),
        acc_honest=_mean([score.honest for score in scores.values() if score.honest is not None]),
        leak_labels=leaks["leak_labels"],
        leak_labels_prior=leaks["leak_labels_prior"],
        leak_membership=leaks["leak_membership"],
        leak_membership_tpr=leaks["leak_membership_tpr"],
        gap_to_local=_gap(scores, references["local"]),
        gap_to_centralized=_gap(scores, references["centralized"]),
        optimism=_mean([score.optimism for score in scores.values()]),
        in_group_ceiling=_mean([100 * ceiling for ceiling in ceilings if ceiling is not None]),
        bytes_up=_mean([_total(record, "bytes_up") / _total(record, "participants") for record in done]),
        bytes_down=_mean([_total(record, "bytes_down") / _total(record, "participants") for record in done]),
        bytes_total=_mean([_total(record, "bytes_up") + _total(record, "bytes_down") for record in done]),
        bytes_one_off=_mean([float(record.facts.get("bytes_one_off", 0)) for record in done]),
        seconds=_mean([record.seconds for record in done]),
        badges="; ".join(sorted(badges)),
        **{name: status[name] for name in get_args(Status)},
        seeds_done=" ".join(str(record.repetition) for record in done),
        seeds_not_done=" ".join(f"{seed}:{how}" for seed, how in sorted(ended.items()) if how != "done"),
        seeds_missing=" ".join(str(seed) for seed in seeds if seed not in ended),
        note="; ".join(filter(None, [_note(done, scores, references, selection), clusterless(done), outdated])),
        trained_with=None,
        protocols=tuple(sorted({record.protocol for record in group})),
    )


def _note(
    done: Sequence[Record],
    scores: Mapping[Repetition, _Score],
    references: Mapping[str, Mapping[Repetition, _Score]],
    selection: Selection,
) -> str:
    notes = []
    if selection == "val" and len(scores) < len(done):
        notes.append("no validation data in some runs")
    if any(seed.varied for seed in scores):
        notes.append("runs share seeds, so there is no spread and no interval")
    for name, reference in references.items():
        common = scores.keys() & reference.keys()
        if common and len(common) < len(scores):
            seeds = f"seed{'' if len(common) == 1 else 's'} {' '.join(map(str, sorted(common)))}"
            notes.append(f"gap to {name} over {seeds} only")
    return "; ".join(notes)


def _scores(group: Sequence[Record], selection: Selection) -> dict[str, dict[Repetition, _Score]]:
    """view -> repetition -> score, of the finished runs."""
    result: dict[str, dict[Repetition, _Score]] = defaultdict(dict)
    for record in group:
        if record.status != "done":
            continue
        rows = record.rounds
        for view in record.facts["views"]:
            row = reported_in(rows, view, selection)
            if row is None:
                continue
            column = f"{view}.acc_mean"
            course = [float(value) for value in (one.get(column) for one in rows) if isinstance(value, int | float)]
            accuracy = row.get(column)
            if not isinstance(accuracy, int | float):
                raise DataError(f"{record.folder} is garbled: its rounds lack {column}; remove it and run it again")
            result[view][record.repetition] = _Score(
                float(accuracy),
                _number(row, f"{view}.acc_worst_decile"),
                _number(row, "val_acc_mean") if view == record.facts["deployed"] else None,
                max(course) - float(accuracy),
                _number(row, f"{view}.acc_drawn"),
                _number(row, f"{view}.acc_new"),
                _number(row, f"{view}.acc_honest"),
            )
    return dict(result)


def _reference(
    name: str,
    methods: Mapping[str, Sequence[Record]],
    scores: Mapping[str, Mapping[str, Mapping[Repetition, _Score]]],
    view: str = "",
) -> Mapping[Repetition, _Score]:
    """The scores of a bound by seed, of the view that it deploys unless another is named.

    The bound is the method of that label, or the only one of that name.
    """
    labels = [label for label, group in methods.items() if group[0].cell["method"]["name"] == name]
    chosen = [label for label in labels if label == name] or labels
    return scores[chosen[0]].get(view or deployed_view(methods[chosen[0]]), {}) if len(chosen) == 1 else {}


def _gap(scores: Mapping[Repetition, _Score], reference: Mapping[Repetition, _Score]) -> float | None:
    return _mean([scores[seed].accuracy - reference[seed].accuracy for seed in scores if seed in reference])


def _ranks(board: Sequence[Line]) -> dict[Line, float]:
    """Rank of every deployed line within its dataset and setting; ties share the mean of their places."""
    blocks: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in board:
        if line.deployed and line.acc_mean is not None:
            blocks[line.dataset, line.setting].append(line)
    ranks = {}
    for block in blocks.values():
        values = [line.acc_mean or 0.0 for line in block]
        for line, value in zip(block, values, strict=True):
            better, equal = sum(other > value for other in values), values.count(value)
            ranks[line] = better + (equal + 1) / 2
    return ranks


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """95 % confidence interval of the mean by Student's t with n - 1 degrees of freedom; nothing below two values."""
    if len(values) < 2:
        return None, None
    from scipy.special import stdtrit  # a quarter of a second that no other command should wait for

    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def within_percent(ends: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    """An interval of an accuracy, cut at 0 and 100 percent, beyond which there is none."""
    low, high = ends
    return (None, None) if low is None or high is None else (max(low, 0.0), min(high, 100.0))


def _last(done: Sequence[Record], column: str) -> list[float]:
    """A column of the last round of each run that has a number there."""
    found = [_number(record.rounds[-1], column) for record in done]
    return [value for value in found if value is not None]


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    return float(value) if isinstance(value, int | float) else None


def _total(record: Record, column: str) -> float:
    return float(sum(value for row in record.rounds if isinstance(value := row.get(column), int | float)))


def _whole(values: Sequence[float | None], *, whole: bool) -> float | None:
    """The mean over data sets, where each has a number."""
    known = [value for value in values if value is not None]
    return _mean(known) if whole and len(known) == len(values) else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
