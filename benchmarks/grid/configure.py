"""From plain values (YAML, the command line, a record) to frozen settings (benchmarks room); trains nothing.

Types are strict: `rounds: "20"`, `rounds: 2.5` and `rounds: true` are errors, `lr: 1` is the number 1.0. A setting
whose name is a word of Python's grammar has an underscore behind it in code, and none for users: `from`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a key given twice is an error, `1e-3` is a number, and `4:00:00` is no number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; refuse a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML speaks, wants a dot in a number with an exponent; everybody writes 1e-3.
# To it, `4:00:00` is 14400, base 60; to everybody else a text. The first pattern that fits decides.
_SIXTIES = ("tag:yaml.org,2002:str", re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$"))
_Loader.yaml_implicit_resolvers = {
    first: [_SIXTIES, *resolvers] for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def parse_yaml(text: str, what: str) -> Any:
    """Plain values from YAML text.

    Args:
        text: the YAML.
        what: where it stands, for messages: a file name or an option.
    Raises:
        ConfigError: it is not YAML, with line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{what}{place}: this is not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # control characters, impossible dates, deep nests
        raise ConfigError(f"{what}: this is not valid YAML: {str(error).splitlines()[0]}") from None


def read_yaml(path: Path) -> Any:
    """Plain values from a YAML file.

    Raises:
        ConfigError: the file is missing, unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); a grid is a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parse_yaml(text, str(path))


def assignments(texts: Sequence[str], option: str, example: str) -> dict[str, Any]:
    """Plain values by key from several `key=value` of an option; values are YAML.

    Args:
        texts: what the option was given.
        option: its name, for messages.
        example: a text that would do.
    Raises:
        ConfigError: a text without `=`, or a key given twice.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{option} {text}: write key=value, such as {option} {example}")
        if key.strip() in values:
            raise ConfigError(f"{option} {key.strip()} is given twice")
        values[key.strip()] = parse_yaml(value, f"{option} {key}")
    return values


@contextmanager
def blame(place: str) -> Iterator[None]:
    """Put `place` (a file, a key, an option) before the text of every `ConfigError` of the block."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def configure(kind: type[T], values: Any, key: str) -> T:
    """Build frozen settings from plain values, with their types and ranges checked.

    Args:
        kind: a frozen dataclass; its `__post_init__` checks ranges.
        values: a mapping from setting to value, of the types that JSON knows.
        key: where the mapping stands, such as `training`, for messages; empty at the top.
    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type, an impossible value, or a `kind` that
            is no dataclass or whose annotations cannot be read.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{key or 'the file'} must be a mapping of settings, found {show_value(values)}")
    if not dataclasses.is_dataclass(kind):
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__} is no class of settings: it must be a frozen dataclass"
        )
    code = {written(field.name): field.name for field in dataclasses.fields(kind) if field.init}
    known_keys(values, list(code), key)
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


def plain(settings: Any) -> dict[str, Any]:
    """The settings of a frozen dataclass as JSON knows them (tuples become lists).

    Settings that came later are left out at their default, so that records from before keep their keys.
    """
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    for setting in dataclasses.fields(settings):
        value = getattr(settings, setting.name)
        shown = values.pop(setting.name)
        if not setting.metadata.get("later") or value != setting.default:
            values[written(setting.name)] = plain(value) if dataclasses.is_dataclass(value) else shown
    return values


def written(name: str) -> str:
    """The name of a setting as users write it."""
    return name.removesuffix("_")


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
    text = repr(value)
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
