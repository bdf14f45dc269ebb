"""From plain values (YAML, the command line, a record) to frozen settings (benchmarks room); trains nothing.

Types are strict: `rounds: "20"`, `rounds: 2.5` and `rounds: true` are errors, `lr: 1` is the number 1.0. A setting
whose name is a word of Python's grammar has an underscore behind it in code, and none for users: `from`.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from fl_bench.errors import ConfigError
from fl_bench.limits import NAME_LENGTH, WHOLE_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")


@contextmanager
def blame(place: str) -> Iterator[None]:
    """Put `place` (a file, a key, an option) before the text of every `ConfigError` of the block."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def configure(kind: type[T], values: Any, key: str, *, limits: bool = True) -> T:
    """Build frozen settings from plain values, with their types and ranges checked.

    Args:
        kind: a frozen dataclass; its `__post_init__` checks ranges.
        values: a mapping from setting to value, of the types that JSON knows.
        key: where the mapping stands, such as `training`, for messages; empty at the top.
        limits: whether numbers must be finite and of a size that settings have. What was measured may be anything.
    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type, an impossible value (a number that is
            not finite is one, under `limits`), or a `kind` that is no dataclass or whose annotations cannot be read.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{key or 'the file'} must be a mapping of settings, found {show_value(values)}")
    if not dataclasses.is_dataclass(kind):
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__} is no class of settings: it must be a frozen dataclass"
        )
    code = {written(field.name): field.name for field in dataclasses.fields(kind) if field.init}
    known_keys(values, list(code), key)
    if limits:
        for name, value in values.items():
            _check_values(value, f"{key}.{name}" if key else name)
    values = {code[name]: value for name, value in values.items()}
    try:
        # JSON mode is the strict mode that takes a list for a tuple and an int for a float, and nothing else.
        read: T = _adapter(kind).validate_json(json.dumps(values, default=str), strict=True)
        return read
    except ValidationError as error:
        raise _explain(error, key) from None
    except (PydanticUserError, NameError, TypeError) as error:  # a plugin whose annotations cannot be read
        raise ConfigError(f"{kind.__module__}.{kind.__qualname__} is no class of settings: {error}") from None


@lru_cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """What reads settings of a class; made once, because it takes milliseconds and a grid has thousands of cells."""
    return TypeAdapter(kind)


def _check_values(value: Any, key: str) -> None:
    """Refuse numbers and texts, however deep, that records could not hold or nothing could count to."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_values(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _check_values(inner, f"{key}.{place}")
    elif isinstance(value, float) and not isfinite(value):
        raise ConfigError(f"{key} must be a finite number, found {value}")
    elif isinstance(value, int) and abs(value) > WHOLE_NUMBER:
        raise ConfigError(f"{key} must be at most {WHOLE_NUMBER} in size as a whole number, found {show_value(value)}")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{key} must be text of whole characters, found {value!a}") from None


def plain(settings: Any) -> dict[str, Any]:
    """The settings of a frozen dataclass as JSON knows them (tuples become lists).

    Settings that came later are left out at their default, so that records from before keep their keys.
    """
    values: dict[str, Any] = json.loads(_plain_text(_Same(settings)))
    return values


class _Same:
    """Settings as a key of a cache: the same object, not an equal one, which may have 1 where these have 1.0."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def __hash__(self) -> int:
        return id(self.settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.settings is self.settings


@lru_cache(maxsize=1024)
def _plain_text(same: _Same) -> str:
    """The JSON of frozen settings; made once, because the cells of a grid share theirs and all have a key."""
    settings = same.settings
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    for setting in dataclasses.fields(settings):
        value = getattr(settings, setting.name)
        shown = values.pop(setting.name)
        if not setting.metadata.get("later") or value != setting.default:
            values[written(setting.name)] = plain(value) if dataclasses.is_dataclass(value) else shown
    return json.dumps(values)


def written(name: str) -> str:
    """The name of a setting as users write it."""
    return name.removesuffix("_")


def check_name(name: str, key: str, most: int = NAME_LENGTH) -> None:
    """A name that fits on a line of a table and into a message, as it is.

    Raises:
        ConfigError: it is empty, too long, or holds what cannot be printed, such as a line end or an escape sequence.
    """
    if not 0 < len(name) <= most or not name.isprintable():
        raise ConfigError(f"{key} must be 1 to {most} printable characters, found {len(name)}: {name[:40]!a}")


def known_keys(values: Mapping[Any, Any], known: list[str], key: str) -> None:
    """Refuse a key that is not known, with the nearest one that is.

    Raises:
        ConfigError: names the key and all known ones.
    """
    for name in values:
        if name not in known:
            near = get_close_matches(str(name), known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            listing = f"known: {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"{key or 'the file'} has no setting {name!r}{hint} ({listing})")


def show_value(value: Any) -> str:
    """A value as messages show it, cut to one short line."""
    text = hex(value) if isinstance(value, int) and abs(value) > WHOLE_NUMBER**3 else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _explain(error: ValidationError, key: str) -> ConfigError:
    """One message for the first setting that is wrong; a union complains once per member."""
    problems = error.errors(include_url=False)
    first = problems[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, ConfigError):
        return own
    path = [key] if key else []
    path += [written(str(part)) for place, part in enumerate(first["loc"]) if place == 0 or isinstance(part, int)]
    same = [problem for problem in problems if problem["loc"][:1] == first["loc"][:1]]
    wanted = dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in same)
    if first["type"] == "missing":
        return ConfigError(f"{'.'.join(path)} is missing")
    return ConfigError(f"{'.'.join(path)} must be {' or '.join(wanted)}, found {show_value(first['input'])}")
