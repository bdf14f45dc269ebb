"""A partition before anything is trained (benchmarks room): sizes, classes and heterogeneity, as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...datasets.catalogue import dataset_info, load_dataset
from ...datasets.doses import dosed
from ...datasets.split import check, class_counts, split
from ..grid.cell import DatasetChoice
from ..grid.dealing import check_own_clients, dealt_differently
from ..grid.foreign import check_public, with_foreign

if TYPE_CHECKING:
    from pathlib import Path

    from ...datasets.dataset import Dataset
    from ...datasets.partition import Partition
    from ...datasets.split import SplitSettings


def examine(
    location: str,
    scheme: Partition,
    settings: SplitSettings,
    seed: int,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    loaded: Dataset | None = None,
) -> dict[str, Any]:
    """Deal a data set and measure the result, as plain values.

    Args:
        location: the data set, as `load_dataset` takes it.
        scheme: how clients get their samples.
        settings: what every scheme shares.
        seed: seed of the partition.
        data_dir: first folder to look for files in.
        download: whether missing files may be fetched.
        loaded: the data set where it is in memory already.
    Raises:
        ConfigError: the partition cannot be made.
        DataError: the data are missing.
    """
    choice, (settings, source) = DatasetChoice.of(location), with_foreign(settings)
    known = dataset_info(location)
    check_own_clients(scheme, settings, location)
    check(scheme, settings, known.classes, known.train)  # before a minute's download
    check_public(settings, source, choice)
    dataset = loaded or load_dataset(location, data_dir=data_dir, download=download)
    foreign = None if source is None else load_dataset(source.location, data_dir=data_dir, download=download)
    dataset, dealt = dosed(dataset, split(dataset, scheme, settings, seed), settings, seed, foreign)
    groups = None if dealt.groups is None else dealt.groups.open_for_evaluation()
    return {
        "dataset": dataset.about.name,
        "scheme": scheme.name,
        "seed": seed,
        "dealt_differently": dealt_differently(scheme, settings, location),
        "fingerprint": dealt.fingerprint,
        "public": len(dealt.public),
        **({} if dealt.pool is None else {"pool": asdict(dealt.pool)}),
        "global_test": len(dealt.global_test),
        "heterogeneity": asdict(dealt.measured),
        "clients": [
            {
                "client": client,
                "group": None if groups is None else int(groups[client]),
                "train": len(dealt.train[client]),
                "validation": len(dealt.validation[client]),
                "test": len(dealt.test[client]),
                "classes": counts.tolist(),
            }
            for client, counts in enumerate(class_counts(dataset, dealt))
        ],
    }
