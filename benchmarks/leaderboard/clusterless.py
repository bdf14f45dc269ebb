"""Clients and rounds without clusters, in numbers and words, for tables of clustered methods (benchmarks room).

Where few take part in a round, whoever never did has no cluster. The column `cluster_clients` of a record counts those
who have one; runs from before that column have nothing to say.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...datasets.split import SplitSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..records.record import Record


def without_cluster(record: Record) -> list[int]:
    """Clients without a cluster in every round; nothing where they are not counted, or everybody always has one."""
    counts = [row.get("cluster_clients") for row in record.rounds]
    clients = taking_part(record.cell)
    missing = [clients - int(count) for count in counts if count is not None]
    return missing if len(missing) == len(counts) and any(missing) else []


def clusterless(records: Sequence[Record]) -> str:
    """What the clusters of some runs leave out, means over runs; nothing where they leave nobody out.

    Args:
        records: finished runs of one method in one setting.
    """
    missing = [without_cluster(record) or [0] * len(record.rounds) for record in records if record.rounds]
    if not any(map(any, missing)):
        return ""
    clients = taking_part(records[0].cell)
    rounds = fmean(len(run) for run in missing)
    last = fmean(run[-1] for run in missing)
    some = fmean(sum(0 < count < clients for count in run) for run in missing)
    none = fmean(sum(count == clients for count in run) for run in missing)
    said = {
        f"{last:.3g} of {clients} clients had no cluster in the last round": last,
        f"some had none in {some:.3g} of {rounds:.3g} rounds": some,
        f"{none:.3g} of {rounds:.3g} rounds had no clusters": none,
    }
    return ", ".join(words for words, number in said.items() if number)


def taking_part(cell: Mapping[str, Any]) -> int:
    """Clients of a cell that are not kept out of training."""
    partition = cell["partition"]
    return SplitSettings(clients=int(partition["clients"]), unseen=float(partition.get("unseen", 0.0))).seen
