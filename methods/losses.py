"""Losses that several methods share, with their exact reductions (a wrong reduction is the field's commonest bug)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_bench.lazy import F, torch

from ..federation.phase import is_cross_entropy, of_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.payloads import Tree


@of_outputs
@is_cross_entropy
def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """LOCAL: -log softmax(f(x))_y, mean over the batch of private samples."""
    assert batch.y is not None  # objectives of private phases always have labels
    return F.cross_entropy(model(batch.x), batch.y)


@is_cross_entropy
def shared_cross_entropy(model: Any, batch: Batch) -> Tensor:
    """LOCAL for the net in common of a client that has two (`two_models`)."""
    return cross_entropy(model.shared, batch)


@of_outputs
def told_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy towards the hard labels a client was told about public samples, mean over the batch."""
    assert batch.target is not None
    return F.cross_entropy(model(batch.x), batch.target)


@of_outputs
def distillation(model: nn.Module, batch: Batch) -> Tensor:
    """DISTILL-KL: KL(target || softmax f(x)) on public samples; see `kl_divergence`."""
    assert batch.target is not None
    return kl_divergence(batch.target, model(batch.x), batch.weight)


def kl_divergence(target: Tensor, logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """KL(target || softmax(logits)), summed over classes, mean over samples ("batchmean").

    Args:
        target: probabilities, shape (samples, classes).
        logits: the student's, same shape.
        weight: optional weight of each sample, shape (samples,); the sum is still divided by the samples.
    """
    divergence = torch.xlogy(target, target) - target * F.log_softmax(logits, dim=-1)  # F.kl_div cannot be vmapped
    per_sample = divergence.sum(dim=-1)
    return (per_sample if weight is None else weight * per_sample).mean()


def imitation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """tau^2 * KL(softmax(teacher / tau) || softmax(student / tau)); only the student learns from it.

    Args:
        student: logits, shape (samples, classes).
        teacher: logits, same shape; constants, whatever they were computed from.
        temperature: tau; its square keeps the gradient as large as at 1.
    """
    target = (teacher.detach() / temperature).softmax(dim=-1)
    return temperature**2 * kl_divergence(target, student / temperature)


@of_outputs
def soft_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """-sum_c target_c log softmax(f(x))_c, mean over the batch; the gradient of `distillation`, and any targets do."""
    assert batch.target is not None
    return F.cross_entropy(model(batch.x), batch.target)


def squared_distance(model: nn.Module, anchor: Tree) -> Tensor:
    """||theta - anchor||^2: squares *summed* over all parameters named in the anchor, not averaged."""
    named = dict(model.named_parameters())
    return torch.stack([(named[name] - value).square().sum() for name, value in anchor.items()]).sum()


def inner_product(model: nn.Module, direction: Tree) -> Tensor:
    """<theta, direction> over all parameters named in `direction`; its gradient is `direction`."""
    named = dict(model.named_parameters())
    return torch.stack([(named[name] * value).sum() for name, value in direction.items()]).sum()
