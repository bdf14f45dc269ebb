"""Methods as they are asked for (benchmarks room): entries of a grid and names of a command line, not configured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...federation.settings import Training
from ...methods.registry import METHODS
from .brackets import alternatives, name_and_brackets, split_list
from .configure import blame, check_name, configure, show_value
from .sweeps import check_axis, is_axis

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
    entry: str = ""
    """The label of the entry that it is one of several of, where a setting has several values; else empty."""


def parse_methods(entry: Any, key: str, configured: Sequence[MethodChoice] = ()) -> list[MethodChoice]:
    """The methods of a grid's entry: one, or one for each value of settings that are lists of values.

    Args:
        entry: the entry, as `parse_method` takes it.
        key: the list that it stands in, for messages.
        configured: methods that a plain name may refer to by label.
    Raises:
        ConfigError: no such form, no such method, or an impossible axis.
    """
    several = [choice for choice in configured if choice.entry and choice.entry == entry]
    return several or _variants(parse_method(entry, key, configured), f"{key}.{entry}")


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
    local training of its own (`training.lr`) among it. Without a label the brackets become part of the label. A setting
    with several values, `clusters=2|3`, makes a method of each.

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
            whole = [choice for choice in configured if choice.label == item]
            bases = whole or [choice for choice in configured if name in (choice.label, choice.entry)]
            if not bases:
                METHODS[name]  # an unknown name raises
                bases = [MethodChoice(name, name)]
            bracketed = {} if inside is None or whole else _bracketed(inside, item)
            chosen += [made for base in bases for made in _with_each(base, bracketed, item)] if bracketed else bases
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


def _variants(choice: MethodChoice, key: str) -> list[MethodChoice]:
    """The choice, once for each combination of values of settings that are lists of values."""
    written = {**choice.settings, **{f"training.{name}": value for name, value in choice.training.items()}}
    axes = {name: list(value) for name, value in written.items() if _is_axis(choice.name, name, value)}
    for name, values in axes.items():
        with blame(f"{key}: {name}"):
            check_axis(values)
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    made = [_with_changes(choice, point, f"{choice.label}[{_shown(point)}]") for point in points]
    return [replace(one, entry=choice.label) for one in made] if axes else [choice]


def _bracketed(inside: str, item: str) -> dict[str, list[Any]]:
    """The values of each setting in brackets, at least one of each."""
    found = alternatives(inside, item)
    for name, values in found.items():
        with blame(f"{item!r}: {name}"):
            check_axis(values)
    return found


def _with_each(base: MethodChoice, bracketed: Mapping[str, Sequence[Any]], item: str) -> list[MethodChoice]:
    """The base with what brackets change, once for each combination of values."""
    labels = bracketed.get("label", ())
    if len(labels) > 1 or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"{item!r}: label and codec are names")
    values = {
        name: list(one[0]) if len(one) == 1 and _is_axis(base.name, name, one[0]) else list(one)
        for name, one in bracketed.items()
        if name != "label"
    }
    made = []
    for point in product(*values.values()):
        changes = dict(zip(values, point, strict=True))
        several = {name: value for name, value in changes.items() if len(values[name]) > 1}
        named = several if labels else changes
        label = f"{labels[0] if labels else base.label}{f'[{_shown(named)}]' if named else ''}"
        check_name(label, f"{show_value(item)}: the label")
        made.append(_with_changes(base, changes, label))
    return made


def _with_changes(base: MethodChoice, changes: Mapping[str, Any], label: str) -> MethodChoice:
    """The base with other settings, `codec` and `training.lr` among them."""
    settings = {**base.settings, **changes}
    codec = settings.pop("codec", base.codec)
    single = {key: settings.pop(key) for key in list(settings) if key.startswith("training.")}
    training = {**base.training, **{key.removeprefix("training."): value for key, value in single.items()}}
    if not isinstance(codec, str):
        raise ConfigError(f"{label!r}: label and codec are names")
    return replace(base, label=label, codec=codec, settings=settings, training=training)


def _is_axis(method: str, name: str, value: Any) -> bool:
    """Whether a value is several values of a method's setting or `codec`."""
    own = name.partition("training.")[2]
    return is_axis([Training if own else METHODS[method].config_type], own or name, value)


def _shown(changes: Mapping[str, Any]) -> str:
    """Settings as labels have them."""
    return ";".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in changes.items()
    )
