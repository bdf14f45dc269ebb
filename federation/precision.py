"""Number formats: what nets compute in, and what a GPU's matrix units may make of float32 (federation room)."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Training


def arithmetic(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    """In which number format nets compute inside: bfloat16 where the run asks for it, that of their weights elsewhere.

    Weights stay as they are, and nothing is kept of their bfloat16 copies: they change with every step.
    """
    if training.precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


@contextmanager
def gpu_arithmetic(training: Training, device: torch.device) -> Iterator[None]:
    """Inside, a GPU's float32 products are float32, or TensorFloat-32 where the run asks for it, and repeat themselves.

    By itself torch rounds the inputs of convolutions to TensorFloat-32, and may sum their gradients in any order.
    """
    if device.type != "cuda":
        yield
        return
    before = []
    for unit, name, value in [
        *_units(tf32=training.precision == "tf32"),
        (torch.backends.cudnn, "deterministic", True),
    ]:
        before.append((unit, name, getattr(unit, name)))
        setattr(unit, name, value)
    try:
        yield
    finally:
        for unit, name, value in before:
            setattr(unit, name, value)


def _units(*, tf32: bool) -> list[tuple[Any, str, Any]]:
    """The switches of matrix products and convolutions in this version of torch, and what to set them to."""
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is not None:
        wanted = "tf32" if tf32 else "ieee"
        return [(torch.backends.cuda.matmul, "fp32_precision", wanted), (conv, "fp32_precision", wanted)]
    return [(torch.backends.cuda.matmul, "allow_tf32", tf32), (torch.backends.cudnn, "allow_tf32", tf32)]
