"""Grids as files have them (benchmarks room): what the command line asks for, written out, and the tuned grid."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ..grid.brackets import split_list
from ..grid.cell import DatasetChoice
from ..grid.changes import scheme_change, with_changes
from ..grid.choices import parse_method
from ..grid.configure import blame
from ..grid.grid import GridFile, LedgerReference, asked_methods, chosen_settings, keeping_clients
from ..grid.plain_yaml import to_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..grid.choices import MethodChoice
    from ..grid.grid import Overrides
    from ..grid.sweeps import Setting
    from .ledger import Ledger

TRAINING = "training."
"""What names of settings of local training begin with."""

HEADER = "# Written by `fl-bench tune`"
"""How the file of a tuned grid begins."""


def as_asked(file: GridFile, origin: str, given: Overrides) -> GridFile:
    """A grid with what the command line changes of it written into it, methods in their long form.

    Args:
        file: the grid as written.
        origin: its file name, for messages.
        given: what the command line changes.
    Raises:
        ConfigError: names the file or option, what was found and what would do.
    """
    written, chosen = asked_methods(file, origin, given)
    datasets = file.datasets if given.datasets is None else tuple(split_list(given.datasets, "--datasets"))
    with blame(origin):
        asked = _as_dealt(file, given, datasets)
        first = next(iter(asked.values())).options
        options = {
            key: value for key, value in first.items() if all(one.options[key] == value for one in asked.values())
        }
        sections = with_changes(file.sections, {}, options)
    settings = {}
    for name, one in asked.items():
        move = scheme_change(file.sections, one.changes, one.options)
        gone = options.keys() | set(() if move is None else move.left)
        if name:
            settings[name] = {key: value for key, value in {**one.changes, **one.options}.items() if key not in gone}
    kept = {choice.label for choice in chosen if choice in written}
    per_dataset = {
        dataset: {label: own for label, own in changes.items() if label in kept}
        for dataset, changes in file.per_dataset.items()
        if dataset in datasets
    }
    return replace(
        file,
        description=file.description if given.datasets is None and given.methods is None else "",
        datasets=tuple(datasets),
        methods=tuple(map(entry_of, chosen)),
        seeds=file.seeds if given.seeds is None else given.seeds,
        always=(),
        settings=settings,
        per_dataset=per_dataset,
        **sections,
    )


def with_values(entry: MethodChoice, settings: Mapping[str, Any]) -> MethodChoice:
    """An entry with other values of what is tuned."""
    own = {name: value for name, value in settings.items() if not name.startswith(TRAINING)}
    training = {name.removeprefix(TRAINING): value for name, value in settings.items() if name not in own}
    return replace(entry, settings={**entry.settings, **own}, training={**entry.training, **training})


def _as_dealt(file: GridFile, given: Overrides, datasets: Sequence[str]) -> dict[str, Setting]:
    """The settings that are asked for, with the scheme of data sets that keep their clients.

    Raises:
        ConfigError: only some of the data sets do; a grid has one scheme for all.
    """
    asked = chosen_settings(file, given)
    choices = [DatasetChoice.of(dataset) for dataset in datasets]
    found = {}
    for name, one in asked.items():
        each = [keeping_clients(file, given, one, choice) for choice in choices]
        moved = [choice.name for choice, own in zip(choices, each, strict=True) if own is not one]
        if 0 < len(moved) < len(each):
            raise ConfigError(
                f"{', '.join(moved)} came with clients and other data sets did not, and a tuned grid has one scheme "
                "for all; name it with --scheme, or tune them apart"
            )
        found[name] = each[0] if each else one
    return found


def entry_of(choice: MethodChoice) -> dict[str, Any]:
    """A method as a grid file has it, in its long form."""
    return {
        "name": choice.name,
        **({} if choice.label == choice.name else {"label": choice.label}),
        **({} if choice.codec == "none" else {"codec": choice.codec}),
        **({"settings": dict(choice.settings)} if choice.settings else {}),
        **({"training": dict(choice.training)} if choice.training else {}),
    }


def tuned_grid(file: GridFile, ledger: Ledger, reference: LedgerReference) -> GridFile:
    """The grid with the settings that a tuning chose.

    Args:
        file: the grid that was tuned, as it was asked for.
        ledger: what was chosen.
        reference: the ledger as the tuned grid names it.
    """
    methods = []
    per_dataset: dict[str, dict[str, Any]] = {}
    datasets = {DatasetChoice.of(location).name: location for location in file.datasets}
    for entry in file.methods:
        choice = parse_method(entry, "methods")
        for search in ledger.searches(choice.label):
            usual = search.trials[0].settings
            changed = {name: value for name, value in search.choice.settings.items() if value != usual[name]}
            if ledger.per == "dataset" and changed:
                own = with_values(replace(choice, settings={}, training={}), changed)
                dataset = datasets[search.places[0].partition(" [")[0]]
                per_dataset.setdefault(dataset, {})[choice.label] = {
                    name: dict(values)
                    for name, values in (("settings", own.settings), ("training", own.training))
                    if values
                }
            else:
                choice = with_values(choice, changed)
        methods.append(entry_of(choice))
    return replace(file, methods=tuple(methods), per_dataset=per_dataset, tuning=reference)


def as_text(file: GridFile, command: str) -> str:
    """A grid as YAML, without what has its default.

    Args:
        file: the grid.
        command: what wrote it, for the first line.
    """
    values = json.loads(json.dumps(asdict(file)))  # tuples become lists
    usual = json.loads(json.dumps(asdict(GridFile(file.name, (), (), ()))))
    kept = {
        setting.name: values[setting.name]
        for setting in fields(file)
        if setting.name in ("name", "datasets", "methods", "seeds") or values[setting.name] != usual[setting.name]
    }
    return f"{HEADER}: {command}\n{to_yaml(kept)}"
