"""Random crops and flips of a batch of images, as tensor operations on the device (federation room)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

PADDING = 4
"""Pixels added on each side before a crop, as usual for 32 x 32 images (methods.md 1.2, step 7)."""

Rule = Literal["none", "crop", "crop-flip"]


def draw(rule: Rule, count: int, stream: np.random.Generator) -> np.ndarray:
    """Crop offsets and flips for `count` images, shape (count, 3): down, right in [0, 8], flip in {0, 1}."""
    draws = np.zeros((count, 3), dtype=np.int64)
    draws[:, :2] = stream.integers(0, 2 * PADDING + 1, size=(count, 2))
    if rule == "crop-flip":
        draws[:, 2] = stream.integers(0, 2, size=count)
    return draws


def apply(images: Tensor, draws: Tensor) -> Tensor:
    """Crop and flip each image by its own draw.

    Args:
        images: stored images, shape (batch, channels, height, width), any dtype; the border is filled with 0
            (black) before scaling.
        draws: rows of `draw`, shape (batch, 3).
    Returns:
        images of the same shape and dtype.
    """
    batch, channels, height, width = images.shape
    down, right, flip = draws.unbind(1)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    columns = torch.where(flip[:, None].bool(), width - 1 - columns, columns) + right[:, None] - PADDING
    lines = torch.arange(height, device=images.device) + down[:, None] - PADDING
    inside = ((lines >= 0) & (lines < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    index = (lines.clamp(0, height - 1) * width)[:, :, None] + columns.clamp(0, width - 1)[:, None, :]
    cropped = images.flatten(2).gather(2, index.view(batch, 1, -1).expand(batch, channels, -1))
    return cropped.view_as(images) * inside[:, None].to(images.dtype)
