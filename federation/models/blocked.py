"""Chains of convolutions that predict in oneDNN's own memory layout on a CPU (federation room)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1e37
"""A number that float32 holds with room for rounding."""


class BlockedChain(nn.Sequential):
    """Convolutions, max pools and ReLUs, then `nn.Flatten` and what follows it: the same function as `nn.Sequential`.

    In inference mode, float32 images on a CPU go through the convolutions in blocks of channels, the layout that
    oneDNN's kernels compute in, and come back where they are flattened; results agree but for rounding. Nowhere else:
    the gradient of a convolution with few input channels is four times as slow in that layout as channels last. Nor
    where a value might not be finite: oneDNN's pools and ReLUs make numbers of those that are not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the last part makes of x, shape (batch, channels, height, width)."""
        if not (_may_be_blocked(x) and self._stays_finite(x)):
            return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]  # nn.Sequential is untyped
        x = x.to_mkldnn()
        for part in self:
            x = part(x.to_dense() if isinstance(part, nn.Flatten) else x)
        return x.to_dense() if x.is_mkldnn else x

    def _stays_finite(self, x: Tensor) -> bool:
        """Whether no output of a convolution can leave float32, by the sums of its weights' magnitudes."""
        bound = torch.stack(torch.aminmax(x)).abs().max()
        for part in self:
            if isinstance(part, nn.Conv2d):
                reach = part.weight.flatten(1).abs().sum(dim=1) * bound
                bound = (reach if part.bias is None else reach + part.bias.abs()).max()
        return bool(bound < LARGEST)  # not a number is not below it


def _may_be_blocked(x: Tensor) -> bool:
    return (
        torch.is_inference_mode_enabled()
        and type(x) is torch.Tensor
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)  # as inside vmap
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch's
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
