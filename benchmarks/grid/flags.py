"""Options of commands that stand for settings of a grid, `--alpha 0.1,1` (benchmarks room)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from .brackets import split_list
from .plain_yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

FLAGS = {
    "scheme": "partition.scheme",
    "clients": "partition.clients",
    "groups": "partition.groups",
    "alpha": "partition.alpha",
    "mixing": "partition.mixing",
    "public": "partition.public",
    "participation": "training.participation",
    "rounds": "training.rounds",
}
"""Settings, by the option that sets them."""


def read_flags(flags: Mapping[str, str]) -> dict[str, Any]:
    """The changes that options ask for, by dotted key; several values between commas are a list of them.

    Args:
        flags: what each option was given, by its name in `FLAGS`.
    Raises:
        ConfigError: a value that is not YAML, or an empty one between commas.
    """
    found = {}
    for name, text in flags.items():
        values = [parse_yaml(one, f"--{name}") for one in split_list(text, f"--{name}")]
        found[FLAGS[name]] = values if len(values) > 1 else values[0]
    return found


def add_flags(options: Mapping[str, Any], flags: Mapping[str, str], section: str = "") -> dict[str, Any]:
    """The changes of `-o` and those of such options together.

    Args:
        options: what `-o` changes, by key.
        flags: what each option was given, by its name in `FLAGS`.
        section: what keys are within, such as `partition.`, where `-o` names none.
    Raises:
        ConfigError: one setting is given twice, or a value is not YAML.
    """
    changes = {key.removeprefix(section): value for key, value in read_flags(flags).items()}
    for name in flags:
        key = FLAGS[name].removeprefix(section)
        if key in options:
            raise ConfigError(f"--{name} and -o {key} are the same setting; give one of them")
    return {**options, **changes}
