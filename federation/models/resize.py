"""Images to the size and the channels that torchvision's nets were made for (federation room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224


class Enlarge(nn.Module):
    """Images, shape (batch, 1 or 3, any height, any width), to (batch, 3, 224, 224) by bilinear interpolation.

    A single channel is copied to all three.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The enlarged images."""
        enlarged = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear")
        return enlarged.expand(-1, 3, -1, -1)
