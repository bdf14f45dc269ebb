"""Single clients for the page (benchmarks room, report): deciles of their accuracies, and who was in which cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..figures.clusters import read_memberships
from ..figures.deciles import read_deciles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..figures.blocks import Block
    from ..figures.clusters import Membership
    from ..figures.deciles import Deciles

Plain = dict[str, Any]

NOBODY = -1
"""The number of a client in no cluster, and of one that belongs to no group."""


def of_clients(blocks: Sequence[Block]) -> list[Plain]:
    """What the page draws of the clients of every data set and setting with a finished run.

    Returns:
        By block: `deciles`, of each method the worst client, the nine deciles and the best, percent; and `clusters`, of
        each method that has some, the clusters of the seed of median agreement, a list per round with a number per
        client, clients sorted by true group, with the agreement with true groups after the last round, of
        that seed and of the others.
    """
    return [
        {
            "dataset": block.dataset,
            "setting": block.setting,
            "deciles": {row.label: _deciles(row) for row in read_deciles(block)},
            "clusters": {found.label: _clusters(found) for found in read_memberships(block)},
        }
        for block in blocks
        if block.courses
    ]


def _deciles(found: Deciles) -> Plain:
    values = [round(value, 1) for value in found.values]
    return {"clients": found.clients, "mean": round(found.mean, 1), "values": values}


def _clusters(found: Membership) -> Plain:
    groups = [NOBODY if group is None else group for group in found.groups]
    order = sorted(range(len(groups)), key=lambda client: (groups[client], client))
    return {
        "seed": found.seed.shown,
        "groups": [groups[client] for client in order],
        "rounds": [[NOBODY if line[client] is None else line[client] for client in order] for line in found.clusters],
        "agreement": [_last(column) for column in (found.agreement, *found.others)],
    }


def _last(agreement: Sequence[float | None]) -> float | None:
    """After the last round; None where there are no groups to agree with."""
    return None if not agreement or agreement[-1] is None else round(agreement[-1], 2)
