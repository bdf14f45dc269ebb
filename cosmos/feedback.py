"""The feedback of COSMOS: who is sent which predictions, and every client its own mixture of them (cosmos room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.lazy import np, torch

from ..federation.payloads import Scores

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.channel import Downloads


def addressed(answers: Tensor, rows: np.ndarray, readers: np.ndarray) -> Downloads:
    """Send some clients a prediction matrix each.

    Args:
        answers: class probabilities, shape (matrices, samples, classes).
        rows: the matrix that is for each client, shape (clients,).
        readers: whether each client is sent one, bool, shape (clients,).
    """
    from ..federation.channel import Downloads, Parcel

    clients = np.flatnonzero(readers).tolist()
    return Downloads((Parcel(Scores(answers), {client: int(rows[client]) for client in clients}),))


def soft_mix(server: Tensor, distances: Tensor, width: float) -> Tensor:
    """Mix the cluster models for every client by how near they are (methods.md 2.6, an extension of the paper).

    Client i gets sum_k w_ik Q_k with w_ik proportional to exp(-d(P_i, centroid_k) / width): the nearest cluster's
    predictions as the width goes to 0, the plain mean over clusters as it grows.

    Args:
        server: Q_k, class probabilities, shape (K, samples, classes).
        distances: d(P_i, centroid_k), shape (n, K).
        width: sigma > 0, in units of the distance.
    Returns:
        Shape (n, samples, classes); each row sums to 1 as those of `server` do.
    Raises:
        ConfigError: `width` is not above 0.
    """
    if not width > 0:
        raise ConfigError(f"soft_mix width must be above 0, got {width}")
    shares = (-distances / width).softmax(dim=1).to(server)
    return torch.einsum("nk,kuc->nuc", shares, server)
