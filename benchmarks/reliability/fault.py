"""What a fault is (benchmarks room): a function that injects it, and the row of docs/reliability.md that it gives."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from .seen import BrokenError, NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .place import Place
    from .seen import Seen

    Fault: TypeAlias = "Callable[[Place], Seen]"

PARTS = ("Expected", "Recovery")
"""Paragraphs of a fault's docstring that follow the one on how it is injected."""


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
    if seen.times == 0:
        return {**row, "result": "not run", "why": "the time was over before it could be injected"}
    return {
        **row,
        "result": "as expected",
        "times": seen.times,
        "kills": seen.kills,
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
