"""Spaces that settings are tuned in: a settings class declares one beside a field's default.

    digest_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))

A space maps a number from 0 to 1 to a value, so that any sampler can draw from it. It says whether a value lies at its
edge, and how it goes on there. A setting without a space is not tuned: variants of a method (a loss, a rule of
aggregation) are methods of their own in a comparison. Nor is a setting that the method's entry in a grid names: what a
grid says, it means.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

Side: TypeAlias = Literal["low", "high"]

EDGE = 0.1
"""Share of a continuous space, on its own scale, that counts as its edge, at either end."""


@dataclass(frozen=True)
class Log:
    """Positive numbers between two bounds, even in their logarithm; values have two significant digits."""

    low: float
    high: float
    most: float = math.inf
    """No value may lie above it, however far the space is widened."""

    def __post_init__(self) -> None:
        _ordered(self.low, self.high, 0.0, self.most, open_below=True)

    def at(self, share: float) -> float:
        """The value at a share of the space, from 0 (its low end) to 1."""
        value = self.low * (self.high / self.low) ** share
        return min(max(float(f"{value:.1e}"), self.low), self.high)

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1; beyond them outside of the space."""
        return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf

    def edge(self, value: float) -> Side | None:
        """The end that a value is near, or beyond; None inside."""
        return _edge(self.share(value))

    def widened(self, side: Side) -> Log:
        """The space with another factor of ten (or what is left of it) beyond one end."""
        if side == "low":
            return replace(self, low=float(f"{self.low / 10:.6g}"))
        return replace(self, high=min(float(f"{self.high * 10:.6g}"), self.most))

    def __str__(self) -> str:
        return f"log({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Linear:
    """Numbers between two bounds, evenly; values have two decimals of the width."""

    low: float
    high: float
    least: float = -math.inf
    """No value may lie below it, however far the space is widened."""
    most: float = math.inf
    """No value may lie above it."""

    def __post_init__(self) -> None:
        _ordered(self.low, self.high, self.least, self.most)

    def at(self, share: float) -> float:
        """The value at a share of the space, from 0 (its low end) to 1."""
        width = self.high - self.low
        value = round(self.low + share * width, 2 - math.floor(math.log10(width)))
        return min(max(value, self.low), self.high)

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1; beyond them outside of the space."""
        return (value - self.low) / (self.high - self.low)

    def edge(self, value: float) -> Side | None:
        """The end that a value is near, or beyond; None inside, and where the space cannot go on."""
        side = _edge(self.share(value))
        return None if side and self.widened(side) == self else side

    def widened(self, side: Side) -> Linear:
        """The space with half of its width (or what is left of it) beyond one end."""
        half = (self.high - self.low) / 2
        if side == "low":
            return replace(self, low=max(self.low - half, self.least))
        return replace(self, high=min(self.high + half, self.most))

    def __str__(self) -> str:
        return f"linear({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Integers:
    """Whole numbers between two bounds, both included, evenly or in their logarithm."""

    low: int
    high: int
    log: bool = False
    least: int = 1
    """No value may lie below it, however far the space is widened."""
    most: int | None = None
    """No value may lie above it; None: no bound."""

    def __post_init__(self) -> None:
        _ordered(self.low, self.high, self.least, math.inf if self.most is None else self.most)
        if self.log and self.low < 1:
            raise ConfigError(f"a logarithmic space of whole numbers starts at 1 or above, got {self.low}")

    def at(self, share: float) -> int:
        """The value at a share of the space, from 0 (its low end) to 1."""
        if self.log:
            value = math.floor(self.low * math.exp(share * math.log((self.high + 1) / self.low)))
        else:
            value = math.floor(self.low + share * (self.high + 1 - self.low))
        return min(max(value, self.low), self.high)

    def edge(self, value: int) -> Side | None:
        """The end that a value is at, or beyond; None inside, and where the space cannot go on."""
        side: Side | None = "low" if value <= self.low else "high" if value >= self.high else None
        return None if side and self.widened(side) == self else side

    def widened(self, side: Side) -> Integers:
        """The space with twice the range (half the lowest value) beyond one end."""
        if side == "low":
            return replace(self, low=max(self.low // 2, self.least))
        return replace(self, high=self.high * 2 if self.most is None else min(self.high * 2, self.most))

    def __str__(self) -> str:
        return f"{'log ' if self.log else ''}integers({self.low}, {self.high})"


@dataclass(frozen=True)
class Choices:
    """Any of some values; it has no edges."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(len(self.values), 2):
            raise ConfigError(f"a space of choices needs two values or more, each once, got {self.values}")

    def at(self, share: float) -> Any:
        """The value at a share of the space, from 0 (the first) to 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def edge(self, value: Any) -> Side | None:
        """None: choices are in no order."""
        return None

    def widened(self, side: Side) -> Choices:
        """Itself."""
        return self

    def __str__(self) -> str:
        return " | ".join(map(str, self.values))


Space: TypeAlias = Log | Linear | Integers | Choices


NUMBERS: dict[str, Callable[[Any, Any], Space]] = {
    "log": Log,
    "linear": Linear,
    "integers": Integers,
    "log integers": partial(Integers, log=True),
}
"""Spaces between two numbers by the words that they are written with."""


def parse_space(text: str) -> Space:
    """A space as `str` writes it: `log(1e-6, 1e-2)`, `linear(0, 1)`, `integers(1, 8)`, `8 | 16 | 32`.

    Raises:
        ConfigError: it is none of these.
    """
    written = re.fullmatch(rf"({'|'.join(NUMBERS)})\(([^,()]+),([^,()]+)\)", text.strip())
    if written is None and "|" in text:
        return Choices(tuple(_scalar(part) for part in text.split("|")))
    ends = [] if written is None else [_scalar(part) for part in written.groups()[1:]]
    whole = written is not None and "integers" in written[1]
    if written is None or not all(isinstance(end, int if whole else (int, float)) for end in ends):
        raise ConfigError(f"{text!r} is no space; write log(1e-6, 1e-2), linear(0, 1), integers(1, 8) or 8|16|32")
    return NUMBERS[written[1]](*ends)


def _scalar(text: str) -> Any:
    """A number where it is one, nothing for `null`, else the text."""
    text = text.strip()
    if text == "null":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def space(over: Space) -> dict[str, Any]:
    """Metadata of a `dataclasses.field` of a settings class: the space that the setting is tuned in."""
    return {"space": over}


def spaces_of(settings: type[Any]) -> dict[str, Space]:
    """The spaces that a settings class declares, by setting; those without one are not tuned."""
    return {
        setting.name: setting.metadata["space"]
        for setting in dataclasses.fields(settings)
        if "space" in setting.metadata
    }


def _edge(share: float) -> Side | None:
    return "low" if share <= EDGE else "high" if share >= 1 - EDGE else None


def _ordered(low: float, high: float, least: float, most: float, *, open_below: bool = False) -> None:
    if not (low < high and least <= low and high <= most and math.isfinite(low) and math.isfinite(high)) or (
        open_below and low <= 0
    ):
        raise ConfigError(
            f"a space needs finite bounds, low below high, within [{least}, {most}], got {low} and {high}"
        )
