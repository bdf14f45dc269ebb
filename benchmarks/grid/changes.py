"""A grid's sections with changes by dotted key (benchmarks room), and what a change of scheme leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ...datasets.partition import PARTITIONS
from .cell import SPLIT_KEYS, models_section
from .configure import known_keys
from .dealing import NATURAL, USUAL
from .names import part

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = ("partition", "training", "models", "faults")
"""Parts of a grid that `-o` and `settings` reach into."""

SCHEME = "partition.scheme"


def with_changes(
    sections: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The sections of a grid with changes by dotted key, as plain values.

    Args:
        sections: the grid's own, in their long form.
        changes: what one of its named settings changes.
        options: what the command line changes on top.
    Raises:
        ConfigError: a key that reaches into none of them.
    """
    move = scheme_change(sections, changes, options)
    behind = set() if move is None else set(move.left)
    found: dict[str, Any] = {
        section: {name: value for name, value in sections[section].items() if f"{section}.{name}" not in behind}
        for section in SECTIONS
    }
    changes = {key: value for key, value in changes.items() if key not in behind or key in options}
    for key, value in {**changes, **options}.items():
        section, _, setting = key.partition(".")
        if key == "models":
            found["models"] = models_section(value)
        elif section in SECTIONS and setting:
            found[section][setting] = value
        else:
            known_keys({key: value}, [f"{name}.<setting>" for name in SECTIONS], "an override (-o or settings)")
    return found


@dataclass(frozen=True)
class SchemeChange:
    """What becomes of a grid's settings of one scheme where data are dealt by another."""

    scheme: str
    """The other one."""
    left: tuple[str, ...]
    """Settings that it does not know, by dotted key: left out."""
    kept: tuple[str, ...]
    """Those that it has as well, with their values."""

    def __str__(self) -> str:
        kept = f"; kept: {', '.join(self.kept)}" if self.kept else ""
        return f"partition.scheme={self.scheme} leaves out what the grid sets for another: {', '.join(self.left)}{kept}"


def scheme_change(
    sections: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any], options: Mapping[str, Any]
) -> SchemeChange | None:
    """What a change of scheme leaves out; None where there is no such change, or it leaves out nothing.

    What is said together with the new scheme stays, so that a setting that it does not know is an error. `natural` has
    as many clients as the data, unless a number comes with it.

    Args:
        sections: the grid's own, in their long form.
        changes: what one of its named settings changes.
        options: what the command line changes on top.
    """
    layers: list[Mapping[str, Any]] = [{f"partition.{name}": value for name, value in sections["partition"].items()}]
    layers += [changes, options]
    place = max((place for place, layer in enumerate(layers) if SCHEME in layer), default=0)
    before = {key: value for layer in layers[:place] for key, value in layer.items()}
    scheme = layers[place].get(SCHEME)
    said = [layer[SCHEME] for layer in layers[:place] if SCHEME in layer]
    flat = [name for one in said for name in (one if isinstance(one, list | tuple) else [one])]
    earlier = [name for name in flat or [USUAL] if name != scheme]
    if not before or not isinstance(scheme, str) or scheme not in PARTITIONS or not earlier:
        return None
    known = _own(scheme)
    theirs = _own(*earlier) | ({"clients"} if said and scheme == NATURAL else set())
    old = {
        key: value
        for key, value in before.items()
        if key.startswith("partition.") and key not in layers[place] and key.removeprefix("partition.") in theirs
    }
    left = tuple(key for key in old if key.removeprefix("partition.") not in known)
    return SchemeChange(scheme, left, tuple(part(key, old[key]) for key in old if key not in left)) if left else None


def _own(*schemes: Any) -> set[str]:
    """The settings that only these schemes have."""
    known = [PARTITIONS[name] for name in schemes if isinstance(name, str) and name in PARTITIONS]
    return {setting.name for scheme in known for setting in fields(scheme)} - set(SPLIT_KEYS)
