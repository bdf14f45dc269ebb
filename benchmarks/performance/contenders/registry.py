"""The contenders of the performance suite: one module each, imported only when it runs (benchmarks room)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .contender import Contender

CONTENDERS = {
    "plain": "plain:Plain",
    "careful": "careful:Careful",
    "fl-bench": "ours:FlBench",
    "fl-bench loop": "ours:Loop",
    "fl-bench stacked": "ours:Stacked",
    "fluke": "fluke:Fluke",
    "blazefl": "blazefl:BlazeFL",
    "flower": "flower:Flower",
}
"""Where each contender is, as module:class."""

FRAMEWORKS = ("fluke", "blazefl", "flower")
"""Contenders from elsewhere; they run where they are installed."""


def contender(name: str) -> type[Contender]:
    """The class of a contender."""
    module, _, attribute = CONTENDERS[name].partition(":")
    found: type[Contender] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found
