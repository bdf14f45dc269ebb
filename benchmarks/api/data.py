"""Data from Python (benchmarks room): a data set by its name, and how it would be dealt to clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...datasets.catalogue import load_dataset
from ..figures.dealing import draw
from ..grid.cell import resolve_partition
from ..grid.dealing import with_own_clients
from ..grid.seeds import parse_seeds
from ..running.examining import examine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from ...datasets.dataset import Dataset


def dataset(name: str, *, data_dir: str | Path | None = None, download: bool = False) -> Dataset:
    """Load a data set.

    Args:
        name: one of `fl-bench list datasets`, or data of your own, such as `csv:table.csv?label=class`.
        data_dir: the folder to look in first, and to download to.
        download: whether missing files may be fetched.
    Returns:
        Its rows, training rows first; `inputs` of shape (rows, ...), `labels` of shape (rows,).

    Raises:
        ConfigError: there is no such data set.
        DataError: its files are missing or damaged; says what brings them.
    """
    return load_dataset(name, data_dir=None if data_dir is None else Path(data_dir), download=download)


def partition(
    data: str | Dataset,
    scheme: str | None = None,
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = False,
    **settings: Any,
) -> Dealt:
    """Deal a data set to clients, as a run with this seed would, and measure how much they differ.

    Args:
        data: a data set, or its name.
        scheme: one of `fl-bench list partitions`; None: `natural` for data that come with clients, else
            `latent-groups`.
        seed: seed of the partition, from 0.
        data_dir: the folder to look in first, and to download to.
        download: whether missing files may be fetched.
        settings: of the scheme and of what all schemes share, as in a grid's `partition`: `clients`, `alpha`, `public`.
    Raises:
        ConfigError: the partition cannot be made; says what would do.
        DataError: files are missing or damaged.
    """
    location = data if isinstance(data, str) else data.about.name
    asked = settings if scheme is None else {"scheme": scheme, **settings}
    parse_seeds([seed])
    chosen, shared = resolve_partition(with_own_clients(asked, location))
    folder = None if data_dir is None else Path(data_dir)
    loaded = None if isinstance(data, str) else data
    return Dealt(examine(location, chosen, shared, seed, data_dir=folder, download=download, loaded=loaded))


@dataclass(frozen=True)
class Dealt:
    """A data set dealt to clients: what `fl-bench partition` shows."""

    view: Mapping[str, Any]
    """All of it as plain values, the same as `fl-bench partition --json`."""

    @property
    def clients(self) -> pd.DataFrame:
        """A row per client: `client`, `group` (none where the scheme has none), numbers of `train`, `validation` and
        `test` samples."""
        return pd.DataFrame(self.view["clients"]).drop(columns="classes").set_index("client")

    @property
    def classes(self) -> pd.DataFrame:
        """Training samples by client (rows) and class (columns)."""
        counts = {row["client"]: row["classes"] for row in self.view["clients"]}
        return pd.DataFrame.from_dict(counts, orient="index").rename_axis(index="client", columns="class")

    @property
    def heterogeneity(self) -> pd.Series[float]:
        """How much clients differ, by measure; docs/partitions.md says what each is."""
        return pd.Series(self.view["heterogeneity"], dtype=float).dropna()

    def plot(self) -> Figure:
        """Draw training samples by client and class.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        return draw(self.view)

    def __repr__(self) -> str:
        about = self.view
        sizes = self.clients["train"]
        return (
            f"<{about['dataset']} dealt to {len(sizes)} clients by {about['scheme']}, seed {about['seed']}: "
            f"{sizes.min()} to {sizes.max()} training samples each, {about['public']} public>"
        )

    def _repr_html_(self) -> str:
        return f"<p>{repr(self).strip('<>')}</p>{self.clients.to_html(max_rows=12)}"
