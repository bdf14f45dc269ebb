"""Which records a command looks at (benchmarks room): `--methods`, `--datasets` and `--settings`, for all commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import ConfigError, unknown_name

from . import completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ..records.record import Record

OnlyMethods = Annotated[
    str | None,
    typer.Option("--methods", metavar="A,B", help="Only these methods.", autocompletion=completion.methods),
]
OnlyDatasets = Annotated[
    str | None,
    typer.Option("--datasets", metavar="A,B", help="Only these data sets.", autocompletion=completion.datasets),
]
OnlySettings = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="KEY=VALUE,...",
        help="Only records with these settings: alpha=0.1,alpha=1 matches either, alpha=0.1,clients=25 both.",
    ),
]


@dataclass(frozen=True)
class Filters:
    """Names that are asked for, separated by commas; None leaves a thing open."""

    methods: str | None = None
    datasets: str | None = None
    settings: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return (self.methods, self.datasets, self.settings) != (None, None, None)

    def __str__(self) -> str:
        """What is asked for, in words."""
        given = {"methods": self.methods, "data sets": self.datasets, "settings": self.settings}
        return ", ".join(f"{what} {names}" for what, names in given.items() if names is not None)

    def take(self, records: Sequence[Record]) -> list[Record]:
        """The records that are asked for.

        Raises:
            ConfigError: a name is unknown, or nothing is left.
        """
        from ..leaderboard.naming import only_settings

        kept = list(records)
        if self.methods is not None:
            labels = chosen(self.methods, "--methods", "method", {one.label for one in records})
            kept = [one for one in kept if one.label in labels]
        if self.datasets is not None:
            names = chosen(self.datasets, "--datasets", "data set", {str(one.cell["dataset"]) for one in records})
            kept = [one for one in kept if one.cell["dataset"] in names]
        asked = {id(one) for one in only_settings(records, self.settings)}
        kept = [one for one in kept if id(one) in asked]
        if records and not kept:
            raise ConfigError(f"none of {len(records)} records is of {self}; leave out one of the filters")
        return kept

    def may_be(self, place: Path) -> bool:
        """Whether a folder is of what is asked for as far as its name says; what is named otherwise than records is.

        Args:
            place: `<dataset>/<label>-<seed>-<key>` of a record that may be unreadable, or something else.
        """
        from ..grid.brackets import split_list
        from ..grid.cell import safe_name

        parts = place.name.rsplit("-", 2)
        if len(parts) < 3 or place.name.startswith("."):
            return True
        asked = ((self.datasets, "--datasets", place.parent.name), (self.methods, "--methods", parts[0]))
        return all(text is None or name in map(safe_name, split_list(text, option)) for text, option, name in asked)


def chosen(text: str, option: str, what: str, known: Iterable[str]) -> list[str]:
    """The names of an option, each of which records have.

    Raises:
        ConfigError: one is unknown.
    """
    from ..grid.brackets import split_list

    names, there = split_list(text, option), sorted(set(known))
    for name in names:
        if name not in there:
            raise unknown_name(f"{what} of these records", name, there)
    return names
