"""Methods as they are asked for (benchmarks room): entries of a grid and names of a command line, not configured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...methods.registry import METHODS
from .brackets import bracketed, name_and_brackets, split_list
from .configure import blame, check_name, configure, show_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class MethodChoice:
    """A method of a grid, as asked for."""

    name: str
    label: str
    codec: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def parse_method(entry: Any, key: str, configured: Sequence[MethodChoice] = ()) -> MethodChoice:
    """A method entry of a grid: a name, `name: {settings}`, or {name, label, codec, settings, training}.

    Args:
        entry: the entry.
        key: the list that it stands in, for messages.
        configured: methods that a plain name may refer to by label.
    Raises:
        ConfigError: no such form, or no such method.
    """
    if isinstance(entry, str):
        for choice in configured:
            if choice.label == entry:
                return choice
        entry = {"name": entry}
    if not isinstance(entry, dict) or (len(entry) != 1 and "name" not in entry):
        raise ConfigError(
            f"{key} lists names, `name: {{settings}}` or {{name, label, codec, settings, training}}, "
            f"found {show_value(entry)}"
        )
    if "name" not in entry:
        ((name, settings),) = entry.items()
        entry = {"name": name, "settings": settings or {}}
        if isinstance(settings, dict) and "training" in settings:
            entry["settings"] = {key: value for key, value in settings.items() if key != "training"}
            entry["training"] = settings["training"]
    long = configure(MethodEntry, entry, key)
    METHODS[long.name]  # an unknown name raises
    if long.label is not None:
        check_name(long.label, f"the label of {long.name} in {key}")
    return MethodChoice(long.name, long.label or long.name, long.codec, long.settings, long.training)


def choose_methods(text: str, configured: Sequence[MethodChoice]) -> list[MethodChoice]:
    """The methods that `--methods` asks for: `a,b[key=value;key=value]`, or `all`.

    A name that the grid labels keeps the grid's settings; what stands in brackets comes on top, `codec`, `label` and
    local training of its own (`training.lr`) among it. Without a label the brackets become part of the label.

    Raises:
        ConfigError: a malformed text, an unknown name, or a method named twice.
    """
    with blame("--methods"):
        chosen: list[MethodChoice] = []
        for item in split_list(text, "it"):
            name, inside = name_and_brackets(item, "a method")
            if name == "all" and inside is None:
                labelled = {choice.name for choice in configured}
                chosen += configured
                chosen += [MethodChoice(other, other) for other in METHODS.names() if other not in labelled]
                continue
            base = next((choice for choice in configured if choice.label == name), None)
            if base is None:
                METHODS[name]  # an unknown name raises
                base = MethodChoice(name, name)
            chosen.append(base if inside is None else _with_brackets(base, inside, item))
        refuse_repeats([choice.label for choice in chosen])
    return chosen


def refuse_repeats(labels: Sequence[str]) -> None:
    """Refuse two methods of one label: tables could not tell them apart.

    Raises:
        ConfigError: names the label.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(
                f"two methods are called {label!r}; give one a label: {{name: ..., label: ..., settings: ...}}, "
                f"or name[label=...;key=value] on the command line"
            )


@dataclass(frozen=True)
class MethodEntry:
    """The long form of a method entry, as written."""

    name: str
    """The method, as `fl-bench list methods` names it."""
    label: str | None = None
    """What tables call this entry; the method's name when null. Two entries of one method need different labels."""
    codec: str = "none"
    """How scores are coded on the wire: `none`, `float16`, `top-<k>` or `hard`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the method that differ from its defaults."""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of local training that the method has of its own."""


def _with_brackets(base: MethodChoice, inside: str, item: str) -> MethodChoice:
    changes = bracketed(inside, item)
    shown = ";".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in changes.items()
    )
    label = changes.pop("label", f"{base.label}[{shown}]")
    codec = changes.pop("codec", base.codec)
    single = {key: changes.pop(key) for key in list(changes) if key.startswith("training.")}
    training = {**base.training, **{key.removeprefix("training."): value for key, value in single.items()}}
    if not isinstance(label, str) or not isinstance(codec, str):
        raise ConfigError(f"{item!r}: label and codec are names")
    check_name(label, f"{show_value(item)}: the label")
    return replace(base, label=label, codec=codec, settings={**base.settings, **changes}, training=training)
