"""What a grid declares of its comparison before it is run (benchmarks room): control, families of tests, margin.

    comparison:
      control: cosmos                   # all others are compared with it
      ablations: [cosmos-k1]            # a family of tests of their own
      bounds: [cosmos-oracle]           # and another; default: methods that train on pooled data
      methods: [fedmd, dsfl, local]     # default: all other methods of the grid
      rope: 1                           # points that do not matter, and the margin of a tie
      level: 0.05                       # of every test and interval
      select: last                      # or val: the round with the best validation accuracy

Holm corrects within a family, so ablations and oracles cost the baselines no power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, unknown_name

from ...methods.registry import METHODS
from .configure import configure, show_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FAMILIES = ("methods", "ablations", "bounds")
"""Families of tests, in the order in which they are read."""


@dataclass(frozen=True)
class Declaration:
    """A comparison as it was declared; the methods of a family in the order of the grid."""

    control: str
    methods: tuple[str, ...] = ()
    ablations: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    rope: float = 1.0
    """Points."""
    level: float = 0.05
    select: Literal["last", "val"] = "last"
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.level < 0.5:
            raise ConfigError(f"comparison.level must lie between 0 and 0.5, got {self.level:g}")
        if not self.rope >= 0:
            raise ConfigError(f"comparison.rope must be at least 0 points, got {self.rope:g}")
        named = [self.control, *(name for _, names in self.families() for name in names)]
        for name in named:
            if named.count(name) > 1:
                raise ConfigError(
                    f"comparison names {show_value(name)} twice; a method is the control or in one family"
                )
        if len(named) < 2:
            raise ConfigError(f"comparison needs a method beside its control {show_value(self.control)}")

    def families(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The families that have methods, by name."""
        found: list[tuple[str, tuple[str, ...]]] = [(name, getattr(self, name)) for name in FAMILIES]
        return tuple((name, methods) for name, methods in found if methods)

    @property
    def compared(self) -> tuple[str, ...]:
        """All methods, the control first."""
        return (self.control, *(name for _, names in self.families() for name in names))


@dataclass(frozen=True)
class ComparisonSection:
    """The section `comparison` of a grid, as written."""

    control: str
    """The method that all others are compared with, by its label in this grid."""
    methods: tuple[str, ...] | None = None
    """The family of methods; when null, all that are neither the control nor in another family."""
    ablations: tuple[str, ...] = ()
    """The family of ablations."""
    bounds: tuple[str, ...] | None = None
    """The family of bounds; when null, methods that train on pooled data."""
    rope: float = 1.0
    """Points that do not matter, at least 0; also the margin of a tie."""
    level: float = 0.05
    """The level of the tests of each family, between 0 and 0.5."""
    select: Literal["last", "val"] = "last"
    """The reported round: the last, or the best on validation data."""


LONGEST = 200
"""Characters of a question at most: it is the first line of a page of one screen."""


def check_question(text: str) -> None:
    """Refuse what is no single sentence that asks.

    Raises:
        ConfigError: it has several lines, no question mark at its end, or too many characters.
    """
    if text and not (len(text) <= LONGEST and text.endswith("?") and text.isprintable()):
        raise ConfigError(
            f"question must be one sentence that ends in a question mark, in one line of at most {LONGEST} characters, "
            f"found {show_value(text)}"
        )


def read_declaration(
    section: Mapping[str, Any], methods: Mapping[str, str], datasets: Iterable[str], seeds: Sequence[int]
) -> Declaration | None:
    """The declaration of a grid; None where it has none.

    Args:
        section: what stands under `comparison`.
        methods: the grid's methods: the registered name of each label.
        datasets: the grid's data sets.
        seeds: the grid's seeds.
    Raises:
        ConfigError: an unknown key or method, a method named twice, an impossible number.
    """
    if not section:
        return None
    written = configure(ComparisonSection, section, "comparison")
    for name in (written.control, *(written.methods or ()), *written.ablations, *(written.bounds or ())):
        if name not in methods:
            raise unknown_name("method of this grid, as comparison has it,", name, methods)
    bounds = written.bounds
    if bounds is None:
        named = {written.control, *(written.methods or ()), *written.ablations}
        pooled = [label for label, name in methods.items() if METHODS[name].requires.pooled_data]
        bounds = tuple(label for label in pooled if label not in named)
    others = {written.control, *written.ablations, *bounds}
    rest = tuple(label for label in methods if label not in others)
    return Declaration(
        control=written.control,
        methods=rest if written.methods is None else written.methods,
        ablations=written.ablations,
        bounds=bounds,
        rope=written.rope,
        level=written.level,
        select=written.select,
        datasets=tuple(datasets),
        seeds=tuple(seeds),
    )
