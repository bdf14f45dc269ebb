"""The `loop` engine: one member after the other, or some side by side in threads (federation room).

Best on a CPU, where it keeps one member's weights in cache. `stacked.py` has the other engine; both train on the
batches of `feeding.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .chains import chain_of
from .counters import derived
from .data import gathered
from .feeding import ROWS, Draws, batches_of, draw, first_pass, make_batch
from .forward import CHUNK, bind, side_by_side
from .models.dropout import masks_from
from .optimizers import clip_gradients
from .phase import training_mode
from .precision import arithmetic
from .work import Trained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from .batches import Batch
    from .chains import Chain
    from .members import Members
    from .optimizers import Optimizer
    from .payloads import Tree
    from .phase import Phase, ResolvedStep


class LoopEngine:
    """One member after the other: real autograd on views of the storage, fused optimizer steps.

    With more than one thread members are trained side by side, each by one thread, which changes no bit of the result.

    Args:
        backwards: train from the last member to the first, which must not matter (the methods' contract looks).
    """

    def __init__(self, *, backwards: bool = False) -> None:
        self._direction = -1 if backwards else 1

    def fit(self, members: Members, phase: Phase) -> Trained:
        """See `Engine.fit`."""
        if phase.persist:  # made before threads look for them
            for number, step in enumerate(phase.steps):
                members.models.kept_moments(phase.state_name(number), step.trainable, step.optimizer.slots)
        order: Sequence[int] = range(len(members))[:: self._direction]
        if _threads(members) > 1:  # the longest first, so that no thread is left with them at the end
            order = sorted(order, key=lambda member: -batches_of(members, phase, member))
        done = side_by_side(
            members.models.template,
            _threads(members),
            order,
            lambda module, member: _fit_member(members, phase, training_mode(module, phase), member),
        )
        steps, losses, first = zip(*(done[member] for member in range(len(members))), strict=True)
        return Trained(steps, torch.stack(losses), torch.stack(first) if phase.measures_cross_entropy else None)

    def predict(self, members: Members, inputs: Tensor) -> Tensor:
        """See `Engine.predict`."""
        models = members.models

        def outputs(module: nn.Module, member: int) -> Tensor:
            bind(module.eval(), models.parameters, models.buffers, members.rows[member])
            with torch.inference_mode(), arithmetic(members.training, inputs.device):
                return torch.cat([module(piece) for piece in torch.split(inputs, CHUNK)]).to(inputs.dtype)

        done = side_by_side(models.template, _threads(members), range(len(members)), outputs)
        return torch.stack([done[member] for member in range(len(members))])


def member_batches(members: Members, phase: Phase, member: int) -> Iterator[Batch]:
    """The batches of one member in this phase."""
    device = members.data.device

    def placed(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.to(device)
        if name not in ROWS:
            return tensor
        rows = members.private_rows[member]
        return gathered(rows, tensor) if rows.numel() else tensor  # any row will do where none is own

    drawn: Draws = draw(members, phase, member).mapped(placed)
    extra = {name: _row(value, member) for name, value in phase.per_client.items()}
    for step in drawn.steps(batches_of(members, phase, member)):
        batch = make_batch(members, phase, step, member)
        batch.extra = extra
        yield batch


def _threads(members: Members) -> int:
    return members.execution.threads or 1 if members.data.device.type == "cpu" else 1


def _fit_member(members: Members, phase: Phase, module: nn.Module, member: int) -> tuple[int, Tensor, Tensor]:
    """Train one member; returns its steps, its mean loss, and that of its first pass."""
    row = members.rows[member]
    bind(module, members.models.parameters, members.models.buffers, row)
    named, trained = dict(module.named_parameters()), phase.trained
    for key, parameter in named.items():
        parameter.requires_grad_(key in trained)
    states = [_moments(members, phase, number, row) for number in range(len(phase.steps))]
    chains = [_chain(members, step, module, named) for step in phase.steps]
    free = None if phase.entries is None else {key: tensor[member] for key, tensor in phase.entries.items()}
    batches = batches_of(members, phase, member)
    total = torch.zeros((), dtype=members.data.dtype, device=members.data.device)
    early, first = total, first_pass(members, phase, member)
    for index, batch in enumerate(member_batches(members, phase, member)):
        for number, (step, state, chain) in enumerate(zip(phase.steps, states, chains, strict=True)):
            if not step.due(index):
                continue
            optimizer = step.optimizer.at(index, batches)
            for again in range(step.repeat):
                if chain is None:
                    masks = None if batch.masks is None else derived(batch.masks, phase.update(number, again))
                    with masks_from(masks), arithmetic(members.training, total.device):
                        loss = step.objective(module, batch)
                else:
                    loss = step.objective(chain, batch)  # type: ignore[arg-type]  # all of a module that it uses
                _descend(step, optimizer, named, loss, state, free, chain)
                if number == 0:
                    total += loss.detach() / step.repeat
        if index + 1 == first:
            early = total.clone()
    return phase.updates(batches), total / max(batches, 1), early / max(first, 1)


def _chain(members: Members, step: ResolvedStep, module: nn.Module, named: Mapping[str, Tensor]) -> Chain | None:
    """What stands for the net in a step that needs no graph of it; None where the step needs one."""
    if not getattr(step.objective, "of_outputs", False) or members.training.precision == "bf16":
        return None
    return chain_of(module) if step.trainable == list(named) else None


def _row(value: Tensor | Tree, member: int) -> Tensor | Tree:
    return {name: tensor[member] for name, tensor in value.items()} if isinstance(value, dict) else value[member]


def _moments(members: Members, phase: Phase, number: int, row: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Moments and counters of one member in one of the phase's steps: fresh, or views of what earlier rounds left."""
    step = phase.steps[number]
    parameters, slots = members.models.parameters, step.optimizer.slots
    if not phase.persist:
        fresh = [[torch.zeros_like(parameters[key][row]) for key in step.trainable] for _ in slots]
        return fresh, [torch.zeros((), dtype=torch.float32, device=members.data.device) for _ in step.trainable]
    kept = members.models.kept_moments(phase.state_name(number), step.trainable, slots)
    return (
        [[kept[f"{slot}:{key}"][row] for key in step.trainable] for slot in slots],
        [kept[f"steps:{key}"][row] for key in step.trainable],
    )


def _descend(
    step: ResolvedStep,
    optimizer: Optimizer,
    named: Mapping[str, Tensor],
    loss: Tensor,
    state: tuple[list[list[Tensor]], list[Tensor]],
    free: Mapping[str, Tensor] | None,
    chain: Chain | None,
) -> None:
    """Take one update down the gradient of a loss."""
    trained = [named[key] for key in step.trainable]
    gradients = _gradients(loss, trained) if chain is None else chain.gradients(loss)
    if step.clip is not None:
        clip_gradients(gradients, step.clip)
    before = None if free is None else [parameter.detach().clone() for parameter in trained]
    optimizer.step(trained, gradients, *state)
    if not step.within and before is None:
        return
    with torch.no_grad():
        for key, (lowest, highest) in step.within.items():
            named[key].clamp_(lowest, highest)
        if before is not None and free is not None:  # masks the update, whatever the optimizer made of the gradient
            for key, parameter, old in zip(step.trainable, trained, before, strict=True):
                parameter.copy_(torch.where(free[key], parameter, old))


def _gradients(loss: Tensor, trained: Sequence[Tensor]) -> list[Tensor]:
    """Autograd's gradient of a loss, by tensors of which it may not depend."""
    return [
        torch.zeros_like(parameter) if gradient is None else gradient.contiguous()  # fused kernels read it as dense
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True)
    ]
