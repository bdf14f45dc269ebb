"""Chains of convolutions that predict in oneDNN's own memory layout on a CPU (federation room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class BlockedChain(nn.Sequential):
    """Convolutions, max pools and ReLUs, then `nn.Flatten` and what follows it: the same function as `nn.Sequential`.

    In inference mode, float32 images on a CPU go through the convolutions in blocks of channels, the layout that
    oneDNN's kernels compute in, and come back where they are flattened; results agree but for rounding. Nowhere else:
    the gradient of a convolution with few input channels is four times as slow in that layout as channels last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the last part makes of x, shape (batch, channels, height, width)."""
        if not _may_be_blocked(x):
            return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]  # nn.Sequential is untyped
        x = x.to_mkldnn()
        for part in self:
            x = part(x.to_dense() if isinstance(part, nn.Flatten) else x)
        return x


def _may_be_blocked(x: Tensor) -> bool:
    return (
        torch.is_inference_mode_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch's
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
