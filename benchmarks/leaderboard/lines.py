"""From records to leaderboards (benchmarks room): a pure function of the records, byte for byte.

One line per (dataset, setting, method, view). Seeds are averaged; runs that are not `done` are counted and named,
never averaged in; nothing is dropped silently. The reported round is the last one, or the best on validation data;
the best on test data exists only as the column `optimism`.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, fields
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal, get_args

from fl_bench.errors import DataError, StorageError
from fl_bench.files import write_file

from ..grid.cell import safe_name, short_hash
from ..records.record import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..grid.repetition import Repetition
    from ..records.record import Record
    from ..records.rows import Row

Selection = Literal["last", "val"]
"""Which round is reported: the last, or the (first) best of the mean validation accuracy."""

PLACES = {"seconds": 2, "bytes_up": 1, "bytes_down": 1, "bytes_total": 0, "bytes_one_off": 0, "rank_mean": 2}
"""Decimals of a column; 4 for all others."""


@dataclass(frozen=True)
class Line:
    """One line of a leaderboard. Accuracies and gaps in percent (points), bytes per client and round."""

    dataset: str
    setting: str
    """Hash of partition, models and training: lines of different settings must not be compared."""
    setting_text: str
    method: str
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
    gap_to_local: float | None
    rank_mean: float | None
    """Mean rank among deployed views, 1 is best, ties share."""
    badges: str


@dataclass(frozen=True)
class _Score:
    """One view of one finished run at the reported round."""

    accuracy: float
    worst_decile: float | None
    optimism: float


def lines(records: Sequence[Record], selection: Selection = "last") -> list[Line]:
    """All lines of all leaderboards, sorted.

    Args:
        records: the records to compare.
        selection: which round is reported.
    Raises:
        DataError: methods of one comparison did not run on the same partition, weights, draws or public order.
    """
    check_pairing(records)
    return [line for block, methods in comparisons(records).items() for line in _block(block, methods, selection)]


def comparisons(records: Sequence[Record]) -> dict[tuple[str, str], dict[str, list[Record]]]:
    """What may be compared: (dataset, setting hash) -> name of a method in tables -> its records, all sorted by name.

    Methods are told apart by their settings. One that goes by several labels is named by its commonest; where two go by
    one label, the names carry a hash of their settings.
    """
    blocks: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        block = str(record.cell["dataset"]), setting_hash(record.cell)
        blocks[block][short_hash(record.cell["method"], 6)].append(record)
    named = {}
    for block in sorted(blocks):
        names = _labels(blocks[block])
        named[block] = {names[key]: blocks[block][key] for key in sorted(names, key=lambda key: names[key])}
    return named


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
                gap_to_local=fmean(gaps) if whole and len(gaps) == len(numbers) else None,
                rank_mean=fmean(places) if whole and len(places) == len(numbers) else None,
                badges="; ".join(sorted({badge for line in group for badge in line.badges.split("; ") if badge})),
            )
        )
    return result


def check_pairing(records: Sequence[Record]) -> None:
    """Refuse records that look comparable and are not.

    Methods of one (dataset, setting, repetition) must have had the same data, partition, initial weights, client draws
    and public order.

    Raises:
        DataError: names what differs and in which records.
    """
    seen: dict[tuple[Any, ...], tuple[str, Record]] = {}
    for record in sorted(records, key=lambda record: record.folder.as_posix()):
        hashes = dict(record.facts.get("pairing", {}))
        if "dataset" in record.facts:
            hashes["data"] = record.facts["dataset"].get("fingerprint")
        for what, value in hashes.items():
            block = (record.cell["dataset"], setting_hash(record.cell), record.repetition, what)
            known, other = seen.setdefault(block, (value, record))
            if known != value:
                raise DataError(
                    f"these runs are not comparable: their {what.replace('_', ' ')} differs\n  {other.folder}\n"
                    f"  {record.folder}\nremove one of the folders and run it again with the same fl-bench and data"
                )


def setting_hash(cell: Mapping[str, Any]) -> str:
    """Six hex digits for all of a cell but dataset, method and repetition."""
    other = ("dataset", "method", "seed", "varied")
    return short_hash({name: value for name, value in cell.items() if name not in other}, 6)


def setting_text(cell: Mapping[str, Any]) -> str:
    """The setting in words; `setting_hash` is the exact form."""
    partition, training, models = dict(cell["partition"]), cell["training"], cell["models"]
    scheme = partition.pop("scheme")
    knobs = ", ".join(f"{name}={_short(value)}" for name, value in partition.items())
    nets = "+".join(models["names"]) + (f" (server {models['server']})" if models.get("server") else "")
    return (
        f"{scheme}({knobs}); {nets}; {training['rounds']} rounds, {training['local_epochs']} local epochs, "
        f"batch {training['batch_size']}, {training['optimizer']} {_short(training['lr'])}, "
        f"participation {_short(training['participation'])}"
        f"{'; deployed views only' if training.get('views') == 'deployed' else ''}"
    )


def files(records: Sequence[Record], selection: Selection = "last") -> dict[str, str]:
    """The leaderboards as file name to content."""
    board = lines(records, selection)
    result = {}
    for dataset in sorted({line.dataset for line in board}):
        own = [line for line in board if line.dataset == dataset]
        result[f"{safe_name(dataset)}.csv"] = _table(Line, own)
    result["overall.csv"] = _table(OverallLine, overall(board))
    return result


def write(folder: Path, content: Mapping[str, str]) -> None:
    """Write the leaderboards, and remove tables that no record stands behind any more.

    Raises:
        StorageError: the folder cannot be written to.
    """
    for name, text in content.items():
        write_file(folder / name, text)
    try:
        for path in folder.glob("*.csv"):
            if path.name not in content:
                path.unlink()
    except OSError as error:
        raise StorageError(f"cannot remove outdated tables from {folder}: {error.strerror}") from None


def differences(folder: Path, content: Mapping[str, str]) -> list[str]:
    """How the files on disk differ from the leaderboards of the records: lines of a unified diff, none if equal."""
    present = {path.name: path.read_bytes().decode(errors="replace") for path in sorted(folder.glob("*.csv"))}
    found: list[str] = []
    for name in sorted(present.keys() | content.keys()):
        before, after = present.get(name, ""), content.get(name, "")
        if before != after:
            found += difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                f"{folder / name}",
                f"{name} from the records",
                lineterm="",
                n=0,
            )
            found += [] if before.splitlines() != after.splitlines() else [f"{folder / name}: line ends differ"]
    return found


def _block(block: tuple[str, str], methods: Mapping[str, Sequence[Record]], selection: Selection) -> list[Line]:
    """The lines of one dataset and setting."""
    seeds = sorted({record.repetition for group in methods.values() for record in group})
    scores = {label: _scores(group, selection) for label, group in methods.items()}
    references = {name: _reference(name, methods, scores) for name in ("local", "centralized")}
    result = []
    for label, group in methods.items():
        deployed = deployed_view(group)
        for view in sorted(scores[label] or {deployed: {}}, key=lambda view: (view != deployed, view)):
            own = scores[label].get(view, {})
            result.append(_line(block, label, view, deployed, group, own, references, seeds, selection))
    return result


def deployed_view(group: Sequence[Record]) -> str:
    """The view that is a method's number; nothing where no run of it is done."""
    return next((str(record.facts["deployed"]) for record in group if record.status == "done"), "")


def _line(
    block: tuple[str, str],
    label: str,
    view: str,
    deployed: str,
    group: Sequence[Record],
    scores: Mapping[Repetition, _Score],
    references: Mapping[str, Mapping[Repetition, _Score]],
    seeds: Sequence[Repetition],
    selection: Selection,
) -> Line:
    done = sorted((record for record in group if record.status == "done"), key=lambda record: record.repetition)
    accuracies = [scores[seed].accuracy for seed in sorted(scores)]
    shared = any(seed.varied for seed in scores)  # then they are no independent seeds
    low, high = (None, None) if shared else interval(accuracies)
    worst = [score.worst_decile for score in scores.values() if score.worst_decile is not None]
    status = Counter(record.status for record in group)
    ended = {record.repetition: record.status for record in group}
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
        method=label,
        view=view,
        deployed=view == deployed,
        selection=selection,
        seeds=len(scores),
        acc_mean=_mean(accuracies),
        acc_std=stdev(accuracies) if len(accuracies) > 1 and not shared else None,
        acc_ci95_low=low,
        acc_ci95_high=high,
        acc_worst_decile=_mean(worst),
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
        note=_note(done, scores, references, selection),
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
            notes.append(f"gap to {name} over seeds {' '.join(map(str, sorted(common)))} only")
    return "; ".join(notes)


def _scores(group: Sequence[Record], selection: Selection) -> dict[str, dict[Repetition, _Score]]:
    """view -> repetition -> score, of the finished runs."""
    result: dict[str, dict[Repetition, _Score]] = defaultdict(dict)
    for record in group:
        if record.status != "done":
            continue
        rows = record.rounds
        row = reported(rows, selection)
        if row is None:
            continue
        for view in record.facts["views"]:
            column = f"{view}.acc_mean"
            course = [float(value) for value in (one.get(column) for one in rows) if isinstance(value, int | float)]
            accuracy, worst = row.get(column), row.get(f"{view}.acc_worst_decile")
            if not isinstance(accuracy, int | float):
                raise DataError(f"{record.folder} is garbled: its rounds lack {column}; remove it and run it again")
            result[view][record.repetition] = _Score(
                float(accuracy), float(worst) if isinstance(worst, int | float) else None, max(course) - float(accuracy)
            )
    return dict(result)


def reported(rows: Sequence[Row], selection: Selection) -> Row | None:
    """The row of the reported round; None when there is no validation accuracy to choose by."""
    if selection == "last":
        return rows[-1] if rows else None
    validated = [(value, row) for row in rows if isinstance(value := row.get("val_acc_mean"), int | float)]
    return max(validated, key=lambda pair: pair[0])[1] if validated else None


def _labels(groups: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """A name for each method: its commonest label, with a hash where two methods go by one label."""
    labels = {}
    for key, group in groups.items():
        counts = Counter(record.label for record in group)
        labels[key] = min(counts, key=lambda label: (-counts[label], len(label), label))
    shared = Counter(labels.values())
    return {key: label if shared[label] == 1 else f"{label} #{key}" for key, label in labels.items()}


def _reference(
    name: str,
    methods: Mapping[str, Sequence[Record]],
    scores: Mapping[str, Mapping[str, Mapping[Repetition, _Score]]],
) -> Mapping[Repetition, _Score]:
    """The deployed scores of a bound by seed: the method of that label, or the only one of that name."""
    labels = [label for label, group in methods.items() if group[0].cell["method"]["name"] == name]
    chosen = [label for label in labels if label == name] or labels
    return scores[chosen[0]].get(deployed_view(methods[chosen[0]]), {}) if len(chosen) == 1 else {}


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


def _total(record: Record, column: str) -> float:
    return float(sum(value for row in record.rounds if isinstance(value := row.get(column), int | float)))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(kind: type[Line] | type[OverallLine], rows: Sequence[Line] | Sequence[OverallLine]) -> str:
    names = [column.name for column in fields(kind)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_format(name, getattr(row, name)) for name in names] for row in rows)
    return buffer.getvalue()


def _format(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.{PLACES.get(name, 4)}f}"
        return text.removeprefix("-") if not text.strip("-0.") else text  # no -0.0000
    return str(value)
