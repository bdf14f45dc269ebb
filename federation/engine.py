"""How a cohort is trained: the `loop` engine, one member after the other on views of the stacked storage.

An engine runs a `Phase` over a `Cohort` and predicts with it; nothing else in the project knows how many
models are trained at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import nn

from fl_bench.streams import numpy_stream, stream_key, torch_stream

from . import augment
from .batches import Batch, Teaching, positions, steps_of
from .data import prepare
from .optimizers import Optimizer, clip_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from .cohort import Cohort
    from .payloads import Tree


@dataclass(frozen=True)
class Phase:
    """One call of `Cohort.fit`, resolved."""

    objective: Callable[[nn.Module, Batch], Tensor]
    teaching: Teaching | None
    epochs: int
    clip: float | None
    optimizer: Optimizer
    trainable: list[str]
    per_client: dict[str, Any]
    noise: bool
    stream: str
    persist: bool


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
    """

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """See `Engine.fit`."""
        module = cohort.models.template.train()
        _freeze_statistics(module, phase.trainable)
        losses, steps = [], []
        for member in range(len(cohort)):
            with _seeded_dropout(module, cohort, phase, member):
                taken, loss = self._fit_member(cohort, phase, module, member)
            steps.append(taken)
            losses.append(loss)
        return tuple(steps), torch.stack(losses)

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
        named = dict(module.named_parameters())
        for key, parameter in named.items():
            parameter.requires_grad_(key in phase.trainable)
        trained = [named[key] for key in phase.trainable]
        moments, counters = _moments(cohort, phase, row)
        total = torch.zeros((), dtype=cohort.data.dtype, device=cohort.data.inputs.device)
        taken = 0
        for batch in member_batches(cohort, phase, member):
            loss = phase.objective(module, batch)
            gradients = [
                torch.zeros_like(parameter) if gradient is None else gradient
                for parameter, gradient in zip(
                    trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True
                )
            ]
            if phase.clip is not None:
                clip_gradients(gradients, phase.clip)
            phase.optimizer.step(trained, gradients, moments, counters)
            total += loss.detach()
            taken += 1
        return taken, total / max(taken, 1)


ENGINES: dict[str, Engine] = {"loop": LoopEngine()}


def bind(module: nn.Module, parameters: Tree, buffers: Tree, row: int) -> None:
    """Make a module's parameters and buffers views of one row of stacked storage."""
    for name, parameter in module.named_parameters():
        parameter.data = parameters[name][row]
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name][row]


def member_batches(cohort: Cohort, phase: Phase, member: int) -> Iterator[Batch]:
    """The batches of one member in this phase: counter-based orders, data gathered on the device."""
    client, size = cohort.ids[member], cohort.training.batch_size
    extra = {name: _row(value, member) for name, value in phase.per_client.items()}
    teaching = phase.teaching
    if teaching is not None:
        stream = numpy_stream(cohort.seed, phase.stream, cohort.round_index)
        samples = teaching.inputs.shape[0]
    else:
        stream = numpy_stream(cohort.seed, phase.stream, client, cohort.round_index)
        samples = cohort.private_rows[member].numel()
    steps = steps_of(phase.epochs, samples, size) if samples else 0
    device = cohort.data.inputs.device
    order = torch.from_numpy(positions(samples, steps, size, stream)).to(device)
    noise = (
        torch_stream(cohort.seed, "noise", phase.stream, cohort.side, client, cohort.round_index, device=device)
        if phase.noise
        else None
    )
    if teaching is None:
        private = _private_batches(cohort, phase, member, order)
        batches = (Batch(x, y, extra=extra) for x, y in private)
    else:
        batches = (
            Batch(
                teaching.inputs[index],
                target=teaching.target[member, index],
                weight=None if teaching.weight is None else teaching.weight[member, index],
                extra=extra,
            )
            for index in order
        )
    for batch in batches:
        if noise is not None:
            batch.noise = torch.randn(batch.x.shape, generator=noise, dtype=batch.x.dtype, device=device)
        yield batch


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
    client = cohort.ids[member]
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


def _moments(cohort: Cohort, phase: Phase, row: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Moments and step counters of one member: fresh, or views of what earlier rounds left."""
    parameters, slots = cohort.models.parameters, phase.optimizer.slots
    if not phase.persist:
        fresh = [[torch.zeros_like(parameters[key][row]) for key in phase.trainable] for _ in slots]
        device = cohort.data.inputs.device
        return fresh, [torch.zeros((), dtype=torch.float32, device=device) for _ in phase.trainable]
    kept = cohort.models.moments.setdefault(phase.stream, {})
    for key in phase.trainable:
        for slot in slots:
            if f"{slot}:{key}" not in kept:
                kept[f"{slot}:{key}"] = torch.zeros_like(parameters[key])
        if f"steps:{key}" not in kept:
            kept[f"steps:{key}"] = torch.zeros(len(cohort.models), dtype=torch.float32, device=parameters[key].device)
    return (
        [[kept[f"{slot}:{key}"][row] for key in phase.trainable] for slot in slots],
        [kept[f"steps:{key}"][row] for key in phase.trainable],
    )


def _freeze_statistics(module: nn.Module, trainable: Sequence[str]) -> None:
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
            stream_key(cohort.seed, "dropout", phase.stream, cohort.side, cohort.ids[member], cohort.round_index)
        )
        yield
