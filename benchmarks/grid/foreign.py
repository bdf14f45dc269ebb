"""Public data of another data set (benchmarks room): looked up and checked before a run; loads no data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ...datasets.catalogue import dataset_info
from ...datasets.public import PublicSettings
from ...datasets.rounding import ceil_share
from .cell import DatasetChoice
from .configure import blame

if TYPE_CHECKING:
    from ...datasets.split import SplitSettings


def with_foreign(split: SplitSettings) -> tuple[SplitSettings, DatasetChoice | None]:
    """Look up the data set that public samples come from, and name it as keys do: without folders.

    Raises:
        ConfigError: there is no such data set, or the user's file does not exist.
    """
    if not isinstance(split.public, PublicSettings) or split.public.from_ is None:
        return split, None
    with blame("partition.public.from"):
        foreign = DatasetChoice.of(split.public.from_)
    return replace(split, public=replace(split.public, from_=foreign.name)), foreign


def check_public(split: SplitSettings, foreign: DatasetChoice | None, dataset: DatasetChoice) -> None:
    """Refuse a public pool that these data cannot have, as far as is known without loading them.

    Args:
        split: the shared settings of the partition.
        foreign: where public samples come from that are not of the data set.
        dataset: the data set.
    Raises:
        ConfigError: says what was asked, what was found and what would do.
    """
    known = dataset_info(dataset.location)
    split.pool.check_changes(dataset.name, known.modality)
    if foreign is None:
        return
    if (foreign.name, foreign.digest) == (dataset.name, dataset.digest):
        raise ConfigError(
            f"partition.public.from names {foreign.name}, the data set that clients hold: public samples would be "
            "private ones; name another data set, or ask for a larger share"
        )
    other, pool = dataset_info(foreign.location), split.pool.canonical()
    pool.check_foreign(known, other)
    if known.train is not None and other.train is not None and pool.missing is None:
        wanted = ceil_share(pool.foreign or 0, split.public_rows(known.train))  # at least: each class rounds up
        if wanted > other.train:
            raise ConfigError(
                f"partition.public.foreign asks for {wanted} samples of {foreign.name}, which has {other.train} "
                "training rows: ask for a smaller share of the pool, or a smaller pool"
            )
