"""One model per cluster of clients: averaged within it, deployed to its members. For clustered averaging methods."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.lazy import np, torch

from .averaging import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree


def cluster_means(models: Tree, uploads: Tree, clusters: np.ndarray, counts: Tensor) -> Tree:
    """The mean of each cluster's uploads; a cluster without uploads keeps its model.

    Args:
        models: the clusters' models so far, name to (clusters, ...).
        uploads: weights, name to (participants, ...).
        clusters: cluster of each participant, shape (participants,). Ids beyond `models` are new clusters; they must
            run on without a gap and have uploads.
        counts: what each participant counts within its cluster, shape (participants,), above 0.

    Returns:
        The clusters' models, name to (clusters, ...).
    """
    known = len(next(iter(models.values())))
    means = []
    for cluster in range(max(known, int(clusters.max()) + 1)):
        members = np.flatnonzero(clusters == cluster)
        if len(members):
            share = counts[members] / counts[members].sum()
            means.append(weighted_mean({name: tensor[members] for name, tensor in uploads.items()}, share))
        else:
            means.append({name: tensor[cluster : cluster + 1] for name, tensor in models.items()})
    return {name: torch.cat([mean[name] for mean in means]) for name in models}


def serve(clients: Cohort, models: Tree, clusters: np.ndarray) -> Deployed:
    """For evaluation: every member uses the model of its cluster.

    Args:
        clients: the members.
        models: name to (clusters, ...).
        clusters: cluster of each member, shape (members,).
    """
    return replace(clients.with_weights(models), index=tuple(int(cluster) for cluster in clusters))
