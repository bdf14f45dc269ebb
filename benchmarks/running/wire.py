"""Lines of JSON between machines (benchmarks room): bounded, strictly typed, refused by name where they are wrong."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from fl_bench.errors import ConfigError, FLBenchError

from ..grid.configure import configure, known_keys, show_value

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

PROTOCOL = 1
"""Version of orders and messages; any other is refused."""

MOST_LINE = 2**30
"""Bytes of the longest order or message."""


class ProtocolError(FLBenchError):
    """What came over the wire is not what the protocol says."""


def to_line(values: Mapping[str, Any]) -> bytes:
    """Plain values as a line of JSON, with its end."""
    return json.dumps(values, separators=(",", ":"), default=_number).encode() + b"\n"


def _number(value: Any) -> Any:
    """A number of NumPy as Python's; anything else has no place in a message."""
    return value.item() if hasattr(value, "item") else json.JSONEncoder().default(value)


def from_line(line: bytes, what: str) -> dict[str, Any]:
    """The mapping that a line holds.

    Args:
        line: JSON.
        what: what it should be, for messages.
    Raises:
        ProtocolError: it is too long, no JSON, or no mapping.
    """
    if len(line) > MOST_LINE:
        raise ProtocolError(f"{what} has {len(line)} bytes; {MOST_LINE} are the most")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"{what} is no JSON: {show_value(line[:80])}") from None
    if not isinstance(values, dict):
        raise ProtocolError(f"{what} is no mapping: {show_value(values)}")
    return values


def check_version(values: Mapping[str, Any], who: str) -> None:
    """Refuse another version of the protocol; what does not say one has ours.

    Raises:
        ProtocolError: names both versions, and `who` speaks the other.
    """
    version = values.get("protocol", PROTOCOL)
    if version != PROTOCOL:
        raise ProtocolError(
            f"{who} speaks version {show_value(version)} of the worker protocol, and this fl-bench version {PROTOCOL}; "
            "install the same fl-bench on both"
        )


def read_as(kind: type[T], values: dict[str, Any], what: str, *, nested: bool = False) -> T:
    """Plain values as a frozen dataclass, with strict types.

    Args:
        kind: the class.
        values: by the names of its fields.
        what: where they stand, for messages.
        nested: whether it holds further dataclasses, whose unknown keys are to be found as well.
    Raises:
        ProtocolError: a key that is missing or unknown, or a wrong type.
    """
    try:
        read = configure(kind, values, what, limits=False)
        if nested:
            _nothing_lost(values, json.loads(to_line(asdict(read))), what)  # type: ignore[call-overload]
    except ConfigError as error:
        raise ProtocolError(str(error)) from None
    return read


def _nothing_lost(values: Any, read: Any, what: str) -> None:
    """Every key was read: what nobody knows may mean anything."""
    if isinstance(values, dict) and isinstance(read, dict):
        known_keys(values, list(read), what)
        for name, value in values.items():
            _nothing_lost(value, read[name], f"{what}.{name}")
    elif isinstance(values, list) and isinstance(read, list):
        for value, other in zip(values, read, strict=True):
            _nothing_lost(value, other, what)


def shown(text: str) -> str:
    """What a node said, fit for a terminal: one line of printable characters, not too long."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= 1000 else f"{line[:997]}..."


def decoded(text: str, what: str) -> bytes:
    """The bytes of a Base64 text.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{what} is no Base64") from None


def encoded(content: bytes) -> str:
    """Bytes as Base64 text."""
    return base64.b64encode(content).decode()
