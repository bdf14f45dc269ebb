"""A net that takes samples as data sets hold them (federation room): it prepares them as runs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .data import prepare

if TYPE_CHECKING:
    from torch import Tensor

    from ..datasets.dataset import Modality


class Prepared(nn.Module):
    """A net behind the preparation of its inputs.

    Args:
        net: takes prepared samples.
        modality: the kind of data.
    """

    def __init__(self, net: nn.Module, modality: Modality) -> None:
        super().__init__()
        self.net = net
        """The net itself, for samples that are prepared: pixels from -1 to 1, all others as they are."""
        self._modality = modality

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of stored samples, shape (batch, *shape); images as uint8, or in [0, 1]."""
        return self.net(prepare(x, self._modality, next(self.net.parameters()).dtype))  # type: ignore[no-any-return]
