"""The command `fl-bench overlap` (benchmarks room): whether data sets share rows, so that they are not independent."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import Annotated

import typer

from fl_bench.errors import ConfigError
from fl_bench.files import write_file

from ..tables.terminal import make_console, say
from .options import AsJson, DataDir, Download, Plugins  # noqa: TC001 - typer reads annotations when it runs


def overlap(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Data sets of `fl-bench list datasets`. Default: all that are found on this machine."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the result as CSV.")] = None,
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Find rows that data sets share, whatever their scale.

    Data sets that share rows are not independent and count as one observation. Put them into one family: by
    `family=` in a plugin, or by `compare --families`.

    \b
    fl-bench overlap digits optdigits
    fl-bench overlap csv:mine.csv?target=y letter
    """
    from dataclasses import asdict

    from ...datasets.catalogue import available, family_of, file_digest, listing, load_dataset
    from ...datasets.overlap import known_text
    from ...datasets.overlap import overlap as find
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table

    load_plugins(plugin or [])
    named = [facts.name for facts in listing() if ":" not in facts.name]
    names = list(dict.fromkeys(datasets or [name for name in named if available(name, data_dir=data_dir)[0]]))
    if len(names) < 2:
        raise ConfigError(f"an overlap is between two data sets or more, got {', '.join(names) or 'none'}")
    loaded = {name: load_dataset(name, data_dir=data_dir, download=download) for name in names}
    families = {name: family_of(name, file_digest(name)) for name in names}
    pairs = [found for one, other in combinations(names, 2) if (found := find(loaded[one], loaded[other]))]
    if as_json:
        print_json([asdict(pair) for pair in pairs])
    else:
        rows = [{"what": str(pair), "family": _families(families[pair.first], families[pair.second])} for pair in pairs]
        if rows:
            print_table(make_console(), rows)
        say(f"{len(pairs)} of {len(names) * (len(names) - 1) // 2} pairs of data sets share rows")
    if out is not None:
        write_file(out, known_text(pairs))
        say(f"wrote {out}")


def _families(one: str, other: str) -> str:
    return one if one == other else f"{one} and {other}: two, so a comparison counts these rows twice"
