"""Whether a setting fits a data set (benchmarks room), as far as is known without loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...datasets.catalogue import dataset_info
from ...datasets.split import check as check_split
from ...federation.models.registry import check_model
from .configure import blame
from .dealing import check_own_clients
from .foreign import check_public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cell import DatasetChoice


def check_setting(shared: Mapping[str, Any], dataset: DatasetChoice) -> None:
    """Refuse to deal a data set, or to train nets on it, in ways that cannot be.

    Args:
        shared: the partition, the public pool and the nets, under the names that `Cell` has for them.
        dataset: the data set.
    Raises:
        ConfigError: says what was found, and what would do.
    """
    facts = dataset_info(dataset.location)
    scheme, split, models = (shared[name] for name in ("scheme", "split", "models"))
    check_own_clients(scheme, split, dataset.location)
    check_split(scheme, split, facts.classes, facts.train)
    check_public(split, shared["foreign"], dataset)
    if isinstance(models.assignment, tuple) and len(models.assignment) != split.clients:
        raise ConfigError(f"models.assignment names {len(models.assignment)} nets for {split.clients} clients")
    if isinstance(models.assignment, tuple) and split.unseen:
        raise ConfigError(
            f"partition.unseen={split.unseen} keeps clients out of training, who must not be named a net each; "
            "models.assignment may be `balanced` or `random` there"
        )
    if facts.shape is not None:
        for name in (*models.used, models.server_name):
            with blame(f"models on {dataset.name}"):
                check_model(name, facts.shape, facts.vocabulary)
