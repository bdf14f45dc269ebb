"""YAML text to plain values (benchmarks room): text, numbers, lists and mappings, within limits, and nothing else.

What is refused is refused while it is read: nests that are too deep, aliases that repeat too much or name what they
stand in, tags that ask for anything but plain values. No tag runs code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from yaml.constructor import ConstructorError

from fl_bench.errors import ConfigError
from fl_bench.limits import YAML_BYTES, YAML_DEPTH, YAML_VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONGEST_NUMBER = 64
"""Characters of a number; beyond, reading it takes time that grows with its square."""

NOT_PLAIN = ("binary", "omap", "pairs", "set")
"""Types of YAML that JSON does not know."""


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a key given twice is an error, `1e-3` is a number, `4:00:00` is none."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what stands next; stop where it goes too deep or on for too long, before the rest is read."""
        self._depth += 1
        self._values += 1
        if self._depth > YAML_DEPTH or self._values > YAML_VALUES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # untyped in its stubs
            raise _too_much(self._depth > YAML_DEPTH, mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document; see `_expanded`."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _expanded(node, 1, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; refuse a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float):
                raise ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """The text of a scalar; refuse a number that is too long to be one."""
        if node.tag.rpartition(":")[2] in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            found = f"a number has at most {LONGEST_NUMBER} characters, found {len(node.value)}"
            raise ConstructorError(None, None, found, node.start_mark)
        return super().construct_scalar(node)


# To YAML 1.1, which PyYAML speaks, `4:00:00` is 14400, in base 60; to everybody else a text. The first pattern decides.
_SIXTIES = ("tag:yaml.org,2002:str", re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$"))
_Loader.yaml_implicit_resolvers = {
    first: [_SIXTIES, *resolvers] for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
# And it wants a dot in a number with an exponent; everybody writes 1e-3.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
for _name in NOT_PLAIN:
    # Its stubs want a constructor for any loader; this one is for a SafeLoader, as _Loader is.
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", yaml.SafeLoader.construct_undefined)  # type: ignore[type-var]


class _Dumper(yaml.SafeDumper):
    """YAML that this module reads as it was: a text that looks like a number to it stands in quotes."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, what: str) -> Any:
    """Plain values from YAML text.

    Args:
        text: the YAML.
        what: where it stands, for messages: a file name or an option.
    Raises:
        ConfigError: it is not YAML or goes beyond a limit, with line and column.
    """
    if len(text) > YAML_BYTES:
        raise ConfigError(f"{what}: YAML may have at most {YAML_BYTES} characters, found {len(text)}")
    try:
        return yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{what}{place}: this is not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # control characters, impossible dates
        raise ConfigError(f"{what}: this is not valid YAML: {str(error).splitlines()[0]}") from None


def to_yaml(values: Any) -> str:
    """YAML text of plain values, in their order; lists and mappings of scalars on one line each."""
    text: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, width=120, default_flow_style=None, allow_unicode=True
    )
    return text


def read_yaml(path: Path) -> Any:
    """Plain values from a YAML file.

    Raises:
        ConfigError: the file is missing, unreadable, too large or not YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(YAML_BYTES + 1)
        if len(content) > YAML_BYTES:
            raise ConfigError(f"{path} is too large for a YAML file of settings, which has at most {YAML_BYTES} bytes")
        text = content.decode()
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


def _expanded(node: yaml.Node, depth: int, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for with its aliases written out, and how deep they go.

    Args:
        node: what was composed, where aliases are one node in several places.
        depth: how deep it stands.
        known: what was found of nodes; None of those that are being looked through.
    Raises:
        ConstructorError: too many or too deep, or a node that holds itself.
    """
    found = known.get(id(node), (0, 0))
    if found is None:
        raise ConstructorError(None, None, "an alias (*) stands inside what it repeats", node.start_mark)
    if id(node) not in known:
        known[id(node)] = None
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        count, height = 1, 1
        for part in parts:
            inside, deep = _expanded(part, depth + 1, known)
            count, height = count + inside, max(height, deep + 1)
            if count > YAML_VALUES:
                raise _too_much(False, node.start_mark)
        known[id(node)] = found = (count, height)
    if depth + found[1] - 1 > YAML_DEPTH:
        raise _too_much(True, node.start_mark)
    return found


def _too_much(deep: bool, mark: yaml.Mark) -> ConstructorError:
    most = f"{YAML_DEPTH} levels of lists and mappings" if deep else f"{YAML_VALUES} values, aliases (*) written out"
    return ConstructorError(None, None, f"there are more than {most}", mark)
