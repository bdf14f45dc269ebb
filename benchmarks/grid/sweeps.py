"""Sweeps (benchmarks room): a list where a setting takes one value is an axis, and axes multiply to named settings."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from itertools import product
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from fl_bench.errors import ConfigError

from ...datasets.partition import PARTITIONS
from ...datasets.public import PublicSettings
from ...datasets.split import SplitSettings
from ...federation.faults import Faults, Poison
from ...federation.settings import ModelMix, Training
from .configure import blame, written
from .names import named, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NESTED = ("partition.public", "faults.poison")
"""Settings that may be mappings of settings."""


def is_axis(kinds: Sequence[Any], name: str, value: Any) -> bool:
    """Whether a value is several values of a setting, each for a run of its own.

    A list is, where the setting takes no list; where it does (`models.names`, `partition.public.missing`), a list with
    lists in it.

    Args:
        kinds: frozen dataclasses, one of which may have the setting; more than one where a plugin's has it too.
        name: the setting.
        value: as written, a plain value.
    """
    if not isinstance(value, list | tuple):
        return False
    if any(_takes_lists(kind, name) for kind in kinds):
        return any(isinstance(one, list | tuple) for one in value)
    return True


@dataclass(frozen=True)
class Setting:
    """What a grid runs a whole comparison in: its sections with changes, by dotted key, a value each."""

    changes: dict[str, Any]
    """Those of the grid: of a named change, and of its axes."""
    options: dict[str, Any]
    """Those of the command line, on top."""


def swept(
    sections: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Setting]:
    """Every named change of a grid with every combination of the axes that are written anywhere.

    What is said later replaces what was said before, an axis too: options a named change's, and these a section's.

    Args:
        sections: the grid's own, such as `partition`, in their long form.
        settings: its named changes, by dotted key; at least one, whose name may be empty.
        options: the command line's changes, by dotted key.
    Returns:
        The settings, under names such as `alpha=0.1, lr=0.01`.
    Raises:
        ConfigError: an axis without values, or with a value twice.
    """
    own = {
        key: value
        for section, values in sections.items()
        for key, value in _single({f"{section}.{name}": value for name, value in values.items()}).items()
        if _is_axis(key, value)
    }
    found: dict[str, Setting] = {}
    for setting, changes in settings.items():
        of_grid = _without(_without(own, changes) | dict(changes), options)
        of_grid_axes, option_axes = _axes(of_grid), _axes(options)
        axes = dict(sorted({**of_grid_axes, **option_axes}.items()))
        for key, values in axes.items():
            with blame(key):
                check_axis(values)
        for values in product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            name = ", ".join(filter(None, (setting, named(point))))
            found[name] = Setting(_at(of_grid, of_grid_axes, point), _at(options, option_axes, point))
    return found


def refuse_axes(changes: Mapping[str, Any]) -> None:
    """Refuse several values where one is wanted.

    Args:
        changes: by dotted key.
    Raises:
        ConfigError: names the setting.
    """
    for key, value in _single(changes).items():
        if _is_axis(key, value):
            raise ConfigError(f"{key} takes one value here, found {shown(value)}; `fl-bench run` takes several")


def check_axis(values: Sequence[Any]) -> None:
    """Refuse an axis without values, or with a value twice.

    Raises:
        ConfigError: says which value.
    """
    if not values:
        raise ConfigError("an axis needs values, found an empty list")
    texts = [shown(value) for value in values]
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"a value stands on an axis once, found {text} twice in {shown(list(values))}")


def _single(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with those inside mappings under keys of their own: `partition.public.noise`."""
    found: dict[str, Any] = {}
    for key, value in changes.items():
        if key == "models" and isinstance(value, dict):
            found |= {f"models.{name}": inner for name, inner in value.items()}
        elif key in NESTED and isinstance(value, dict):
            found[key] = value
            found |= {f"{key}.{name}": inner for name, inner in value.items() if _is_axis(f"{key}.{name}", inner)}
        else:
            found["models.names" if key == "models" else key] = value
    return found


def _axes(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _single(changes).items() if _is_axis(key, value)}


def _is_axis(key: str, value: Any) -> bool:
    place, _, name = key.rpartition(".")
    kinds: dict[str, Sequence[Any]] = {
        "partition": [SplitSettings, *(PARTITIONS[scheme] for scheme in PARTITIONS.names())],
        "partition.public": [PublicSettings],
        "training": [Training],
        "models": [ModelMix],
        "faults": [Faults],
        "faults.poison": [Poison],
    }
    return is_axis(kinds.get(place, []), name, value)


def _at(changes: Mapping[str, Any], axes: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with a value in place of each axis."""
    fixed = {key: value for key, value in changes.items() if key not in axes}
    return {**fixed, **{key: point[key] for key in axes}}


def _without(changes: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The changes but those that are said anew later, or whose mapping is."""
    return {
        key: value
        for key, value in changes.items()
        if not any(key == other or key.startswith(f"{other}.") for other in later)
    }


def _takes_lists(kind: Any, name: str) -> bool:
    """Whether a setting may be a list."""
    if not is_dataclass(kind):
        return False
    code = {written(setting.name): setting.name for setting in fields(kind)}
    try:
        hint = get_type_hints(kind).get(code.get(name, ""))
    except (NameError, TypeError):  # a plugin whose annotations cannot be read, which `configure` says
        return False
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(part in (list, tuple) or get_origin(part) in (list, tuple) for part in parts)
