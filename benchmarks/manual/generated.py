"""Pages of the site that are made of code: commands, keys of a grid, methods, data sets; run from a clone."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import typer

from ...datasets.partition import PARTITIONS
from ...datasets.public import PublicSettings
from ...datasets.split import SplitSettings
from ...federation.faults import Faults, Poison
from ...federation.settings import ModelMix, Training
from ...methods.registry import METHODS
from ..commands import listing
from ..commands.cli import app
from ..grid.choices import MethodEntry
from ..grid.declaration import ComparisonSection
from ..grid.grid import GridFile, LedgerReference
from .reading import ROOT, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 100
"""Columns of a command's help."""

LICENCES = ("datasets.md", "people.md")
"""Pages whose tables have a column `licence`."""


def commands() -> str:
    """Every command with the help that it prints itself."""
    root = typer.main.get_command(app)
    sections = [f"## `{name}`\n\n```text\n{text}\n```" for name, text in _helps(root, None, "fl-bench")]
    return "# Commands\n\nWhat each command prints for `--help`.\n\n" + "\n\n".join(sections) + "\n"


def _helps(command: Any, above: Any, name: str) -> list[tuple[str, str]]:
    """(command line, help) of a command, and of those below it."""
    context = command.context_class(
        command, info_name=name, parent=above, terminal_width=WIDTH, max_content_width=WIDTH
    )
    below = getattr(command, "commands", {})
    found = [(context.command_path, command.get_help(context).rstrip())]
    return found + [pair for child in below for pair in _helps(below[child], context, child)]


SECTIONS: tuple[tuple[str, type[Any], str], ...] = (
    ("The grid", GridFile, "Keys at the top of the file."),
    ("An entry of `methods`", MethodEntry, "A method by name, `name: {settings}`, or a mapping with these keys."),
    ("`partition`", SplitSettings, "Beside `scheme` and the settings of that scheme, which follow below."),
    (
        "`partition.public`",
        PublicSettings,
        "A share, or a mapping with these keys: [the public pool](../public-data.md).",
    ),
    ("`models`", ModelMix, "A list of names, or a mapping with these keys."),
    ("`training`", Training, "`-o training.lr=0.01` sets one on the command line."),
    ("`faults`", Faults, "What goes wrong, for all methods alike: [faults](../faults.md)."),
    ("`faults.poison`", Poison, ""),
    (
        "`comparison`",
        ComparisonSection,
        "Declared before the first run: [statistics](../statistics.md#declared-before-it-is-run).",
    ),
    ("`tuning`", LedgerReference, "Plain words, or a mapping with these keys: [tuning](../tuning.md)."),
)
"""Heading, settings and an introduction of each part of a grid file."""


def grid() -> str:
    """Every key of a grid file with its default and meaning."""
    parts = [
        "# Keys of a grid",
        "`fl-bench run GRID` reads a YAML file with these keys. An unknown key is an error that suggests the nearest.",
    ]
    for heading, kind, words in SECTIONS:
        parts += [f"## {heading}", *([words] if words else []), settings_table(kind)]
    parts.append("## Schemes of `partition.scheme`")
    for name in PARTITIONS.names():
        scheme = PARTITIONS[name]
        parts += [f"### `{name}`", (inspect.getdoc(scheme) or "").partition("\n\n")[0], settings_table(scheme)]
    return "\n\n".join(parts) + "\n"


def methods() -> str:
    """Every method as `fl-bench describe` shows it."""
    parts = ["# Methods", "Each as `fl-bench describe METHOD` shows it, by category.", f"Letters in {listing.SYMBOLS}."]
    category = ""
    for row in listing.methods():
        if row["category"] != category:
            category = row["category"]
            parts.append(f"## {category.capitalize()}")
        told = listing.describe(row["name"])
        facts = {
            key: value
            for key, value in told.items()
            if isinstance(value, str) and key not in ("name", "text", "example")
        }
        parts += [
            f"### `{row['name']}`",
            f"```text\n{told['text']}\n```",
            "\n".join(f"- {key}: {escaped(value)}" for key, value in facts.items()),
            settings_table(type_of_settings(row["name"])),
            f"```bash\n{told['example']}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def type_of_settings(method: str) -> type[Any]:
    """The dataclass of a method's settings."""
    kind: type[Any] = METHODS[method].config_type
    return kind


def datasets() -> str:
    """Every data set and family of data sets, with its licence."""
    known = licences()
    rows = [
        (
            f"`{row['name']}`",
            row["summary"],
            _size(row),
            row["clients"],
            known.get(row["name"].partition(":")[0].partition("[")[0], "see its source"),
        )
        for row in listing.datasets()
    ]
    heads = ("name", "what it is", "size", "clients", "licence")
    return (
        "# Data sets\n\nWhat brings each of them is in [Data sets](../datasets.md) and "
        "[People as clients](../people.md); `fl-bench doctor` says what is found on your machine.\n\n"
        + table(heads, rows)
        + "\n"
    )


def _size(row: listing.Row) -> str:
    """Kind, shape, classes and rows of a data set, as far as they are known before it is loaded."""
    words = {"classes": "{} classes", "train": "{} training rows", "test": "{} test rows"}
    known = [words[key].format(row[key]) for key in words if row[key] is not None]
    return ", ".join([" ".join(filter(None, (row["kind"], row["shape"]))), *known] if row["kind"] else known)


def licences() -> dict[str, str]:
    """The licence of each data set that the pages on data sets state one of, by name."""
    found: dict[str, str] = {}
    column, last = -1, ""
    for line in [line for page in LICENCES for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([\w-]+)`", cells[0])
        if "licence" in cells:
            column = cells.index("licence")
        elif not line.startswith("|"):
            column = -1
        elif column >= 0 and names:
            last = last if cells[column] == "the same" else cells[column]
            found |= dict.fromkeys(names, last)
    return found


def settings_table(kind: type[Any]) -> str:
    """Key, type, default and meaning of every setting of a dataclass."""
    rows = listing.settings(kind)
    if not rows:
        return "No settings."
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    below = {field.name for field in fields(kind) if is_dataclass(field.default)}
    return table(
        ("key", "type", "default", "meaning"),
        (
            (
                f"`{row['setting'].rstrip('_')}`",
                f"`{row['type'].replace(' | ', ' or ')}`",
                "needed" if row["setting"] in needed else _default(row["default"], row["setting"] in below),
                row["meaning"],
            )
            for row in rows
        ),
    )


def _default(shown: str, below: bool) -> str:
    """A default as code; of a setting with settings of its own, where these are; nothing for an empty text."""
    return "see its section" if below else f"`{shown}`" if shown else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; nothing stands for None."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else escaped(str(value)).replace("|", "\\|").replace("\n", " ")
