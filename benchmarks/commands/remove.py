"""The command `fl-bench rm` (benchmarks room): runs out of the way, so that they are run again; nothing is deleted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import ConfigError, DataError

from ..tables.terminal import say
from .asking import ask
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records.record import Record
    from ..records.store import Store

SHOWN = 20
"""Runs that are named one by one before they go."""


def rm(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Names or folders of runs, as in `fl-bench show`."),
    ] = None,
    results: Annotated[Path, typer.Option("--results", metavar="FOLDER", help="Folder of records.")] = RESULTS,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Move runs out of a results folder, so that they run again.

    Lists the runs and asks for confirmation. Records, including packed ones, and the files of unfinished runs move to
    RESULTS/superseded. Nothing is deleted. Filters without names select all runs that match.

    \b
    fl-bench rm digits/fedmd-0
    fl-bench rm --methods fedmd --datasets digits --results tryout --yes
    """
    from ..records.index import place_of
    from ..records.recovery import SUPERSEDED, supersede
    from ..records.store import Store
    from ..statistics.verdicts import many

    filters = Filters(methods, datasets, settings)
    store = Store(results)
    if store.is_bundle:
        raise ConfigError(f"rm takes runs out of a results folder, got the bundle {results}; name {results.parent}")
    if not runs and not filters:
        raise ConfigError("name the runs that go, or choose them with --methods, --datasets or --settings")
    going = _going(store, runs or [], filters)
    for name, status in [*going.items()][:SHOWN]:
        say(f"  {name}: {status}")
    if len(going) > SHOWN:
        say(f"  and {len(going) - SHOWN} more")
    place = store.results / SUPERSEDED
    ask(
        f"Move {many(len(going), 'run')} to {place}?",
        "nothing was moved",
        nobody=f"nobody can be asked whether {many(len(going), 'run')} may go; --yes says that they may",
        yes=yes,
    )
    moved = supersede(store, [place_of(name) for name in going])
    say(f"moved {many(len(moved), 'record')} to {place}; `fl-bench leaderboard {results}` writes the tables anew")


def _going(store: Store, runs: Sequence[str], filters: Filters) -> dict[str, str]:
    """The status of the records that are named and that filters leave, by name; each name means at least one.

    Raises:
        ConfigError: a name means none, or filters leave none.
    """
    from .naming import matching

    names = store.names()
    if not names:
        raise ConfigError(f"{store.results} has no records; name another folder with --results")
    found: dict[str, Record | None] = dict.fromkeys(
        (hit for run in runs for hit in matching(_inside(run, store), names)) if runs else names
    )
    for name in found:
        with suppress(DataError):  # a damaged record may go, where it was named
            found[name] = store.read(name)
    if not filters:
        return {name: "damaged" if record is None else record.status for name, record in found.items()}
    kept = filters.take([record for record in found.values() if record is not None])
    return {record.name: record.status for record in kept}


def _inside(run: str, store: Store) -> str:
    """The name of a run whose folder was given.

    Raises:
        ConfigError: the folder is not one of these results.
    """
    folder = Path(run)
    if not (folder / "run.json").exists():
        return run
    if folder.resolve().parent.parent != store.runs.resolve():
        raise ConfigError(f"{run} is a run of {folder.parents[2]}; name that with --results")
    return f"{folder.resolve().parent.name}/{folder.resolve().name}"
