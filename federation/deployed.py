"""What is scored: models, and which of them each client would use (federation room)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .forward import bind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .payloads import Tree


@dataclass(frozen=True)
class Deployed:
    """Models to be evaluated on clients: which of `weights` each member would use."""

    module: nn.Module
    """A network of the architecture; its own weights do not matter."""
    weights: Tree
    """Stacked parameters and buffers, name to (models, ...)."""
    index: tuple[int, ...] | None
    """The model of each member. None: for each member the model that is best on its
    *test* data, an oracle that views named `*_oracle` report and nothing else may use."""

    def __len__(self) -> int:
        return next(iter(self.weights.values())).shape[0]

    def logits(self, model: int, inputs: Tensor, module: nn.Module | None = None) -> Tensor:
        """Output of one of the models in evaluation mode, shape (samples, classes).

        Args:
            model: which.
            inputs: network inputs, shape (samples, *shape).
            module: a module of the architecture to run it in; `self.module` by default.
        """
        module = self.module if module is None else module
        names = {name for name, _ in module.named_parameters()}
        bind(
            module.eval(),
            {name: tensor for name, tensor in self.weights.items() if name in names},
            {name: tensor for name, tensor in self.weights.items() if name not in names},
            model,
        )
        return module(inputs)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
