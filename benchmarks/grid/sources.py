"""The source of a class that was given from Python (benchmarks room), whether a file has it or a cell of a notebook."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

    from ...methods.base import Method

MADE = "<string>"
"""Where functions are from that `dataclass` makes."""

GIVEN = ("name", "config_type")
"""What a class is given when it becomes a method."""


def source_of(cls: type[Method[Any]]) -> str:
    """The source of a class, of its settings, and of what it inherits from its own module.

    Raises:
        ConfigError: Python does not know it.
    """
    own = [part for part in (*cls.__mro__, cls.config_type) if part.__module__ == cls.__module__]
    return "\n".join(_source(part) for part in own)


def _source(part: type[Any]) -> str:
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):  # a notebook is no file: only functions know which cell they are from
        codes = list(_codes(part))
        found = _in_cell(part, codes[0]) if codes else _said(part)
    if found is None:
        raise ConfigError(
            f"Python does not know the source of {part.__name__}, which is part of the key of its runs: define it in a "
            "notebook cell or in a file"
        )
    return found


def _codes(part: type[Any]) -> Iterator[CodeType]:
    """The code of the functions that a class defines."""
    for value in vars(part).values():
        function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
        code = getattr(function, "__code__", None)
        if code is not None and code.co_filename != MADE:
            yield code


def _in_cell(part: type[Any], code: CodeType) -> str | None:
    """The definition of a class around one of its functions; None where there is none."""
    lines = linecache.getlines(code.co_filename)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == part.__name__:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = node.end_lineno or first
            if first <= code.co_firstlineno <= last:
                return textwrap.dedent("".join(lines[first - 1 : last]))
    return None


def _said(part: type[Any]) -> str | None:
    """What a class without functions says: bases, values and fields; None where one of them has no lasting text."""
    fields = [
        field for field in getattr(part, "__dataclass_fields__", {}).values() if field.name in part.__annotations__
    ]
    values = {name: value for name, value in vars(part).items() if not name.startswith("_") and name not in GIVEN}
    said = [
        f"class {part.__qualname__}({', '.join(base.__qualname__ for base in part.__bases__)})",
        *(f"{field.name}: {field.type} = {_text(field.default)} {_text(field.default_factory)}" for field in fields),
        *(f"{name} = {_text(values[name])}" for name in sorted(values)),
    ]
    return None if any(" at 0x" in line for line in said) else "\n".join(said)


def _text(value: Any) -> str:
    """A value as text that is the same in every session; sets have no order of their own."""
    if value is MISSING:
        return ""
    return f"{{{', '.join(sorted(map(repr, value)))}}}" if isinstance(value, set | frozenset) else repr(value)
