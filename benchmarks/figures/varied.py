"""Which one number differs between otherwise equal runs, in their grid or in a method (benchmarks room, figures)."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..grid.cell import method_settings, short_hash
from ..grid.names import in_order, named
from ..leaderboard.naming import POISON, POOL, VOID, Flat, differing, flat_setting
from .blocks import COSTS, category_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .blocks import Block, Course

OF = {
    f"{POOL}foreign": (f"{POOL}from", "foreign_digest", "plugins.public dataset"),
    f"{POOL}removed": (f"{POOL}missing",),
    f"{POOL}missing": (f"{POOL}removed",),
    f"{POISON}clients": (f"{POISON}kind", f"{POISON}factor"),
    "faults.absent": ("faults.absent_at",),
}
"""What a dose is a dose of: said only where the dose is not 0, so that dose 0 belongs to all of them."""


@dataclass(frozen=True)
class Band:
    """A number at each value of the setting, over seeds."""

    mean: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """One method over the values of the setting; accuracies in percent after the last round, or what is `measured`."""

    label: str
    category: str
    values: tuple[float, ...]
    """Of the setting, ascending; those where the method has a done run."""
    mean: tuple[float, ...]
    """Over seeds."""
    lowest: tuple[float, ...]
    """Of the seeds."""
    highest: tuple[float, ...]
    spent: tuple[tuple[str, Band], ...] = ()
    """What whole runs cost, by names of `COSTS`."""


@dataclass(frozen=True)
class Sweep:
    """Runs on one data set that differ in one numeric setting."""

    dataset: str
    setting: str
    """Dotted name, as `-o` takes it."""
    of: str
    """What it is a dose of, such as the other data set; empty for other settings."""
    rest: str
    """Hash of all that is equal, and of what the setting is a dose of."""
    lines: tuple[Line, ...]
    """By category, then by name."""
    seeds: tuple[str, ...]
    """Seeds of the runs; every line has them all at every value if `balanced`."""
    balanced: bool
    rounds: tuple[int, ...]
    """Rounds after which accuracies are taken, ascending; mostly one."""
    honest: bool
    """Whether some clients are poisoned somewhere, and accuracies are those of the others."""
    measure: str = "accuracy"
    """What lines show: this, or one of `COSTS`."""
    where: str = ""
    """What tells it from other sweeps of the same setting on the data set: `clients=25`; empty where there is none."""

    def measured(self, measure: str) -> Sweep:
        """The same of what runs cost; methods that spend nothing of it have no line."""
        bands = [(line, dict(line.spent)[measure]) for line in self.lines]
        lines = [
            replace(line, mean=band.mean, lowest=band.lowest, highest=band.highest)
            for line, band in bands
            if any(band.highest)
        ]
        return replace(self, measure=measure, lines=tuple(lines))


def read_sweeps(blocks: Sequence[Block]) -> tuple[list[Sweep], list[str]]:
    """All sweeps of the records, and for each data set without one, why.

    Args:
        blocks: data sets with their settings; those without a done run are passed over.
    Returns:
        Sweeps by data set, setting and what is equal; reasons in words, by data set.
    """
    found: list[Sweep] = []
    reasons = []
    for dataset in sorted({block.dataset for block in blocks}):
        flats = [(flat(block), block) for block in blocks if block.dataset == dataset and block.courses]
        own = _sweeps(dataset, flats) + [sweep for _, block in flats for sweep in _of_methods(block)]
        found += own
        if not own:
            reasons.append(f"{dataset}: {_reason(flats)}")
    return found, reasons


def flat(block: Block) -> Flat:
    """The setting of a block as dotted names and plain values, defaults filled in."""
    record = next(iter(block.records.values()))[0]
    values = flat_setting(record.cell)
    if values[f"{POOL}size"] is None:  # the whole pool, which records count
        values[f"{POOL}size"] = record.facts.get("public_samples")
    return values


def _sweeps(dataset: str, flats: Sequence[tuple[Flat, Block]]) -> list[Sweep]:
    """One for each setting and each group of blocks that differ in it alone, where no larger one has them all."""
    groups: dict[frozenset[str], tuple[Sweep, Flat]] = {}
    for name in differing([values for values, _ in flats]):
        own = (name, *OF.get(name, ()))
        alike: dict[str, list[tuple[Flat, Block]]] = defaultdict(list)
        for values, block in flats:
            if isinstance(values.get(name), int | float) and not isinstance(values[name], bool):
                alike[_text({other: value for other, value in values.items() if other not in own})].append(
                    (values, block)
                )
        for rest, members in sorted(alike.items()):
            for of, chosen in _doses(name, members).items():
                by_value = {float(values[name]): block for values, block in reversed(chosen)}
                if len(by_value) > 1:
                    among = frozenset(block.setting for block in by_value.values())
                    sweep = _sweep(dataset, name, of, short_hash([rest, of], 6), by_value)
                    groups.setdefault(among, (sweep, json.loads(rest)))
    return _told_apart([found for among, found in groups.items() if not any(among < other for other in groups)])


def _of_methods(block: Block) -> list[Sweep]:
    """One for each setting that is all in which entries of a method differ: `cosmos[clusters=2|3|5]`.

    Methods that have one entry are there for comparison, alike at every value.
    """
    methods = {label: runs[0].cell["method"] for label, runs in block.records.items()}
    courses = {course.label: course for course in block.courses}
    entries: dict[str, dict[str, Flat]] = defaultdict(dict)
    for label, method in methods.items():
        entries[method["name"]][label] = method_settings(method)
    lines: dict[str, dict[str, dict[float, Course]]] = defaultdict(dict)
    for name, flats in entries.items():
        for setting in differing(list(flats.values())):
            alike: dict[str, dict[float, str]] = defaultdict(dict)
            for label, values in flats.items():
                value = values.get(setting)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    alike[_text({other: own for other, own in values.items() if other != setting})][float(value)] = (
                        label
                    )
            several = [points for points in alike.values() if len(points) > 1]
            for points in several:
                words = name if len(several) == 1 else f"{name} ({', '.join(points.values())})"
                lines[setting][words] = {value: courses[label] for value, label in sorted(points.items())}
    once = [courses[label] for own in entries.values() if len(own) == 1 for label in own]
    found = []
    for setting, varied in sorted(lines.items()):
        at = sorted({value for points in varied.values() for value in points})
        flat = {course.label: dict.fromkeys(at, course) for course in once}
        found.append(_made(block.dataset, setting, "{}", short_hash([block.setting, setting], 6), varied | flat))
    return [replace(sweep, where=block.setting_name) for sweep in found]


def _told_apart(found: Sequence[tuple[Sweep, Flat]]) -> list[Sweep]:
    """The sweeps, those of one setting named by what else differs between them."""
    told = []
    for sweep, rest in found:
        alike = [(other, equal) for other, equal in found if other.setting == sweep.setting]
        names = differing([equal for _, equal in alike])
        parts = [(other.of, named({name: equal[name] for name in names if name in equal})) for other, equal in alike]
        own = sweep.of, named({name: rest[name] for name in names if name in rest})
        where = ", ".join(filter(None, own)) if parts.count(own) == 1 else sweep.rest
        told.append(replace(sweep, where=where if len(alike) > 1 else ""))
    return sorted(told, key=lambda sweep: (sweep.setting, in_order(sweep.where)))


def _doses(name: str, members: Sequence[tuple[Flat, Block]]) -> dict[str, list[tuple[Flat, Block]]]:
    """Blocks by what they have a dose of; those of dose 0 have a dose of everything."""
    parts: dict[str, list[tuple[Flat, Block]]] = defaultdict(list)
    for values, block in members:
        if name not in VOID or values[name] != VOID[name]:
            own = {other: values.get(other) for other in OF.get(name, ())}
            parts[_text(own)].append((values, block))
    none = [(values, block) for values, block in members if name in VOID and values[name] == VOID[name]]
    return {text: none + part for text, part in parts.items()}


def _sweep(dataset: str, name: str, of: str, rest: str, by_value: Mapping[float, Block]) -> Sweep:
    courses: dict[str, dict[float, Course]] = defaultdict(dict)
    for value in sorted(by_value):
        for course in by_value[value].courses:
            courses[course.label][value] = course
    return _made(dataset, name, of, rest, courses)


def _made(dataset: str, name: str, of: str, rest: str, courses: Mapping[str, Mapping[float, Course]]) -> Sweep:
    """A sweep of courses by method and value."""
    every = {value for points in courses.values() for value in points}
    lines = [_line(label, of_label) for label, of_label in courses.items()]
    seeds = [tuple(map(str, course.seeds)) for points in courses.values() for course in points.values()]
    whole = all(len(points) == len(every) for points in courses.values())
    return Sweep(
        dataset=dataset,
        setting=name,
        of=_words(json.loads(of)),
        rest=rest,
        lines=tuple(sorted(lines, key=lambda line: (category_place(line.category), line.label))),
        seeds=tuple(dict.fromkeys(seed for group in seeds for seed in group)),
        balanced=whole and len(set(seeds)) == 1,
        rounds=tuple(sorted({len(course.mean) for points in courses.values() for course in points.values()})),
        honest=any(course.honest is not None for points in courses.values() for course in points.values()),
    )


def _words(of: Mapping[str, Any]) -> str:
    """What a dose is a dose of, without what belongs to no name: digests."""
    prefixes = (POOL, POISON, "faults.")
    told = {
        name.removeprefix(prefix): value
        for prefix in prefixes
        for name, value in of.items()
        if value is not None and next((own for own in prefixes if name.startswith(own)), "") == prefix
    }
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _line(label: str, points: Mapping[float, Course]) -> Line:
    last = [
        [accuracies[-1] for accuracies in course.accuracy] if course.honest is None else course.honest
        for course in points.values()
    ]
    return Line(
        label=label,
        category=next(iter(points.values())).category,
        values=tuple(points),
        mean=tuple(map(fmean, last)),
        lowest=tuple(map(min, last)),
        highest=tuple(map(max, last)),
        spent=tuple((cost, _spent(cost, points)) for cost in COSTS),
    )


def _spent(cost: str, points: Mapping[float, Course]) -> Band:
    runs = [[spent[-1] for spent in course.costs[cost]] for course in points.values()]
    return Band(tuple(map(fmean, runs)), tuple(map(min, runs)), tuple(map(max, runs)))


def _reason(flats: Sequence[tuple[Flat, Block]]) -> str:
    """Why there is no sweep, in words."""
    if len(flats) < 2:
        return "all runs have one setting; run others into the same folder, such as with -o partition.public.noise=3"
    names = differing([values for values, _ in flats])
    if len(names) == 1:
        return f"settings differ in {names[0]}, which is no number"
    several = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"settings differ in {several} at once; a sweep needs some that differ in one number"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
