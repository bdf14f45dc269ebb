"""What methods of a grid have otherwise on single data sets, `per_dataset` (benchmarks room)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fl_bench.errors import unknown_name

from .configure import configure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .choices import MethodChoice

PerDataset = dict[str, dict[str, dict[str, Any]]]
"""Settings by data set, then by label, as the grid writes them."""


@dataclass(frozen=True)
class OnDataset:
    """What a method has otherwise on one data set."""

    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def check_per_dataset(per_dataset: PerDataset, datasets: Sequence[str], written: Sequence[MethodChoice]) -> None:
    """Refuse data sets and methods that the grid does not have.

    Raises:
        ConfigError: names it, and those that there are.
    """
    labels = [choice.label for choice in written]
    for dataset, changes in per_dataset.items():
        if dataset not in datasets:
            raise unknown_name("data set of this grid", dataset, datasets)
        for label, own in changes.items():
            if label not in labels:
                raise unknown_name("method of this grid", label, labels)
            configure(OnDataset, own, f"{dataset}.{label}")


def on_dataset(per_dataset: Mapping[str, Mapping[str, Any]], dataset: str, choice: MethodChoice) -> MethodChoice:
    """A method as the grid has it on one data set."""
    found = per_dataset.get(dataset, {}).get(choice.label)
    if found is None:
        return choice
    own = configure(OnDataset, found, f"per_dataset.{dataset}.{choice.label}")
    settings, training = {**choice.settings, **own.settings}, {**choice.training, **own.training}
    return replace(choice, settings=settings, training=training)
