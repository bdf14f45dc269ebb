"""How much of a cohort fits into a device's memory at once, and what to do when it was too much (federation room)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch.func import functional_call

from .batches import Teaching
from .models.net import Net

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from .members import Members
    from .phase import Phase

SHARE = 0.8
"""Share of the free memory that an estimate may fill."""

OVERHEAD = 3.0
"""What a step takes of memory for activations, in units of what the backward pass keeps of the forward pass: that, its
gradients, and the copies that batched convolutions make. Measured on an H200 with ten nets of the zoo: up to 2.2."""

LONGEST = 4096
"""Samples per forward pass of a prediction at most, where memory would take more."""


def in_pieces(items: Sequence[int], size: int, work: Callable[[Sequence[int]], None]) -> None:
    """Work through items, so many at a time, and with half as many where that runs out of memory.

    Args:
        items: what to work through, in this order.
        size: items of a piece, at least 1.
        work: must leave no trace when it runs out of memory.
    Raises:
        torch.OutOfMemoryError: a single item does not fit.
    """
    done = 0
    while done < len(items):
        piece = items[done : done + size]
        if _fits(piece, work):
            done += len(piece)
        else:  # here and not in the handler, where the traceback still holds the tensors
            size = -(-len(piece) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _fits(piece: Sequence[int], work: Callable[[Sequence[int]], None]) -> bool:
    try:
        work(piece)
    except torch.OutOfMemoryError:
        if len(piece) == 1:
            raise
        return False
    return True


def members_at_once(members: Members, phase: Phase) -> int:
    """Members of a cohort that are trained at once: as many as are estimated to fit, or as the run allows."""
    if members.execution.stack is not None:
        return members.execution.stack
    if members.data.device.type != "cuda":
        return len(members)
    slots = max(len(step.optimizer.slots) for step in phase.steps)
    batch = members.training.batch_size
    shape = tuple(phase.on.inputs.shape[1:]) if isinstance(phase.on, Teaching) else members.data.about.shape
    need = member_bytes(members.models.template, shape, batch, slots, members.data.dtype)
    return max(1, min(len(members), room(members.data.device, len(members) * need) // need))


def samples_at_once(
    module: nn.Module, count: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> int:
    """Samples per forward pass of so many models in evaluation mode; each takes its bytes of activations about twice.

    Args:
        module: the module of each model.
        count: models.
        shape: of a sample.
        dtype: of weights and inputs.
        device: where they are; only a GPU is short of memory.
    """
    if device.type != "cuda":  # where an estimate would load torch's compiler, which takes as long as torch itself
        return LONGEST
    per_sample = 2 * count * kept_bytes(module, shape, 1, dtype)
    return max(1, min(LONGEST, room(device, LONGEST * per_sample) // max(1, per_sample)))


def member_bytes(module: nn.Module, shape: tuple[int, ...], batch: int, slots: int, dtype: torch.dtype) -> int:
    """Estimated memory that training takes for each member beyond the stored weights.

    Weights, gradients, their dense copies and what an update may take back, and the optimizer's moments; and the
    activations of a batch.

    Args:
        module: a client's module.
        shape: of a sample.
        batch: samples per step.
        slots: moments of the optimizer per weight.
        dtype: of weights and inputs.
    """
    weights = sum(parameter.numel() for parameter in module.parameters()) * dtype.itemsize
    return round(weights * (4 + slots) + OVERHEAD * kept_bytes(module, shape, batch, dtype))


def room(device: torch.device, wanted: int) -> int:
    """Bytes that may be planned with on a device: `wanted` on a CPU, at most a share of what is free on a GPU."""
    if device.type != "cuda":
        return wanted
    free = torch.cuda.mem_get_info(device)[0]
    return int(SHARE * (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)))


_KEPT: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], int]] = WeakKeyDictionary()


def kept_bytes(module: nn.Module, shape: tuple[int, ...], batch: int, dtype: torch.dtype) -> int:
    """Bytes that the backward pass of one member keeps of a forward pass, without the weights; nothing is computed.

    Only an estimate: a net that takes other inputs than samples counts as if it kept the samples.

    Args:
        module: a client's module; of one with several nets, all nets are counted.
        shape: of a sample.
        batch: samples.
        dtype: of weights and inputs.
    """
    known = _KEPT.setdefault(module, {})
    key = (shape, batch, dtype)
    if key not in known:
        nets: list[nn.Module] = [part for part in module.modules() if isinstance(part, Net)]
        known[key] = sum(_traced_bytes(net, shape, batch, dtype) for net in nets or [module])
    return known[key]


def _traced_bytes(net: nn.Module, shape: tuple[int, ...], batch: int, dtype: torch.dtype) -> int:
    weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in net.state_dict().items()}
    for name, _ in net.named_parameters():
        weights[name].requires_grad_()
    known = {tensor.untyped_storage()._cdata for tensor in weights.values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    mode = net.training
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            functional_call(net.eval(), weights, (torch.empty(batch, *shape, dtype=dtype, device="meta"),))
    except RuntimeError:  # a net that the objective feeds with something else: what it keeps is left to the run
        pass
    finally:
        net.train(mode)
    inputs = batch * prod(shape) * dtype.itemsize
    return max(inputs, sum(storage.nbytes() for storage in kept.values()))
