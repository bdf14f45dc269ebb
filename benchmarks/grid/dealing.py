"""How a data set is dealt where nobody says (benchmarks room): to the clients that it came with, if it has any."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...datasets.catalogue import natural_clients
from ...datasets.partition import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...datasets.partition import Partition
    from ...datasets.split import SplitSettings
    from .cell import Cell

USUAL, NATURAL = "latent-groups", "natural"
"""The scheme of data without clients of their own, and of those with."""


def with_own_clients(partition: Mapping[str, Any], location: str) -> dict[str, Any]:
    """The settings of a partition for one data set, its scheme and number of clients filled in where they are not said.

    Data that came with clients, such as persons, are dealt to these, and to all of them unless `clients` says how many,
    also where `natural` is named. Whoever names another scheme, or settings that only the usual one has (`groups`,
    `alpha`), is dealt by that.

    Args:
        partition: settings as written.
        location: the data set, as `load_dataset` takes it.
    Raises:
        ConfigError: a user's file is not there.
        DataError: it cannot be read.
    """
    if "scheme" in partition:
        own = natural_clients(location) if partition["scheme"] == NATURAL and "clients" not in partition else None
        return dict(partition) if own is None else {"clients": own, **partition}
    own = None if deals(partition) else natural_clients(location)
    if own is None:
        return {"scheme": USUAL, **partition}
    return {"scheme": NATURAL, "clients": own, **partition}


def deals(keys: Iterable[str]) -> bool:
    """Whether settings of a partition say how to deal data that came with clients: a scheme, or what a scheme has."""
    return not {"scheme", *(setting.name for setting in fields(PARTITIONS[USUAL]))}.isdisjoint(keys)


def check_own_clients(scheme: Partition, split: SplitSettings, location: str) -> None:
    """Refuse to deal data naturally to more clients than they came with.

    Raises:
        ConfigError: says how many there are, and what would do.
    """
    own = natural_clients(location) if scheme.name == NATURAL else None
    if own is not None and split.clients > own:
        raise ConfigError(
            f"partition.clients={split.clients} asks for more clients than the {own} of {location}: ask "
            f"for {own} or fewer, or name another scheme, such as partition.scheme={USUAL}"
        )


def dealt_differently(scheme: Partition, split: SplitSettings, location: str) -> str | None:
    """A sentence for data that are not dealt to the clients that they came with; None where they are, or have none."""
    own = natural_clients(location)
    if own is None or (scheme.name == NATURAL and split.clients == own):
        return None
    if scheme.name == NATURAL:
        return f"{location} has {own} clients of its own, which are merged into {split.clients}"
    return (
        f"{location} has {own} clients of its own, but is partitioned into {split.clients} by {scheme.name} "
        f"(--scheme {NATURAL} keeps them)"
    )


def dealt_otherwise(cells: Iterable[Cell]) -> list[str]:
    """A sentence for each data set that came with clients and would be dealt to others."""
    found = {}
    for cell in cells:
        dealt = cell.dataset.location, cell.scheme.name, cell.split.clients
        if dealt not in found:
            found[dealt] = dealt_differently(cell.scheme, cell.split, cell.dataset.location)
    return [sentence for sentence in found.values() if sentence]
