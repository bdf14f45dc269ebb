"""How much each public sample counts when a client distils (cosmos room): label counts in, weights per sample out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Weighting: TypeAlias = Literal["none", "pseudo", "oracle", "oracle_raw"]
"""The modes of `label_weights`."""


def label_weights(
    mode: Weighting, label_counts: Tensor, teachers: Tensor | None, public_labels: Tensor | None
) -> Tensor | None:
    """Weights w_i(u) of the public samples u in the distillation loss of client i (methods.md 2.7).

    With n_ic the training samples of class c that client i holds, and q_u the row that it received for u:

        none         no weights: every sample counts 1
        pseudo       sum_c n_ic q_u(c), divided by its mean over u
        oracle       n_iy(u) with y(u) the true public label, divided by its mean over u
        oracle_raw   n_iy(u) / N, N public samples, as in the COSMOS authors' code

    `oracle` and `oracle_raw` need labels that a federation does not have; who opens them for this carries a badge.
    A client none of whose classes occurs in the public set has weight 0 everywhere: it learns nothing from it.

    Args:
        mode: one of the above.
        label_counts: n_ic, shape (n, classes).
        teachers: q, class probabilities, shape (n, N, classes); used by `pseudo` only.
        public_labels: y, class ids, shape (N,), int64; used by `oracle` and `oracle_raw` only.
    Returns:
        Shape (n, N), not negative, mean 1 per client but for `oracle_raw`; None for `none`.
    Raises:
        ConfigError: no mode has this name, or what the mode needs was not given.
    """
    if mode not in get_args(Weighting):
        raise unknown_name("label weighting", mode, get_args(Weighting))
    if mode == "none":
        return None
    if mode == "pseudo":
        if teachers is None:
            raise ConfigError("label weighting 'pseudo' needs the predictions that the clients received")
        return _mean_one(torch.einsum("nc,nuc->nu", label_counts.to(teachers), teachers))
    if public_labels is None:
        raise ConfigError(f"label weighting {mode!r} needs the true public labels; 'pseudo' does without")
    held = label_counts[:, public_labels].to(torch.get_default_dtype())
    return held / len(public_labels) if mode == "oracle_raw" else _mean_one(held)


def _mean_one(weights: Tensor) -> Tensor:
    """Each row divided by its mean; a row of zeros stays."""
    mean = weights.mean(dim=1, keepdim=True)
    return weights / torch.where(mean > 0, mean, 1.0)
