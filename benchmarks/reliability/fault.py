"""What a fault is (benchmarks room): a function that injects it, and the row of docs/reliability.md that it gives."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from .place import Place

    Fault: TypeAlias = "Callable[[Place], Seen]"

PARTS = ("Expected", "Recovery")
"""Paragraphs of a fault's docstring that follow the one on how it is injected."""


class NotHereError(Exception):
    """The fault cannot be injected on this machine; says what is missing."""


class BrokenError(Exception):
    """The fault did harm that it must not do; says what."""


@dataclass
class Seen:
    """What was seen while a fault was injected."""

    times: int = 0
    """How often it was injected."""
    exits: set[int] = field(default_factory=set)
    """Exit codes of the commands that it hit; negative for a signal."""
    cells: int = 0
    """Records that were compared with those of an uninterrupted run, and equal."""
    notes: list[str] = field(default_factory=list)
    """What else the page says, in sentences."""


def measure(fault: Fault, place: Place) -> dict[str, Any]:
    """Inject a fault, and say what happened as plain values: a row of the page.

    Args:
        fault: its docstring says how it is injected, what is `Expected:` and what the `Recovery:` is.
        place: where.
    Returns:
        Among them `result`: `as expected`, `broken` or `not run`, and `why` for the last two.
    """
    injected, expected, recovery = described(fault)
    row = {"fault": titled(fault), "injected": injected, "expected": expected, "recovery": recovery}
    began = time.monotonic()
    try:
        seen = fault(place)
    except NotHereError as error:
        return {**row, "result": "not run", "why": str(error)}
    except BrokenError as error:
        return {**row, "result": "broken", "why": str(error), "seconds": round(time.monotonic() - began)}
    return {
        **row,
        "result": "as expected",
        "times": seen.times,
        "exits": sorted(seen.exits),
        "cells": seen.cells,
        "notes": seen.notes,
        "seconds": round(time.monotonic() - began),
    }


def titled(fault: Fault) -> str:
    """The name of a fault, in words."""
    return fault.__name__.replace("_", " ")


def described(fault: Fault) -> tuple[str, str, str]:
    """How a fault is injected, what is expected, and what one does afterwards, from its docstring."""
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(fault.__doc__ or "").split("\n\n")]
    injected, *rest = paragraphs
    parts = {name: text for paragraph in rest for name, _, text in [paragraph.partition(": ")]}
    if tuple(parts) != PARTS:
        raise ValueError(f"the docstring of {fault.__name__} needs the paragraphs {PARTS}, found {tuple(parts)}")
    return injected, parts["Expected"], parts["Recovery"]
