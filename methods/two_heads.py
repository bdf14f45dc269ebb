"""A net with a second head on the same features, for methods that personalize a head beside the generic one."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.models.net import Net


class TwoHeads(nn.Module):
    """generic.head(z) + personal(z) of the features z = generic.body(x).

    The personal head is linear and starts at 0: the whole starts as the generic net.

    Args:
        generic: the net of the zoo.
    """

    def __init__(self, generic: Net) -> None:
        super().__init__()
        self.generic = generic
        self.personal = deepcopy(generic.head)  # not a new layer, which would draw random numbers
        nn.init.zeros_(self.personal.weight)
        nn.init.zeros_(self.personal.bias)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the generic net, and of both heads together without a gradient into the generic net.

        Both have shape (batch, classes).
        """
        z = self.generic.body(x)
        g = self.generic.head(z)
        return g, g.detach() + self.personal(z.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both heads together, shape (batch, classes)."""
        return self.outputs(x)[1]
