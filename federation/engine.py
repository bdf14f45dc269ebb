"""How a cohort is trained: the `loop` engine, one member after the other on views of the stacked storage.

An engine runs a `Phase` over a `Cohort` and predicts with it; nothing else in the project knows how many
models are trained at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from fl_bench.streams import numpy_stream, stream_key, torch_stream

from . import augment
from .batches import Batch, Beside, Teaching, Together, positions, steps_of
from .data import prepare
from .optimizers import clip_gradients

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np
    from torch import Tensor

    from .cohort import Cohort
    from .optimizers import Optimizer
    from .payloads import Tree
    from .phase import Phase, ResolvedStep


class Engine(Protocol):
    """What a cohort needs from an engine."""

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """Train every member in place; return steps and mean loss of each."""

    def predict(self, cohort: Cohort, inputs: Tensor, chunk: int) -> Tensor:
        """Logits of every member in evaluation mode, shape (members, samples, classes)."""


def engine(name: Literal["auto", "loop"], device: torch.device) -> Engine:
    """The engine called `name`; `auto` picks for the device."""
    return ENGINES["loop" if name == "auto" else name]


class LoopEngine:
    """One member after the other: real autograd on views of the storage, fused optimizer steps.

    Best on a CPU, where it keeps one member's weights in cache.

    Args:
        backwards: train from the last member to the first, which must not matter (the methods' contract looks).
    """

    def __init__(self, *, backwards: bool = False) -> None:
        self._direction = -1 if backwards else 1

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """See `Engine.fit`."""
        module = cohort.models.template.train()
        _freeze_statistics(module, phase.trained)
        done: dict[int, tuple[int, Tensor]] = {}
        for member in range(len(cohort))[:: self._direction]:
            with _seeded_dropout(module, cohort, phase, member):
                done[member] = self._fit_member(cohort, phase, module, member)
        steps, losses = zip(*(done[member] for member in range(len(cohort))), strict=True)
        return steps, torch.stack(losses)

    def predict(self, cohort: Cohort, inputs: Tensor, chunk: int) -> Tensor:
        """See `Engine.predict`."""
        module = cohort.models.template.eval()
        rows = []
        with torch.no_grad():
            for member in range(len(cohort)):
                bind(module, cohort.models.parameters, cohort.models.buffers, cohort.rows[member])
                rows.append(torch.cat([module(piece) for piece in torch.split(inputs, chunk)]))
        return torch.stack(rows)

    def _fit_member(self, cohort: Cohort, phase: Phase, module: nn.Module, member: int) -> tuple[int, Tensor]:
        row = cohort.rows[member]
        bind(module, cohort.models.parameters, cohort.models.buffers, row)
        named, trained = dict(module.named_parameters()), phase.trained
        for key, parameter in named.items():
            parameter.requires_grad_(key in trained)
        states = [_moments(cohort, phase, number, row) for number in range(len(phase.steps))]
        free = None if phase.entries is None else {key: tensor[member] for key, tensor in phase.entries.items()}
        batches = steps_of_member(cohort, phase, member)
        total = torch.zeros((), dtype=cohort.data.dtype, device=cohort.data.inputs.device)
        for index, batch in enumerate(member_batches(cohort, phase, member)):
            for number, (step, state) in enumerate(zip(phase.steps, states, strict=True)):
                optimizer = step.optimizer.at(index, batches)
                for _ in range(step.repeat):
                    loss = _take(step, optimizer, module, named, batch, state, phase.clip, free)
                    if number == 0:
                        total += loss / step.repeat
        return batches * phase.updates_per_batch, total / max(batches, 1)


ENGINES: dict[str, Engine] = {"loop": LoopEngine()}


def bind(module: nn.Module, parameters: Tree, buffers: Tree, row: int) -> None:
    """Make a module's parameters and buffers views of one row of stacked storage."""
    for name, parameter in module.named_parameters():
        parameter.data = parameters[name][row]
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name][row]


def steps_of_member(cohort: Cohort, phase: Phase, member: int) -> int:
    """Batches of one member in this phase; none where it has no samples."""
    samples = _samples(cohort, phase, member)
    return steps_of(phase.epochs, samples, cohort.training.batch_size) if samples else 0


def member_batches(cohort: Cohort, phase: Phase, member: int) -> Iterator[Batch]:
    """The batches of one member in this phase: counter-based orders, data gathered on the device."""
    client, size = cohort.keys[member], cohort.training.batch_size
    device = cohort.data.inputs.device
    steps, samples = steps_of_member(cohort, phase, member), _samples(cohort, phase, member)
    extra = {name: _row(value, member) for name, value in phase.per_client.items()}
    noise = (
        torch_stream(cohort.seed, "noise", phase.stream, cohort.side, client, cohort.round_index, device=device)
        if phase.noise
        else None
    )
    if isinstance(phase.on, Teaching):  # one order for all members, so that they can share forward passes
        stream = numpy_stream(cohort.seed, phase.stream, cohort.round_index)
        batches = _public_batches(phase.on, member, _order(samples, steps, size, stream, device))
    else:
        stream = numpy_stream(cohort.seed, phase.stream, client, cohort.round_index)
        order = _order(samples, steps, size, stream, device)
        if isinstance(phase.on, Together):
            batches = _joined_batches(cohort, phase, phase.on.public, member, order)
        else:
            batches = (Batch(x, y) for x, y in _private_batches(cohort, phase, member, order))
    if isinstance(phase.on, Beside):
        public = phase.on.public
        stream = numpy_stream(cohort.seed, public.stream, cohort.round_index)
        beside: Iterator[Batch] | None = _public_batches(
            public, member, _order(public.inputs.shape[0], steps, size, stream, device)
        )
    else:
        beside = None
    for batch in batches:
        batch.extra = extra
        if beside is not None:
            batch.public = next(beside)
        if noise is not None:
            batch.noise = torch.randn(batch.x.shape, generator=noise, dtype=batch.x.dtype, device=device)
        yield batch


def _samples(cohort: Cohort, phase: Phase, member: int) -> int:
    """Samples of the set that one member passes over."""
    if isinstance(phase.on, Teaching):
        return phase.on.inputs.shape[0]
    private = cohort.private_rows[member].numel()
    return private + phase.on.public.inputs.shape[0] if isinstance(phase.on, Together) else private


def _order(samples: int, steps: int, size: int, stream: np.random.Generator, device: torch.device) -> Tensor:
    return torch.from_numpy(positions(samples, steps, size, stream)).to(device)


def _public_batches(teaching: Teaching, member: int, order: Tensor) -> Iterator[Batch]:
    for index in order:
        yield Batch(
            teaching.inputs[index],
            target=teaching.target[member, index],
            weight=None if teaching.weight is None else teaching.weight[member, index],
        )


def _joined_batches(cohort: Cohort, phase: Phase, teaching: Teaching, member: int, order: Tensor) -> Iterator[Batch]:
    """Batches of D_i and U shuffled into one; position p >= n_i of the joined set is public sample p - n_i."""
    labels = cohort.data.labels[cohort.private_rows[member]]
    private, target = len(labels), teaching.target[member]
    targets = torch.cat([F.one_hot(labels, cohort.data.about.classes).to(target), target])
    weight = None if teaching.weight is None else teaching.weight[member]
    weights = None if weight is None else torch.cat([weight.new_ones(private), weight])
    own = _private_batches(cohort, phase, member, order.clamp_max(private - 1))
    for index, (x, _) in zip(order, own, strict=True):
        if len(target):
            public = teaching.inputs[(index - private).clamp_min(0)]
            x = torch.where((index < private).view(-1, *[1] * (x.dim() - 1)), x, public)
        yield Batch(x, target=targets[index], weight=None if weights is None else weights[index])


def _private_batches(cohort: Cohort, phase: Phase, member: int, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    data, rows = cohort.data, cohort.private_rows[member]
    labels = data.labels[rows]
    rule = data.about.augment if cohort.training.augment != "none" else "none"
    stored = data.inputs[rows]
    if rule == "none":
        inputs = prepare(stored, data.about, data.dtype)
        for index in order:
            yield inputs[index], labels[index]
        return
    client = cohort.keys[member]
    if cohort.training.augment == "frozen":
        draws = augment.draw(rule, len(rows), numpy_stream(cohort.seed, "augment", client))
        inputs = prepare(augment.apply(stored, torch.from_numpy(draws).to(stored.device)), data.about, data.dtype)
        for index in order:
            yield inputs[index], labels[index]
        return
    stream = numpy_stream(cohort.seed, "augment", phase.stream, client, cohort.round_index)
    drawn = torch.from_numpy(augment.draw(rule, order.numel(), stream)).to(stored.device)
    for index, draws in zip(order, drawn.view(*order.shape, 3), strict=True):
        yield prepare(augment.apply(stored[index], draws), data.about, data.dtype), labels[index]


def _row(value: Tensor | Tree, member: int) -> Tensor | Tree:
    return {name: tensor[member] for name, tensor in value.items()} if isinstance(value, dict) else value[member]


def _moments(cohort: Cohort, phase: Phase, number: int, row: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Moments and counters of one member in one of the phase's steps: fresh, or views of what earlier rounds left."""
    step = phase.steps[number]
    parameters, slots = cohort.models.parameters, step.optimizer.slots
    if not phase.persist:
        fresh = [[torch.zeros_like(parameters[key][row]) for key in step.trainable] for _ in slots]
        device = cohort.data.inputs.device
        return fresh, [torch.zeros((), dtype=torch.float32, device=device) for _ in step.trainable]
    kept = cohort.models.moments.setdefault(phase.stream if number == 0 else f"{phase.stream} {number}", {})
    for key in step.trainable:
        for slot in slots:
            if f"{slot}:{key}" not in kept:
                kept[f"{slot}:{key}"] = torch.zeros_like(parameters[key])
        if f"steps:{key}" not in kept:
            kept[f"steps:{key}"] = torch.zeros(len(cohort.models), dtype=torch.float32, device=parameters[key].device)
    return (
        [[kept[f"{slot}:{key}"][row] for key in step.trainable] for slot in slots],
        [kept[f"steps:{key}"][row] for key in step.trainable],
    )


def _take(
    step: ResolvedStep,
    optimizer: Optimizer,
    module: nn.Module,
    named: Mapping[str, Tensor],
    batch: Batch,
    state: tuple[list[list[Tensor]], list[Tensor]],
    clip: float | None,
    free: Mapping[str, Tensor] | None,
) -> Tensor:
    """Take one update on a batch; returns the loss before it."""
    trained = [named[key] for key in step.trainable]
    loss = step.objective(module, batch)
    gradients = [
        torch.zeros_like(parameter) if gradient is None else gradient.contiguous()  # fused kernels read it as dense
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True)
    ]
    if clip is not None:
        clip_gradients(gradients, clip)
    before = None if free is None else [parameter.detach().clone() for parameter in trained]
    optimizer.step(trained, gradients, *state)
    with torch.no_grad():
        for key, (lowest, highest) in step.within.items():
            named[key].clamp_(lowest, highest)
        if before is not None and free is not None:  # masks the update, whatever the optimizer made of the gradient
            for key, parameter, old in zip(step.trainable, trained, before, strict=True):
                parameter.copy_(torch.where(free[key], parameter, old))
    return loss.detach()


def _freeze_statistics(module: nn.Module, trainable: Collection[str]) -> None:
    """BatchNorm in a part that is not trained neither learns statistics nor uses the batch's."""
    for name, part in module.named_modules():
        frozen = isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine and f"{name}.weight" not in trainable
        if frozen:
            part.eval()


@contextmanager
def _seeded_dropout(module: nn.Module, cohort: Cohort, phase: Phase, member: int) -> Iterator[None]:
    """Where the net has dropout: seed the generator it draws from for one member's phase, inside a fork."""
    if not any(isinstance(part, nn.modules.dropout._DropoutNd) for part in module.modules()):
        yield
        return
    device = cohort.data.inputs.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(
            stream_key(cohort.seed, "dropout", phase.stream, cohort.side, cohort.keys[member], cohort.round_index)
        )
        yield
