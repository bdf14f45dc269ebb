"""The command `fl-bench fsck` (benchmarks room): what is wrong in a results folder, and bad records out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import ConfigError

from ..tables.terminal import put, say
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import FAILED, RESULTS, AsJson, Results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..records.audit import Finding
    from ..records.record import Record
    from ..records.store import Store


def fsck(
    results: Results = RESULTS,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    quarantine: Annotated[
        bool,
        typer.Option(
            "--quarantine",
            help="Move bad records to RESULTS/quarantine, and restore records that a kill displaced. Deletes nothing.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check records for damage, and find what kills left behind.

    Checks every record in the folder and in its bundle, and prints a line for each finding with what to do. The
    exit code is 0 if nothing was found, else 1. Without --quarantine, nothing is changed.

    \b
    fl-bench fsck
    fl-bench fsck results --quarantine
    """
    from ..records.audit import audit
    from ..records.store import Store
    from ..statistics.verdicts import many
    from ..tables.printing import print_json
    from .progress import saying

    store = Store(results)
    if not store.bundle.is_file() and not store.runs.is_dir():
        raise ConfigError(f"{results} has no records; name a folder with `runs` or `records.tar.xz` in it")
    if quarantine and store.is_bundle:
        raise ConfigError(f"--quarantine takes a results folder, got the bundle {results}; name {results.parent}")
    with saying(f"checking the records of {results}"):
        findings, sound = audit(store)
    findings += _contradictions(sound)
    filters = Filters(methods, datasets, settings)
    if filters:
        findings, sound = _asked_for(findings, sound, filters)
    moves = _quarantine(store, findings) if quarantine else {}
    if as_json:
        print_json(
            [
                {
                    "kind": one.kind,
                    "place": str(one.place),
                    "problem": one.problem,
                    "remedy": one.remedy,
                    "moved": str(moves[one.place]) if one.place in moves else None,
                }
                for one in findings
            ]
        )
    else:
        for one in findings:
            done = f"moved to {moves[one.place]}" if one.place in moves else one.remedy
            put(f"{one.place}: {one.problem}; {done}")
    say(f"{many(len(sound), 'record')} sound, {many(len(findings), 'finding')} in {results}")
    raise typer.Exit(FAILED if findings else 0)


def _asked_for(
    findings: Sequence[Finding], sound: Sequence[Record], filters: Filters
) -> tuple[list[Finding], list[Record]]:
    """Findings and sound records of what is asked for; a record that cannot be read is of any setting.

    Raises:
        ConfigError: there is nothing of it.
    """
    from ..leaderboard.naming import only_settings

    kept = [one for one in only_settings(sound, filters.settings) if filters.may_be(one.folder)]
    left_out = {one.folder for one in sound} - {one.folder for one in kept}
    found = [one for one in findings if filters.may_be(one.place) and one.place not in left_out]
    if not kept and not found:
        raise ConfigError(f"nothing here is of {filters}; `fl-bench leaderboard` shows what there is")
    return found, kept


def _contradictions(sound: Sequence[Record]) -> Iterator[Finding]:
    """Records that are not comparable with the others of their comparison; the odd ones, where most agree."""
    from ..leaderboard.pairing import contradictions
    from ..records.audit import Finding

    said: set[Path] = set()
    for what, groups in contradictions(sound):
        most, *others = sorted(groups.values(), key=len, reverse=True)
        decided = len(most) > len(others[0])
        for record in (one for group in (others if decided else [most, *others]) for one in group):
            if record.folder not in said:
                said.add(record.folder)
                other = most[0] if record is not most[0] else others[0][0]
                yield Finding(
                    "odd" if decided else "pairing",
                    record.folder,
                    f"has another {what} than {other.name}{' and most of its comparison' if decided else ''}",
                    "run its cell again with the same fl-bench and data as the others",
                )


def _quarantine(store: Store, findings: Sequence[Finding]) -> dict[Path, Path]:
    """Move what is bad; where it went, by where it was."""
    from ..records.recovery import pull_from_bundle, recover, set_aside

    moves = recover(store)
    inside = [one.place for one in findings if one.kind in ("packed", "odd") and store.bundle in one.place.parents]
    for one in findings:
        if one.kind in ("record", "odd", "leftover") and one.place not in {*moves, *inside}:
            moves[one.place] = set_aside(store, one.place)
    return moves | pull_from_bundle(store, dict.fromkeys(inside))
