"""Settings of records named by what differs between them, `alpha=0.1`, and chosen from by that (benchmarks room)."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ...datasets.public import PublicSettings
from ...datasets.split import SplitSettings
from ...federation.faults import Faults
from ...federation.settings import ModelMix, Training
from ..grid.cell import short_hash
from ..grid.configure import written
from ..grid.names import choose, named, part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..records.record import Record

Flat = dict[str, Any]
"""A setting as dotted names and plain values."""

Place = tuple[str, str]
"""A data set and the hash of a setting."""

POOL = "partition.public."

POISON = "faults.poison."

VOID = {f"{POOL}foreign": 0, f"{POOL}removed": 0, f"{POOL}missing": 0, f"{POISON}clients": 0, "faults.absent": 0}
"""Doses whose setting is absent where there is nothing of them."""


def setting_hash(cell: Mapping[str, Any]) -> str:
    """Six hex digits for all of a cell but dataset, method, protocol and repetition."""
    return short_hash(_setting(cell), 6)


def setting_names(cells: Mapping[Place, Mapping[str, Any]]) -> dict[Place, str]:
    """A name for each setting, told from the others of its data set by it; empty where there is only one.

    A setting that only some have, such as `groups` of one scheme, is named where it differs among these.

    Args:
        cells: one resolved cell for each data set and hash of a setting.
    """
    names: dict[Place, str] = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in cells):
        flats = {place: flat_setting(cell) for place, cell in cells.items() if place[0] == dataset}
        if len(flats) == 1:
            names |= dict.fromkeys(flats, "")
            continue
        differ = differing(list(flats.values()))
        telling = [name for name in differ if len({_text(own[name]) for own in flats.values() if name in own}) > 1]
        for chosen in (telling, differ):
            own = {
                place: named({name: values[name] for name in chosen if name in values})
                for place, values in flats.items()
            }
            if len(set(own.values())) == len(own):
                break
        else:
            own = {place: place[1] for place in flats}
        names |= own
    return names


def in_setting(dataset: str, name: str) -> str:
    """A data set in a setting, as tables call it: `digits [alpha=0.1]`; its name alone where it has one setting."""
    return f"{dataset} [{name}]" if name else dataset


def only_settings(records: Sequence[Record], asked: str | None) -> list[Record]:
    """The records whose settings are asked for by `--settings`; all without it.

    Args:
        records: of any data sets.
        asked: settings such as `alpha=0.1` between commas, whether they differ between records or not: those of one
            name are alternatives, all names must be met. The hash of a setting will do as well.
    Raises:
        ConfigError: no record has such a setting.
    """
    if asked is None:
        return list(records)
    cells: dict[Place, Mapping[str, Any]] = {}
    groups: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        place = str(record.cell["dataset"]), setting_hash(record.cell)
        cells.setdefault(place, record.cell)
        groups[place].append(record)
    candidates, telling = {}, set()
    flats = {place: flat_setting(cell) for place, cell in cells.items()}
    for place, values in flats.items():
        parts = [(name, part(name, value)) for name, value in values.items()]
        dotted = {f"{name}={text.partition('=')[2]}" for name, text in parts}
        candidates[place] = {*(text for _, text in parts), *dotted, place[1]}
    for name in differing(list(flats.values())):
        telling |= {part(name, values[name]) for values in flats.values() if name in values}
    chosen = set(choose(asked, candidates, telling or {"all records are of one setting"}, "setting of these records"))
    kept = {id(record) for place in chosen for record in groups[place]}
    return [record for record in records if id(record) in kept]


def flat_setting(cell: Mapping[str, Any]) -> Flat:
    """The setting of a resolved cell as dotted names and plain values, defaults filled in."""
    values = _setting(cell)
    public = values["partition"].get("public")
    if not isinstance(public, dict):
        values = {**values, "partition": {**values["partition"], "public": {"share": public}}}
    return {**_defaults(), **_flattened(values)}


def differing(flats: Sequence[Flat]) -> list[str]:
    """Names of settings that are not the same everywhere, sorted; one that a setting lacks counts as null."""
    names = {name for values in flats for name in values}
    return sorted(name for name in names if len({_text(values.get(name)) for values in flats}) > 1)


def _setting(cell: Mapping[str, Any]) -> dict[str, Any]:
    other = ("dataset", "method", "protocol", "seed", "varied")
    return {name: value for name, value in cell.items() if name not in other}


def _defaults() -> Flat:
    """Settings that records leave out at their default."""
    known: dict[str, Any] = {"partition": SplitSettings, "partition.public": PublicSettings}
    known |= {"training": Training, "models": ModelMix, "faults": Faults}
    values = {
        f"{section}.{written(setting.name)}": setting.default
        for section, kind in known.items()
        for setting in fields(kind)
        if setting.metadata.get("later") and setting.default is not MISSING and not is_dataclass(setting.default)
    }
    return {**values, **VOID}


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Flat:
    result: Flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result.update(_flattened(value, f"{prefix}{name}."))
        else:
            result[f"{prefix}{name}"] = value
    return result


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
