"""Names with settings in brackets, `cosmos[clusters=2;codec=hard]` (benchmarks room): read from the command line."""

from __future__ import annotations

import re
from typing import Any

from fl_bench.errors import ConfigError

from .plain_yaml import parse_yaml


def split_list(text: str, option: str) -> list[str]:
    """Parts between commas outside brackets, stripped.

    Raises:
        ConfigError: an empty part, or brackets that do not match.
    """
    parts = _split(text, ",")
    if not all(parts):
        raise ConfigError(f"{option} must list names between commas, found {text!r}")
    return parts


def name_and_brackets(item: str, what: str) -> tuple[str, str | None]:
    """The name, and what stands in brackets behind it; None without brackets.

    Args:
        item: `name` or `name[...]`.
        what: what it should be, for messages: `a method`.
    Raises:
        ConfigError: it has neither form.
    """
    match = re.fullmatch(r"([^\[\]]+?)\s*(?:\[(.*)\])?", item, re.DOTALL)
    if match is None:
        raise ConfigError(f"{item!r} is not {what}; write name or name[key=value;key=value]")
    return match[1], match[2]


def bracketed(inside: str, item: str) -> dict[str, Any]:
    """The settings in brackets, `key=value` between commas or semicolons, as plain values; values are YAML.

    Args:
        inside: the text between the brackets.
        item: the whole, for messages.
    Raises:
        ConfigError: a part without `=`, a key given twice, or a value that is not YAML.
    """
    return {key: parse_yaml(text, item) for key, text in _texts(inside, item).items()}


def alternatives(inside: str, item: str) -> dict[str, list[Any]]:
    """The same where each setting may have several values, `clusters=2|3|5`.

    Raises:
        ConfigError: as `bracketed`, or nothing stands beside a bar.
    """
    found = {}
    for key, text in _texts(inside, item).items():
        several = _split(text, "|")
        if len(several) > 1 and not all(several):
            raise ConfigError(f"{item!r}: a value must stand on both sides of |, found {key}={text}")
        found[key] = [parse_yaml(value, item) for value in several]
    return found


def _texts(inside: str, item: str) -> dict[str, str]:
    """What stands behind each `=`."""
    texts: dict[str, str] = {}
    for part in (piece for chunk in _split(inside, ";") for piece in _split(chunk, ",")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not key or key in texts:
            raise ConfigError(f"{item!r}: write each setting once, as key=value, found {part!r}")
        texts[key] = value
    return texts


def _split(text: str, separator: str) -> list[str]:
    """Cut at separators outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if depth < 0:
            break
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise ConfigError(f"the brackets of {text!r} do not match")
    return [part.strip() for part in parts]
