"""What a training phase is: the steps taken on each batch, and everything that `Cohort.fit` resolves for an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from fl_bench.lazy import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .batches import Batch, Source
    from .optimizers import Optimizer
    from .payloads import Tree

Objective: TypeAlias = "Callable[[nn.Module, Batch], Tensor]"
"""Loss of one member on one batch, a scalar tensor, in plain PyTorch."""


@dataclass(frozen=True)
class Step:
    """One update on a batch; a phase takes all of its steps, in order, on every batch."""

    objective: Objective
    trainable: Callable[[str], bool] | None = None
    """Which parameters it trains, by name; those of the phase by default."""
    optimizer: Optimizer | None = None
    """Its update rule; that of the phase by default."""
    repeat: int = 1
    """How often it is taken on the same batch."""
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Bounds that parameters are clamped to after it, by name (a mixing weight in [0, 1])."""


@dataclass(frozen=True)
class ResolvedStep:
    """A `Step` with every default filled in."""

    objective: Objective
    trainable: list[str]
    optimizer: Optimizer
    repeat: int
    within: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Phase:
    """One call of `Cohort.fit`, resolved."""

    steps: tuple[ResolvedStep, ...]
    on: Source
    epochs: int
    batches: int | None
    """Batches of every member, instead of epochs."""
    clip: float | None
    per_client: dict[str, Any]
    """Tensors or trees with a row per member."""
    entries: Tree | None
    """Which entries of which parameters may change, name to bool (members, ...); all when None."""
    noise: bool
    stream: str
    persist: bool

    @property
    def trained(self) -> set[str]:
        """Parameters that some step trains."""
        return {key for step in self.steps for key in step.trainable}

    @property
    def updates_per_batch(self) -> int:
        """Gradient evaluations on each batch."""
        return sum(step.repeat for step in self.steps)

    def update(self, number: int, again: int) -> int:
        """The number, within a batch, of the update that is step `number` taken for the `again`-th time (from 0)."""
        return sum(step.repeat for step in self.steps[:number]) + again

    def state_name(self, number: int) -> str:
        """What names the optimizer state of step `number` between rounds."""
        return self.stream if number == 0 else f"{self.stream} {number}"


def training_mode(module: nn.Module, phase: Phase) -> nn.Module:
    """Put a net in training mode, but for BatchNorm in a part that is not trained.

    That neither learns statistics nor uses the batch's.
    """
    trained = phase.trained
    for name, part in module.train().named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine and f"{name}.weight" not in trained:
            part.eval()
    return module
