"""For methods whose server keeps its model and takes a step from it, instead of replacing it by an average."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation


def start_of(federation: Federation) -> Tree:
    """The initial weights of a federation of one architecture, buffers included, name to (1, ...)."""
    (architecture,) = set(federation.architectures)
    return federation.start[architecture]


def trained_names(federation: Federation) -> frozenset[str]:
    """Names of the parameters of that architecture, without buffers.

    Servers take steps on parameters only. BatchNorm statistics are averaged: a variance that is moved beyond an
    average may end below 0.
    """
    (architecture,) = set(federation.architectures)
    return frozenset(federation.holding(architecture, start_of(federation)).parameters)
