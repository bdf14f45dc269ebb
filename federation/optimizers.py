"""Adam and SGD as pure steps over lists of tensors, so that both engines share torch's fused kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Optimizer:
    """An update rule; its moments live with the caller, stacked over clients."""

    rule: Literal["adam", "sgd"]
    """Adam with beta 0.9 and 0.999 and epsilon 1e-8, or gradient descent."""
    lr: float
    """Learning rate, at the start of a phase."""
    momentum: float = 0.0
    """Of `sgd`."""
    weight_decay: float = 0.0
    """L2 penalty added to the gradient."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Over the steps of one phase; `cosine` falls from `lr` to 0."""

    def __str__(self) -> str:
        """In words, defaults left out: `sgd 0.005, momentum 0.9, decay 5e-05`."""
        further = {"momentum": self.momentum, "decay": self.weight_decay}
        parts = [f"{self.rule} {self.lr:g}", *(f"{name} {value:g}" for name, value in further.items() if value)]
        return ", ".join(parts if self.schedule == "constant" else [*parts, self.schedule])

    def at(self, step: int, steps: int) -> Optimizer:
        """The rule of step number `step` (from 0) of a phase of `steps`."""
        if self.schedule == "constant":
            return self
        return replace(self, lr=0.5 * self.lr * (1 + math.cos(math.pi * step / steps)))

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the moments kept for each parameter; all start at zero."""
        if self.rule == "adam":
            return ("exp_avg", "exp_avg_sq")
        return ("momentum",) if self.momentum else ()

    def step(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        moments: Sequence[Sequence[Tensor]],
        steps: Sequence[Tensor],
    ) -> None:
        """Update `parameters`, `moments` and `steps` in place.

        Args:
            parameters: tensors to update.
            gradients: one for each parameter.
            moments: for each slot, one tensor for each parameter.
            steps: step counters, one float32 scalar for each parameter (Adam's bias correction).
        """
        # The kernels themselves: what torch.optim does around them takes longer than they do on a small net.
        with torch.no_grad():
            if self.rule == "adam":
                torch._foreach_add_(list(steps), 1)
                torch._fused_adam_(
                    list(parameters),
                    list(gradients),
                    list(moments[0]),
                    list(moments[1]),
                    [],
                    list(steps),
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=self.lr,
                    weight_decay=self.weight_decay,
                    eps=1e-8,
                    maximize=False,
                )
            else:
                torch._fused_sgd_(
                    list(parameters),
                    list(gradients),
                    list(moments[0]) if moments else [],
                    weight_decay=self.weight_decay,
                    momentum=self.momentum,
                    lr=self.lr,
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                    is_first_step=False,
                )


def clip_gradients(gradients: Sequence[Tensor], largest: float) -> None:
    """Scale the gradients of one client in place so that their joint 2-norm is at most `largest`."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    torch._foreach_mul_(list(gradients), (largest / (norm + 1e-6)).clamp_max(1.0))


def clip_rows(gradients: Sequence[Tensor], largest: float) -> None:
    """The same for several clients at once, each of whom has a row of every gradient."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scales = (largest / (norms + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scales.view(-1, *[1] * (gradient.dim() - 1)))
