"""What a configured method descends private data by, for tables: rules behind the full names of their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..federation.optimizers import Optimizer
    from ..federation.settings import Training
    from .base import Method


def local_rules(method: Method[Any], training: Training) -> dict[str, Optimizer]:
    """`Method.local_optimizers`, each behind the setting that holds its rate: `scaffold.lr`, `training.lr`.

    Args:
        method: the method, configured.
        training: local training of the run.
    """
    found = method.local_optimizers(training)
    return {setting if "." in setting else f"{method.name}.{setting}": rule for setting, rule in found.items()}


def in_words(rules: Mapping[str, Optimizer]) -> str:
    """Rules in words: `sgd 0.1 (scaffold.lr)`."""
    return " and ".join(f"{rule} ({setting})" for setting, rule in rules.items())
