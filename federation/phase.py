"""What a training phase is: the steps taken on each batch, and everything that `Cohort.fit` resolves for an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fl_bench.lazy import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    """What it descends: loss of one member on one batch, a scalar tensor."""
    trainable: Callable[[str], bool] | None = None
    """Which parameters it trains, by name; those of the phase by default."""
    optimizer: Optimizer | None = None
    """Its update rule; that of the phase by default."""
    clip: float | Literal["phase"] | None = "phase"
    """Largest 2-norm of a member's gradient; that of the phase by default, None for no limit."""
    repeat: int = 1
    """How often it is taken on the same batch; each time is a gradient evaluation, and counts as a step."""
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Bounds that parameters are clamped to after it, by name (a mixing weight in [0, 1])."""
    batches: int | None = None
    """Take it on the first so many batches of the phase; on all by default, as the first step of a phase always is."""


@dataclass(frozen=True)
class ResolvedStep:
    """A `Step` with every default filled in."""

    objective: Objective
    trainable: list[str]
    optimizer: Optimizer
    clip: float | None
    repeat: int
    within: Mapping[str, tuple[float, float]]
    batches: int | None

    def due(self, index: int) -> bool:
        """Whether it is taken on batch `index` of the phase, from 0."""
        return self.batches is None or index < self.batches


@dataclass(frozen=True)
class Phase:
    """One call of `Cohort.fit`, resolved."""

    steps: tuple[ResolvedStep, ...]
    on: Source
    epochs: int
    batches: int | None
    """Batches of every member, instead of epochs."""
    per_client: dict[str, Any]
    """Tensors or trees with a row per member."""
    entries: Tree | None
    """Which entries of which parameters may change, name to bool (members, ...); all when None."""
    noise: bool | tuple[int, ...]
    """Whether batches have noise, and its shape per sample where that is not the input's."""
    stream: str
    name: str
    """What names its optimizer state between rounds."""
    persist: bool
    most: tuple[int, ...] | None = None
    """Most batches of each member, where a deadline cuts some short; None: nobody is cut."""

    @property
    def trained(self) -> set[str]:
        """Parameters that some step trains."""
        return {key for step in self.steps for key in step.trainable}

    def updates(self, batches: int) -> int:
        """Gradient evaluations on so many batches."""
        return sum(
            step.repeat * (batches if step.batches is None else min(step.batches, batches)) for step in self.steps
        )

    def update(self, number: int, again: int) -> int:
        """The number, within a batch, of the update that is step `number` taken for the `again`-th time (from 0)."""
        return sum(step.repeat for step in self.steps[:number]) + again

    def state_name(self, number: int) -> str:
        """What names the optimizer state of step `number` between rounds."""
        return self.name if number == 0 else f"{self.name}, step {number}"

    @property
    def measures_cross_entropy(self) -> bool:
        """Whether the loss of its first step is the plain cross-entropy on private samples."""
        return getattr(self.steps[0].objective, "is_cross_entropy", False)


def is_cross_entropy(objective: Objective) -> Objective:
    """Decorate an objective that is the mean cross-entropy on private samples and nothing else.

    `loss_local` in records is measured by such objectives alone, so that it is one quantity in every method.
    """
    objective.is_cross_entropy = True  # type: ignore[attr-defined]  # functions take attributes
    return objective


def of_outputs(objective: Objective) -> Objective:
    """Decorate an objective that calls its net on inputs without a gradient, and uses nothing else of it.

    It is the same objective; chains of linear layers are trained faster on it (`chains.py`). One that reads parameters,
    calls a part of the net or takes gradients itself must not be marked.
    """
    objective.of_outputs = True  # type: ignore[attr-defined]  # functions take attributes
    return objective


def phase_name(stream: str, steps: Sequence[ResolvedStep], parameters: int) -> str:
    """The name of a phase that has none: its stream, what it descends, and how much it trains if that is not all.

    Args:
        stream: of its batch orders.
        steps: taken on every batch.
        parameters: how many tensors a model has.
    """
    words = []
    for step in steps:
        rule = step.objective
        named = getattr(rule, "__qualname__", type(rule).__qualname__)
        words.append(named if len(step.trainable) == parameters else f"{named} of {', '.join(step.trainable)}")
    return f"{stream}: {'; '.join(words)}"


def training_mode(module: nn.Module, phase: Phase) -> nn.Module:
    """Put a net in training mode, but for BatchNorm in a part that is not trained.

    That neither learns statistics nor uses the batch's.
    """
    trained = phase.trained
    for name, part in module.train().named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine and f"{name}.weight" not in trained:
            part.eval()
    return module
