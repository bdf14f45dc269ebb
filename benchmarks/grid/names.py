"""Settings named by what differs, `alpha=0.1, clients=100` (benchmarks room): names written, and chosen from."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from fl_bench.errors import ConfigError, unknown_name

from .brackets import split_list
from .plain_yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

T = TypeVar("T")

SHORT = {"partition.public.share": "public", "models.names": "models"}
"""Settings whose short form, as grids have it, is named after the mapping that they stand in."""

SECTION = re.compile(r"(?:partition|training|faults|models)\.")


def short(key: str) -> str:
    """The name of a setting without its section: `alpha`, `public.noise`, `poison.clients`."""
    return SHORT.get(key) or SECTION.sub("", key, count=1)


def part(key: str, value: Any) -> str:
    """One setting with its value: `alpha=0.1`; one net stands for a list of it, as in grids: `models=cnn`."""
    single = key == "models.names" and isinstance(value, list | tuple) and len(value) == 1
    return f"{short(key)}={shown(value[0] if single else value)}"


def named(parts: Mapping[str, Any]) -> str:
    """Settings with their values, by dotted key, as one name."""
    return ", ".join(part(key, value) for key, value in parts.items())


def shown(value: Any) -> str:
    """A value as YAML has it on one line, numbers as short as they are exact."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, float):
        brief = f"{value:g}"
        return brief if float(brief) == value else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {shown(inner)}" for name, inner in value.items()) + "}"
    return str(value)


def in_order(name: str) -> list[tuple[float, str]]:
    """Sorts names as people do: `alpha=2` before `alpha=10`."""
    number = r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w)"
    pieces = re.split(f"({number})", name)
    return [(float(piece), "") if place % 2 else (float("-inf"), piece) for place, piece in enumerate(pieces)]


def choose(
    asked: str, candidates: Mapping[T, Set[str]], telling: Iterable[str] | None = None, kind: str = "setting"
) -> list[T]:
    """What `--settings` asks for: of `alpha=0.1,alpha=1` either, of `alpha=0.1,clients=100` both at once.

    Args:
        asked: parts between commas, `key=value`, or a name without `=`. Those of one key are alternatives; all keys
            must be met.
        candidates: for each setting the parts that it goes by.
        telling: the parts that an error lists; all by default.
        kind: what an error calls them.
    Returns:
        The settings that are meant, in the order in which their parts are asked for.
    Raises:
        ConfigError: no setting has a part that is asked for, or none has them all.
    """
    wanted: dict[str, dict[str, int]] = defaultdict(dict)
    known = {one for parts in candidates.values() for one in parts}
    for place, text in enumerate(split_list(asked, "--settings")):
        found = text if text in known else _written(text)
        if found not in known:
            key = found.partition("=")[0]
            alike = [one for one in known if one.partition("=")[0] == key] if "=" in found else []
            raise unknown_name(kind, text, alike or (known if telling is None else telling))
        wanted[short(found.partition("=")[0]) if "=" in found else ""][found] = place
    chosen = {one: parts for one, parts in candidates.items() if all(parts & own.keys() for own in wanted.values())}
    if not chosen:
        raise ConfigError(f"--settings {asked}: no setting is all of this at once")

    def order(one: T) -> list[int]:
        return [min(place for found, place in own.items() if found in chosen[one]) for own in wanted.values()]

    return sorted(chosen, key=order)


def _written(text: str) -> str:
    """A part as this module writes it: `lr=1e-3` is `lr=0.001`."""
    key, equals, value = text.partition("=")
    return f"{key.strip()}={shown(parse_yaml(value, '--settings'))}" if equals else text
