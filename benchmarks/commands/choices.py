"""The commands `fl-bench list` and `fl-bench describe` (benchmarks room): what there is to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fl_bench.errors import unknown_name

from ..tables.terminal import make_console
from . import completion
from .options import AsJson, Plugins  # noqa: TC001 - typer reads annotations when it runs

if TYPE_CHECKING:
    from collections.abc import Mapping


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="methods|datasets|models|partitions|executors|grids",
            help="What to list.",
            autocompletion=completion.listings,
        ),
    ],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List methods, data sets, models and more, including plugins.

    \b
    fl-bench list methods
    fl-bench list datasets --json
    """
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table
    from .listing import CAPTIONS, COLUMNS, HIDDEN, LISTINGS, NARROW

    if what not in LISTINGS:
        raise unknown_name("listing", what, LISTINGS)
    load_plugins(plugin or [])
    rows = LISTINGS[what]()
    if as_json:
        print_json(rows)
        return
    console, caption = make_console(), CAPTIONS.get(what, "")
    columns = COLUMNS.get(what, list(rows[0]))
    hidden = HIDDEN.get(what, ()) if console.width < NARROW else ()
    if hidden:
        caption = f"hidden: {', '.join(hidden)} (in {NARROW} columns, or --json)"
    print_table(console, [{name: row[name] for name in columns if name not in hidden} for row in rows], caption=caption)


def describe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="METHOD|executor:NAME",
            help="A method of `fl-bench list methods`, or an executor of `fl-bench list executors`.",
            autocompletion=completion.method,
        ),
    ],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Describe a method: paper, formulas, needs and settings.

    It also shows what the method sends, and a command to try. An executor is described by its name, or as
    executor:local if a method has the same name.

    \b
    fl-bench describe cosmos
    fl-bench describe ditto --json
    """
    from ...methods.registry import METHODS
    from ..grid.executors import EXECUTORS
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table, print_text
    from ..tables.values import show
    from .listing import SYMBOLS, describe_executor
    from .listing import describe as look_up

    load_plugins(plugin or [])
    kind, _, wanted = name.rpartition(":")
    executor = kind == "executor" or (wanted not in METHODS and wanted in EXECUTORS)
    facts = describe_executor(wanted) if executor else look_up(name)
    if as_json:
        print_json(facts)
        return
    console = make_console()
    print_text(console, facts.pop("text"))
    settings, example, shared = facts.pop("settings"), facts.pop("example"), facts.pop("tuned over", {})
    rows = [{"": fact, name: show(value) or "none"} for fact, value in facts.items() if fact != "name"]
    if rows:
        print_table(console, rows, caption=SYMBOLS if facts["payloads"] else "")
    console.print()
    if settings:
        print_table(console, [_in_words(setting) for setting in settings], title="settings", caption="")
        console.print()
    if shared:
        words = " and ".join(f"{name} over {space}" for name, space in shared.items())
        print_text(console, f"`fl-bench tune` tunes {words} for every method.")
        console.print()
    print_text(console, f"To try it:\n\n    {example}")


def _in_words(setting: Mapping[str, str]) -> dict[str, str]:
    """A row of settings for the terminal, where the space is part of the meaning."""
    space = setting["tuned over"]
    meaning = f"{setting['meaning']} Tuned over {space}." if space else setting["meaning"]
    return {**{name: setting[name] for name in ("setting", "type", "default")}, "meaning": meaning}
