"""All partition schemes (datasets room): the registry, with every built-in scheme in it; imports no torch."""

from __future__ import annotations

from . import label_skew, latent_groups, plain, planted  # noqa: F401 - importing registers their schemes
from .scheme import PARTITIONS, Deal, Partition, Pool, follow, partition

__all__ = ["PARTITIONS", "Deal", "Partition", "Pool", "follow", "partition"]
