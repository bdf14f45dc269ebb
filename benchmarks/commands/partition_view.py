"""A partition before anything is trained (benchmarks room): sizes, a picture and measured heterogeneity."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import ConfigError, DataError

from ...datasets.catalogue import dataset_info, load_dataset
from ...datasets.doses import dosed
from ...datasets.split import check, class_counts, split
from ..grid.cell import DatasetChoice
from ..grid.dealing import check_own_clients, dealt_differently
from ..grid.foreign import check_public, with_foreign
from ..tables.charts import shaded
from ..tables.printing import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ...datasets.partition import Partition
    from ...datasets.split import SplitSettings


def examine(
    location: str, scheme: Partition, settings: SplitSettings, seed: int, *, data_dir: Path | None, download: bool
) -> dict[str, Any]:
    """Deal a data set and measure the result, as plain values.

    Args:
        location: the data set, as `load_dataset` takes it.
        scheme: how clients get their samples.
        settings: what every scheme shares.
        seed: seed of the partition.
        data_dir: first folder to look for files in.
        download: whether missing files may be fetched.
    Raises:
        ConfigError: the partition cannot be made.
        DataError: the data are missing.
    """
    choice, (settings, source) = DatasetChoice.of(location), with_foreign(settings)
    known = dataset_info(location)
    check_own_clients(scheme, settings, location)
    check(scheme, settings, known.classes, known.train)  # before a minute's download
    check_public(settings, source, choice)
    dataset = load_dataset(location, data_dir=data_dir, download=download)
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


def print_partition(console: Console, view: dict[str, Any]) -> None:
    """Sizes, picture, numbers."""
    clients = view["clients"]
    names = [
        f"client {row['client']}" + ("" if row["group"] is None else f" (group {row['group']})") for row in clients
    ]
    console.print(
        f"{view['dataset']}, {view['scheme']}, seed {view['seed']}: training samples by client and class",
        markup=False,
        highlight=False,
    )
    if view["dealt_differently"]:
        console.print(view["dealt_differently"], markup=False, highlight=False)
    picture = shaded(np.array([row["classes"] for row in clients]), rows=names)
    console.print(picture, markup=False, highlight=False, no_wrap=True, overflow="ignore", crop=False)
    sizes = [
        {"of each client": part, **_spread([row[part] for row in clients])} for part in ("train", "validation", "test")
    ]
    caption = f"public pool {view['public']}{_pool(view.get('pool'))}, global test set {view['global_test']}"
    print_table(console, sizes, caption=caption)
    measured = [
        {"heterogeneity": name.replace("_", " "), "value": value} for name, value in view["heterogeneity"].items()
    ]
    print_table(console, [row for row in measured if row["value"] is not None])


def write_png(view: dict[str, Any], path: Path) -> None:
    """The picture as a PNG.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("--png needs matplotlib: pip install 'fl-bench[plots]'") from None
    counts = np.array([row["classes"] for row in view["clients"]])
    figure = Figure(figsize=(2 + counts.shape[1] * 0.3, 1.5 + counts.shape[0] * 0.22), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set(xlabel="class", ylabel="client", title=f"{view['dataset']}, {view['scheme']}, seed {view['seed']}")
    figure.colorbar(image, label="training samples")
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _pool(pool: dict[str, Any] | None) -> str:
    """What became of a pool that is not plain, in brackets."""
    if pool is None:
        return ""
    parts = []
    if pool["foreign"]:
        parts.append(f"{pool['foreign']} of them from {pool['source']}")
    if pool["missing_classes"]:
        classes = ", ".join(map(str, pool["missing_classes"]))
        parts.append(f"without {100 * pool['removed']:g} % of classes {classes}")
    parts += [f"{name} {severity}" for name, severity in pool["changes"].items()]
    return f" ({'; '.join(parts)})"


def _spread(sizes: list[int]) -> dict[str, float | int]:
    return {
        "least": min(sizes),
        "median": float(np.median(sizes)),
        "most": max(sizes),
        "all": sum(sizes),
    }
