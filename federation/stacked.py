"""The `stacked` engine: all members of a cohort are trained at once, one kernel for all of them (federation room).

A step of K members is one forward pass of K stacked nets (`torch.vmap` over a functional call), one backward pass of
the sum of their losses, whose gradient is each member's own, and one fused optimizer step on stacked tensors, which
works entry by entry. Best on a GPU, where nets as small as ours wait for kernels to be launched.

Members with more batches than others are sorted to the front; each step trains those that still have one. What all
members read, public inputs, is there once. Nets with dropout draw masks member by member and go to another engine.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pad_sequence

from .batches import Batch, Teaching
from .feeding import Draws, batches_of, draw, make_batch, noise_like, noise_stream
from .optimizers import clip_rows
from .phase import has_dropout, training_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from .cohort import Cohort
    from .engine import Engine
    from .payloads import Tree
    from .phase import Objective, Phase


class StackedEngine:
    """All members at once, on copies of their rows of the storage that are written back at the end of a phase.

    Args:
        otherwise: trains nets with dropout.
    """

    def __init__(self, *, otherwise: Engine) -> None:
        self._otherwise = otherwise

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """See `Engine.fit`."""
        if has_dropout(cohort.models.template):
            return self._otherwise.fit(cohort, phase)
        stack = _Stack(cohort, phase)
        for index, fed in enumerate(stack.feed()):
            for number, step in enumerate(phase.steps):
                for _ in range(step.repeat):
                    losses = stack.take(number, index, fed)
                    if number == 0:
                        stack.losses[: fed.active] += losses / step.repeat
        return stack.write_back()

    def predict(self, cohort: Cohort, inputs: Tensor, chunk: int) -> Tensor:
        """See `Engine.predict`."""
        module = cohort.models.template.eval()
        output = torch.vmap(lambda weights, x: functional_call(module, weights, (x,)), in_dims=(0, None))
        weights = cohort.weights
        with torch.no_grad():
            return torch.cat([output(weights, piece) for piece in torch.split(inputs, chunk)], dim=1)


@dataclass(frozen=True)
class _Fed:
    """The stacked batches of one step."""

    active: int
    """Members that have a batch."""
    parts: dict[str, Any]
    """The fields of a `Batch` by name; each tensor has an axis over the active members unless all share it."""
    axes: dict[str, Any]
    """For each of them, 0, or None where it is shared."""


class _Stack:
    """The members of a cohort in one phase, those with most batches first, and what training changes.

    In a step with m active members the first m rows of everything are used.
    """

    def __init__(self, cohort: Cohort, phase: Phase) -> None:
        self.cohort, self.phase, models = cohort, phase, cohort.models
        module = training_mode(models.template, phase)
        self.tasks = [_Task(module, step.objective) for step in phase.steps]
        self.kept = [
            models.kept_moments(phase.state_name(number), step.trainable, step.optimizer.slots)
            for number, step in enumerate(phase.steps)
            if phase.persist
        ]
        batches = [batches_of(cohort, phase, member) for member in range(len(cohort))]
        counts = self._kept_counts()
        self.members = sorted(range(len(cohort)), key=lambda member: (-batches[member], counts[member]))
        self.batches = [batches[member] for member in self.members]
        self.kin = self._kin([counts[member] for member in self.members])
        self.places = self._index(self.members)
        self.rows = self._index([cohort.rows[member] for member in self.members])
        self.parameters, self.buffers = _picked(models.parameters, self.rows), _picked(models.buffers, self.rows)
        self.moments = [self._moments(number) for number in range(len(phase.steps))]
        self.free: Tree = _picked(phase.entries or {}, self.places)
        self.losses = torch.zeros(len(cohort), dtype=cohort.data.dtype, device=self.rows.device)

    def feed(self) -> Iterator[_Fed]:
        """The batches of all steps, those that every member would read on its own."""
        cohort, phase = self.cohort, self.phase
        draws = _stacked([draw(cohort, phase, member) for member in self.members])
        streams = [noise_stream(cohort, phase, member) for member in self.members if phase.noise]
        given = {name: _picked(value, self.places) for name, value in phase.per_client.items()}
        alike = isinstance(phase.on, Teaching)  # then all members read the same inputs
        for step in range(self.batches[0]):
            active = sum(batches > step for batches in self.batches)
            batch = make_batch(cohort, phase, _of_step(draws, step, active), self.places[:active, None])
            batch.extra = {name: _first(value, active) for name, value in given.items()}
            if streams:
                one = batch.x if alike else batch.x[0]
                batch.noise = torch.stack([noise_like(one, stream) for stream in streams[:active]])
            yield _Fed(active, *_split(batch, alike))

    def take(self, number: int, index: int, fed: _Fed) -> Tensor:
        """Take one update of step `number` on the batches with an index; returns the losses before it."""
        step, active = self.phase.steps[number], fed.active
        now = _first({**self.parameters, **self.buffers}, active)
        leaves = {key: now[key].detach().requires_grad_() for key in step.trainable}
        losses = torch.vmap(self.tasks[number].loss, in_dims=(0, fed.axes))({**now, **leaves}, fed.parts)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
        gradients = [gradient.contiguous() for gradient in found]  # fused kernels read them as dense
        if self.phase.clip is not None:
            clip_rows(gradients, self.phase.clip)
        held = {key: now[key].clone() for key in step.trainable if self.free}
        self._descend(number, index, gradients)
        for key, (lowest, highest) in step.within.items():
            now[key].clamp_(lowest, highest)
        for key, old in held.items():  # masks the update, whatever the optimizer made of the gradient
            now[key].copy_(torch.where(self.free[key][:active], now[key], old))
        return losses.detach()

    def write_back(self) -> tuple[tuple[int, ...], Tensor]:
        """Put everything where the cohort has it; returns steps and mean losses in the members' order."""
        models = self.cohort.models
        for key in self.phase.trained:
            models.parameters[key][self.rows] = self.parameters[key]
        for key, buffer in self.buffers.items():
            models.buffers[key][self.rows] = buffer
        for number, kept in enumerate(self.kept):
            for key, moment in self.moments[number].items():
                if key.startswith("steps:"):  # only the first of each kind counted
                    for kin in self.kin:
                        moment[kin] = moment[kin.start].clone()
                kept[key][self.rows] = moment
        back = self.places.argsort()
        steps = [batches * self.phase.updates_per_batch for batches in self.batches]
        means = self.losses / self._index(self.batches).clamp_min(1)
        return tuple(steps[place] for place in back.tolist()), means[back]

    def _descend(self, number: int, index: int, gradients: Sequence[Tensor]) -> None:
        """One step of the optimizer, together for members with the same learning rate and counters."""
        step, moments, active = self.phase.steps[number], self.moments[number], len(gradients[0])
        for kin in self.kin:
            rows = slice(kin.start, min(kin.stop, active))
            if rows.start < active:
                step.optimizer.at(index, self.batches[kin.start]).step(
                    [self.parameters[key][rows] for key in step.trainable],
                    [gradient[rows] for gradient in gradients],
                    [[moments[f"{slot}:{key}"][rows] for key in step.trainable] for slot in step.optimizer.slots],
                    [moments[f"steps:{key}"][kin.start] for key in step.trainable],
                )

    def _kept_counts(self) -> list[tuple[float, ...]]:
        """For each member the steps that its optimizers have counted, the only look at the device."""
        rows = self._index(self.cohort.rows)
        counters = [
            kept[f"steps:{key}"][rows]
            for number, kept in enumerate(self.kept)
            for key in self.phase.steps[number].trainable
        ]
        return [tuple(row) for row in torch.stack(counters, dim=1).tolist()] if counters else [()] * len(rows)

    def _kin(self, counts: Sequence[tuple[float, ...]]) -> list[slice]:
        """Runs of members whose optimizers do the same in every step: all of them, or those with equal counts."""
        scheduled = any(step.optimizer.schedule != "constant" for step in self.phase.steps)
        if not self.kept and not scheduled:
            return [slice(0, len(counts))]
        alike = list(zip(self.batches, counts, strict=True))
        runs = [list(run) for _, run in groupby(range(len(alike)), key=alike.__getitem__)]
        return [slice(run[0], run[-1] + 1) for run in runs]

    def _moments(self, number: int) -> Tree:
        """Moments and counters of one of the phase's steps, a row per member: fresh, or what earlier rounds left."""
        step = self.phase.steps[number]
        if self.kept:
            names = [f"{slot}:{key}" for slot in (*step.optimizer.slots, "steps") for key in step.trainable]
            return {name: self.kept[number][name][self.rows] for name in names}
        fresh: Tree = {}
        for key in step.trainable:
            fresh |= {f"{slot}:{key}": torch.zeros_like(self.parameters[key]) for slot in step.optimizer.slots}
            fresh[f"steps:{key}"] = torch.zeros(len(self.members), dtype=torch.float32, device=self.rows.device)
        return fresh

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self.cohort.data.inputs.device)


class _Task(nn.Module):
    """A net and the objective of a step, which is shown the net with one member's weights in it."""

    def __init__(self, net: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.net = net
        self.objective = objective

    def forward(self, parts: dict[str, Any]) -> Tensor:
        return self.objective(self.net, _joined(parts))

    def loss(self, weights: Tree, parts: dict[str, Any]) -> Tensor:
        """The loss of one member with these weights on a batch in parts."""
        value: Tensor = functional_call(self, {f"net.{name}": tensor for name, tensor in weights.items()}, (parts,))
        return value


def _stacked(draws: Sequence[Draws]) -> Draws:
    """Draws of several members, the longest first, with an axis over members; padded where a member has no step.

    Public samples that all read in one order keep the first member's: the others' are as far as they go the same.
    """

    def stack(name: str, first: Tensor) -> Tensor:
        if name == "public" and draws[0].own is None:
            return first
        return pad_sequence([getattr(drawn, name) for drawn in draws], batch_first=True)

    return draws[0].mapped(stack)


def _of_step(draws: Draws, step: int, active: int) -> Draws:
    """What the active members read in one step."""
    shared = "public" if draws.own is None else None
    return draws.mapped(lambda name, tensor: tensor[step] if name == shared else tensor[:active, step])


def _split(batch: Batch, alike: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of a stacked batch, and the axis of each that runs over members; inputs that are alike have none."""
    parts = {item.name: getattr(batch, item.name) for item in fields(batch)}
    parts = {name: part for name, part in parts.items() if part is not None}
    axes: dict[str, Any] = {name: None if name == "x" and alike else 0 for name in parts}
    if batch.public is not None:
        parts["public"], axes["public"] = _split(batch.public, alike=True)
    return parts, axes


def _joined(parts: dict[str, Any]) -> Batch:
    """One member's batch of what `_split` made."""
    whole: dict[str, Any] = {name: _joined(part) if name == "public" else part for name, part in parts.items()}
    return Batch(**whole)


def _picked(value: Any, rows: Tensor) -> Any:
    """A copy of some rows of a tensor or of every tensor of a tree."""
    return {name: tensor[rows] for name, tensor in value.items()} if isinstance(value, dict) else value[rows]


def _first(value: Any, active: int) -> Any:
    """The first rows of a tensor or of every tensor of a tree, as views."""
    return {name: tensor[:active] for name, tensor in value.items()} if isinstance(value, dict) else value[:active]
