"""The losses of COSMOS: distillation with a consistency term, for clients and for server models (methods.md 2.2, 2.5).

L(B)      = mean_{u in B} w(u) KL(q_u || softmax f(u)) + lambda * L_cons(B)
L_cons(B) = mean_{u in B} 1/C || softmax f(u) - softmax f(u~) ||^2,   u~ a noisy copy of u

To a number noise is added; a token of a text is replaced by another one now and then, since there is nothing between
two tokens (ours: the paper has images only).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fl_bench.lazy import F, nn, torch

from ..methods.losses import kl_divergence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm

    from ..federation.batches import Batch

PIXEL_NOISE = 0.05
"""Standard deviation of the noise in pixels scaled to [0, 1]; 0.1 after normalisation to [-1, 1]."""

TOKEN_NOISE = 0.1
"""Probability that a token of a text is drawn anew, each of the vocabulary being as likely."""


@dataclass(frozen=True)
class ConsistentDistillation:
    """The objective above; an instance is called with one model and one batch.

    Nets may return several heads, shape (batch, heads, classes), for targets of shape (batch, heads, classes): the
    losses of the heads in `active` are summed.
    """

    weight: float
    """lambda; with 0 nothing noisy is computed."""
    grad: Literal["both", "noisy_only"]
    noise: Literal["pixel", "research"]
    image: bool
    """Whether inputs are images in [-1, 1], whose noisy copies stay there; features have no bounds."""
    active: tuple[int, ...] | None = None
    """Heads that learn; all when None."""
    vocabulary: int | None = None
    """Number of different tokens where inputs are texts."""
    of_outputs: ClassVar[bool] = True
    """See `federation.phase.of_outputs`: of a net without BatchNorm only outputs are used."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one model on one batch of public samples."""
        assert batch.target is not None
        clean, noisy = self._outputs(model, batch)
        logits, targets = self._heads(clean), self._heads(batch.target)
        losses = [kl_divergence(target, scores, batch.weight) for scores, target in zip(logits, targets, strict=True)]
        if noisy is not None:
            losses += [
                self.weight * self._disagreement(scores, other)
                for scores, other in zip(logits, self._heads(noisy), strict=True)
            ]
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        return total

    def noisy(self, batch: Batch) -> Tensor:
        """u~: pixels with noise, clipped to what a pixel can be; features with noise of a tenth of a deviation; texts
        with a tenth of the tokens drawn anew."""
        assert batch.noise is not None
        if self.vocabulary is not None:
            return with_new_tokens(batch.x, batch.noise, self.vocabulary)
        if self.noise == "research":
            return (batch.x + PIXEL_NOISE * batch.noise).clamp(0.0, 1.0)
        noisy = batch.x + 2 * PIXEL_NOISE * batch.noise
        return noisy.clamp(-1.0, 1.0) if self.image else noisy

    def _outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """f(u) and f(u~): in one pass of twice the batch, which reads the weights once, unless a net has BatchNorm."""
        if self.weight == 0:
            return model(batch.x), None
        if not batch_norms(model):
            clean, noisy = model(torch.cat([batch.x, self.noisy(batch)])).chunk(2)
            return clean, noisy
        clean = model(batch.x)
        with frozen_statistics(model):
            return clean, model(self.noisy(batch))

    def _disagreement(self, logits: Tensor, noisy: Tensor) -> Tensor:
        clean = logits.softmax(dim=-1)
        return F.mse_loss(noisy.softmax(dim=-1), clean.detach() if self.grad == "noisy_only" else clean)

    def _heads(self, values: Tensor) -> list[Tensor]:
        if values.dim() == 2:
            return [values]
        return [values[:, head] for head in (range(values.shape[1]) if self.active is None else self.active)]


def with_new_tokens(tokens: Tensor, noise: Tensor, vocabulary: int) -> Tensor:
    """Texts with some tokens drawn anew: where the noise is among the smallest tenth, its quantile there is the token.

    Args:
        tokens: whole numbers in [0, vocabulary), any shape and number format.
        noise: standard normal, of the same shape.
        vocabulary: number of different tokens.
    """
    quantile = torch.special.ndtr(noise) / TOKEN_NOISE
    return torch.where(quantile < 1, (quantile * vocabulary).floor().clamp(max=vocabulary - 1), tokens).to(tokens)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers of a net whose outputs for a sample depend on the others in its batch."""
    return [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Let a forward pass in training mode leave BatchNorm's running statistics as they are."""
    norms = batch_norms(model)
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was
