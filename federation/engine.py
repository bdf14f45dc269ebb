"""How a cohort is trained: engines by name, and the `loop` engine, one member after the other.

An engine runs a `Phase` over a `Cohort` and predicts with it; nothing else in the project knows how many
models are trained at once. `stacked.py` has the other engine. Both train on the batches of `feeding.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from fl_bench.streams import stream_key

from .feeding import batches_of, draw, make_batch, noise_like, noise_stream
from .optimizers import clip_gradients
from .phase import has_dropout, training_mode
from .stacked import StackedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from .batches import Batch
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


def engine(name: Literal["auto", "loop", "stacked"], device: torch.device) -> Engine:
    """The engine called `name`; `auto` stacks on a GPU, where kernel launches take the time, and loops elsewhere."""
    return ENGINES[("stacked" if device.type == "cuda" else "loop") if name == "auto" else name]


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
        module = training_mode(cohort.models.template, phase)
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
        batches = batches_of(cohort, phase, member)
        total = torch.zeros((), dtype=cohort.data.dtype, device=cohort.data.inputs.device)
        for index, batch in enumerate(member_batches(cohort, phase, member)):
            for number, (step, state) in enumerate(zip(phase.steps, states, strict=True)):
                optimizer = step.optimizer.at(index, batches)
                for _ in range(step.repeat):
                    loss = _take(step, optimizer, module, named, batch, state, phase.clip, free)
                    if number == 0:
                        total += loss / step.repeat
        return batches * phase.updates_per_batch, total / max(batches, 1)


ENGINES: dict[str, Engine] = {"loop": LoopEngine(), "stacked": StackedEngine(otherwise=LoopEngine())}


def bind(module: nn.Module, parameters: Tree, buffers: Tree, row: int) -> None:
    """Make a module's parameters and buffers views of one row of stacked storage."""
    for name, parameter in module.named_parameters():
        parameter.data = parameters[name][row]
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name][row]


def member_batches(cohort: Cohort, phase: Phase, member: int) -> Iterator[Batch]:
    """The batches of one member in this phase."""
    drawn = draw(cohort, phase, member)
    extra = {name: _row(value, member) for name, value in phase.per_client.items()}
    stream = noise_stream(cohort, phase, member) if phase.noise else None
    for step in range(batches_of(cohort, phase, member)):
        batch = make_batch(cohort, phase, drawn.of_step(step), member)
        batch.extra = extra
        if stream is not None:
            batch.noise = noise_like(batch.x, stream)
        yield batch


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
    kept = cohort.models.kept_moments(phase.state_name(number), step.trainable, slots)
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


@contextmanager
def _seeded_dropout(module: nn.Module, cohort: Cohort, phase: Phase, member: int) -> Iterator[None]:
    """Where the net has dropout: seed the generator it draws from for one member's phase, inside a fork."""
    if not has_dropout(module):
        yield
        return
    device = cohort.data.inputs.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(
            stream_key(cohort.seed, "dropout", phase.stream, cohort.side, cohort.keys[member], cohort.round_index)
        )
        yield
