"""The `stacked` engine: all members of a cohort are trained at once, one kernel for all of them (federation room).

A step of K members is one forward pass of K stacked nets (`torch.vmap` over a functional call), one backward pass of
the sum of their losses, whose gradient is each member's own, and one fused optimizer step on stacked tensors, which
works entry by entry. Best on a GPU, where nets as small as ours wait for kernels to be launched.

Members with more batches than others are sorted to the front. On a CPU each step trains those that still have one. On a
GPU steps are recorded as CUDA graphs, which have one shape: while more than half of the members of a graph still have
batches, the others are carried along and their updates thrown away. What all members read, public inputs, is there
once. Nothing in a phase waits for the device.

Cohorts that do not fit into memory are trained in chunks (`memory.py`). Members know nothing of each other and train on
copies of their weights that are written back at the end, so a chunk that runs out of memory is done again in halves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pad_sequence

from fl_bench.errors import ConfigError

from .batches import Batch, Teaching
from .counters import derived
from .data import gathered
from .feeding import ROWS, Draws, batches_of, draw, first_pass, make_batch
from .forward import stacked_outputs
from .graphs import NotRecordable, Recorder
from .memory import in_pieces, members_at_once, samples_at_once
from .models.dropout import masks_from
from .optimizers import clip_rows
from .phase import training_mode
from .precision import arithmetic
from .work import Trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from .members import Members
    from .payloads import Tree
    from .phase import Objective, Phase, ResolvedStep


REFUSED = {
    "vmap: called random": (
        "draws random numbers of its own, which no run could repeat: ask for `fit(noise=True)` and use `batch.noise`"
    ),
    "vmap:": (
        "looks at its numbers (an `if` on a loss, .item()), which cannot be done for all clients at once: "
        "write it with torch.where, or run it with -o training.engine=loop"
    ),
    "element 0 of tensors does not require grad": (
        "calls torch.autograd or backward(), which see no single client here: take inner gradients with "
        "torch.func.grad, or run it with -o training.engine=loop"
    ),
}
"""What torch says of an objective that cannot be run for all clients at once, and what we say; the first that fits."""

BATCHES = ("public", "second")
"""Fields of a `Batch` that hold another."""


class StackedEngine:
    """All members at once, on copies of their rows of the storage that are written back at the end of a phase."""

    def fit(self, members: Members, phase: Phase) -> Trained:
        """See `Engine.fit`."""
        batches = [batches_of(members, phase, member) for member in range(len(members))]
        losses = torch.zeros(len(members), dtype=members.data.dtype, device=members.data.device)
        first = torch.zeros_like(losses) if phase.measures_cross_entropy else None

        recorder = Recorder.of(members.execution, members.data.device)

        def train(some: Sequence[int]) -> None:
            stack = _Stack(members, phase, some)
            try:
                stack.run(recorder)
            except NotRecordable:
                stack = _Stack(members, phase, some)  # nothing was written back: from the start
                stack.run(None)
            stack.write_back(losses, first)

        longest_first = sorted(range(len(members)), key=lambda member: -batches[member])
        in_pieces(longest_first, members_at_once(members, phase), train)
        return Trained(tuple(map(phase.updates, batches)), losses, first)

    def predict(self, members: Members, inputs: Tensor) -> Tensor:
        """See `Engine.predict`."""
        models = members.models
        logits = None

        def run(rows: Sequence[int]) -> None:
            nonlocal logits
            piece = inputs[rows[0] : rows[-1] + 1]
            with torch.no_grad(), arithmetic(members.training, inputs.device):
                found = stacked_outputs(models.template.eval(), members.weights, piece, shared=True)
            if logits is None:
                logits = inputs.new_empty(len(members), len(inputs), *found.shape[2:])
            logits[:, rows[0] : rows[-1] + 1] = found

        most = samples_at_once(models.template, len(members), tuple(inputs.shape[1:]), inputs.dtype, inputs.device)
        in_pieces(range(len(inputs)), most, run)
        return inputs.new_empty(len(members), 0, members.data.about.classes) if logits is None else logits


def _for_all(loss: Callable[..., Tensor], weights: Tree, parts: dict[str, Any], axes: dict[str, Any]) -> Tensor:
    """An objective's loss of every member, shape (members,)."""
    try:
        losses: Tensor = torch.vmap(loss, in_dims=(0, axes))(weights, parts)
    except RuntimeError as error:
        for sign, reason in REFUSED.items():
            if str(error).startswith(sign):
                raise ConfigError(f"the objective {reason}") from error
        raise
    return losses


@dataclass(frozen=True)
class _Fed:
    """The stacked batches of one step."""

    active: int
    """Members that take part."""
    alive: Tensor | None
    """Which of them still have a batch, shape (active,); None: all of them."""
    parts: dict[str, Any]
    """The fields of a `Batch` by name; each tensor has an axis over the active members unless all share it."""
    axes: dict[str, Any]
    """For each of them, 0, or None where it is shared."""


@dataclass(frozen=True)
class _Stretch:
    """Steps that are taken with the same members."""

    active: int
    """The first so many."""
    first: int
    stop: int
    uneven: bool
    """Whether some of them have no batch in some of the steps."""


class _Stack:
    """Some members of a cohort in one phase, those with most batches first, and what training changes.

    In a step with m active members the first m rows of everything are used.
    """

    def __init__(self, members: Members, phase: Phase, some: Sequence[int]) -> None:
        self.members, self.phase, models = members, phase, members.models
        module = training_mode(models.template, phase)
        self.tasks = [_Task(module, step.objective) for step in phase.steps]
        self.kept = [
            models.kept_moments(phase.state_name(number), step.trainable, step.optimizer.slots)
            for number, step in enumerate(phase.steps)
            if phase.persist
        ]
        batches = {member: batches_of(members, phase, member) for member in some}
        counts = self._kept_counts(some)
        self.order = sorted(some, key=lambda member: (-batches[member], counts[member]))
        self.batches = [batches[member] for member in self.order]
        self.kin = self._kin([counts[member] for member in self.order])
        self.places = self._index(self.order)
        self.rows = self._index([members.rows[member] for member in self.order])
        self.parameters, self.buffers = _picked(models.parameters, self.rows), _picked(models.buffers, self.rows)
        self.moments = [self._moments(number) for number in range(len(phase.steps))]
        self.free: Tree = _picked(phase.entries or {}, self.places)
        self.given = {name: _picked(value, self.places) for name, value in phase.per_client.items()}
        self.left = self._index(self.batches)
        first = [first_pass(members, phase, member) for member in self.order]
        self.early = self._index(first)
        self.losses = torch.zeros(len(some), dtype=members.data.dtype, device=members.data.device)
        apart = phase.measures_cross_entropy and first != self.batches
        self.early_losses = torch.zeros_like(self.losses) if apart else self.losses
        self.draws = self._drawn()

    def run(self, recorder: Recorder | None) -> None:
        """Take all steps, recorded where that is possible: learning rates that change and first batches that have
        steps of their own are not."""
        if any(step.optimizer.schedule != "constant" for step in self.phase.steps):
            recorder = None
        early = max(step.batches or 0 for step in self.phase.steps)
        for stretch in _stretches(self.batches, exact=recorder is None):
            unlike = stretch.stop if recorder is None else min(max(early, stretch.first), stretch.stop)
            for step in range(stretch.first, unlike):
                self._batch(stretch, step)
            if recorder is not None and unlike < stretch.stop:
                recorder.repeat(partial(self._batch, stretch), unlike, stretch.stop)

    def write_back(self, losses: Tensor, first: Tensor | None) -> None:
        """Put everything where the storage has it.

        Args:
            losses: takes the mean losses, shape (members,).
            first: takes those of the first pass, shape (members,), where they are measured.
        """
        models = self.members.models
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
        losses[self.places] = self.losses / self.left.clamp_min(1)
        if first is not None:
            first[self.places] = self.early_losses / self.early.clamp_min(1)

    def _batch(self, stretch: _Stretch, step: int | Tensor) -> None:
        """Take all updates on the batches of one step; a step that is a tensor, shape (1,), is read by the device."""
        fed = self._fed(stretch, step)
        for number, update in enumerate(self.phase.steps):
            if update.batches is not None and not (isinstance(step, int) and update.due(step)):
                continue  # a step that the device reads lies behind the first batches
            for again in range(update.repeat):
                losses = self._take(number, again, step, fed)
                if fed.alive is not None:
                    losses = torch.where(fed.alive, losses, 0.0)
                if number == 0:
                    self.losses[: fed.active] += losses / update.repeat
                    if self.early_losses is not self.losses:
                        early = torch.where(self.early[: fed.active] > step, losses, 0.0)
                        self.early_losses[: fed.active] += early / update.repeat

    def _fed(self, stretch: _Stretch, step: int | Tensor) -> _Fed:
        """The batches that the members would read one by one."""
        phase, active = self.phase, stretch.active
        alike = isinstance(phase.on, Teaching)  # then all members read the same inputs
        drawn = _of_step(self.draws, step, active, shared=self.draws.own is None)
        batch = make_batch(self.members, phase, drawn, self.places[:active, None])
        batch.extra = {name: _first(value, active) for name, value in self.given.items()}
        alive = self.left[:active] > step if stretch.uneven else None
        return _Fed(active, alive, *_split(batch, alike))

    def _take(self, number: int, again: int, step: int | Tensor, fed: _Fed) -> Tensor:
        """Take one update of the phase's step `number`; returns the losses before it."""
        update, active = self.phase.steps[number], fed.active
        now = _first({**self.parameters, **self.buffers}, active)
        before = self._before(number, fed)
        leaves = {key: now[key].detach().requires_grad_() for key in update.trainable}
        parts = dict(fed.parts)
        if "masks" in parts:
            parts["masks"] = derived(parts["masks"], self.phase.update(number, again))
        with arithmetic(self.members.training, self.losses.device):
            losses = _for_all(self.tasks[number].loss, {**now, **leaves}, parts, fed.axes)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
        gradients = [gradient.contiguous() for gradient in found]  # fused kernels read them as dense
        if update.clip is not None:
            clip_rows(gradients, update.clip)
        self._descend(update, self.moments[number], step, gradients)
        for key, (lowest, highest) in update.within.items():
            now[key].clamp_(lowest, highest)
        for key, free in self.free.items():  # masks the update, whatever the optimizer made of the gradient
            if key in leaves:
                now[key].copy_(torch.where(free[:active], now[key], before[key]))
        if fed.alive is not None:
            for key, old in before.items():
                new = now[key] if key in now else self.moments[number][key][:active]
                new.copy_(torch.where(fed.alive.view(-1, *[1] * (old.dim() - 1)), new, old))
        return losses.detach()

    def _before(self, number: int, fed: _Fed) -> Tree:
        """Copies of what an update may have to take back: of all it changes, or of parameters that are masked."""
        active, update = fed.active, self.phase.steps[number]
        if fed.alive is not None:
            trained = {key: self.parameters[key] for key in update.trainable}
            changed = {**trained, **self.buffers, **self.moments[number]}
        else:
            changed = {key: self.parameters[key] for key in update.trainable if self.free}
        return {key: tensor[:active].clone() for key, tensor in changed.items()}

    def _descend(self, update: ResolvedStep, moments: Tree, step: int | Tensor, gradients: Sequence[Tensor]) -> None:
        """One step of the optimizer, together for members with the same learning rate and counters."""
        active = len(gradients[0]) if gradients else 0
        for kin in self.kin:
            rows = slice(kin.start, min(kin.stop, active))
            if rows.start < active:
                rule = update.optimizer
                if isinstance(step, int):
                    rule = rule.at(step, self.batches[kin.start])
                rule.step(
                    [self.parameters[key][rows] for key in update.trainable],
                    [gradient[rows] for gradient in gradients],
                    [[moments[f"{slot}:{key}"][rows] for key in update.trainable] for slot in rule.slots],
                    [moments[f"steps:{key}"][kin.start] for key in update.trainable],
                )

    def _drawn(self) -> Draws:
        """What all members read in all steps, on the device in one transfer per kind; rows of the data set."""
        members, device = self.members, self.members.data.device
        drawn = _stacked([draw(members, self.phase, member) for member in self.order])
        owned = [members.private_rows[member] for member in self.order] if drawn.private is not None else []
        starts = torch.tensor([0, *[rows.numel() for rows in owned[:-1]]]).cumsum(0)

        def placed(name: str, tensor: Tensor) -> Tensor:
            if name in ROWS:  # positions of a member become positions in all members' rows, end to end
                tensor = (tensor + starts[:, None, None]).clamp_max(max(0, sum(rows.numel() for rows in owned) - 1))
            return _moved(tensor, device)

        drawn = drawn.mapped(placed)
        if drawn.private is None or not any(rows.numel() for rows in owned):
            return drawn
        joined = torch.cat(owned)
        return drawn.mapped(lambda name, tensor: gathered(joined, tensor) if name in ROWS else tensor)

    def _kept_counts(self, some: Sequence[int]) -> dict[int, tuple[float, ...]]:
        """For each member the steps that its optimizers have counted, the only look at the device."""
        rows = self._index([self.members.rows[member] for member in some])
        counters = [
            kept[f"steps:{key}"][rows]
            for number, kept in enumerate(self.kept)
            for key in self.phase.steps[number].trainable
        ]
        counted = [tuple(row) for row in torch.stack(counters, dim=1).tolist()] if counters else [()] * len(some)
        return dict(zip(some, counted, strict=True))

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
            fresh[f"steps:{key}"] = torch.zeros(len(self.order), dtype=torch.float32, device=self.rows.device)
        return fresh

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return _moved(torch.tensor(numbers), self.members.data.device)


class _Task(nn.Module):
    """A net and the objective of a step, which is shown the net with one member's weights in it."""

    def __init__(self, net: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.net = net
        self.objective = objective

    def forward(self, parts: dict[str, Any]) -> Tensor:
        batch = _joined(parts)
        with masks_from(batch.masks):
            return self.objective(self.net, batch)

    def loss(self, weights: Tree, parts: dict[str, Any]) -> Tensor:
        """The loss of one member with these weights on a batch in parts."""
        value: Tensor = functional_call(self, {f"net.{name}": tensor for name, tensor in weights.items()}, (parts,))
        return value


def _stretches(batches: Sequence[int], *, exact: bool) -> Iterator[_Stretch]:
    """The steps of members with so many batches each, the most first, in stretches with the same active members.

    Args:
        batches: of each member, descending.
        exact: whether a member leaves when it is done. If not, a stretch goes on while more than half are active.
    """
    step = 0
    while step < batches[0]:
        active = sum(number > step for number in batches)
        needed = active - 1 if exact else active // 2  # go on while more than so many are active
        stop = batches[needed]
        yield _Stretch(active, step, stop, uneven=batches[active - 1] < stop)
        step = stop


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, without waiting for it."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _stacked(draws: Sequence[Draws]) -> Draws:
    """Draws of several members, the longest first, with an axis over members; padded where a member has no step.

    Public samples that all read in one order keep the first member's: the others' are as far as they go the same.
    """

    def stack(name: str, first: Tensor) -> Tensor:
        if name == "public" and draws[0].own is None:
            return first
        return pad_sequence([getattr(drawn, name) for drawn in draws], batch_first=True)

    return draws[0].mapped(stack)


def _of_step(draws: Draws, step: int | Tensor, active: int, *, shared: bool) -> Draws:
    """What the active members read in one step; `shared`: public samples have no axis over members."""

    def of_step(name: str, tensor: Tensor) -> Tensor:
        axis = 0 if name == "public" and shared else 1
        tensor = tensor if axis == 0 else tensor[:active]
        return tensor.select(axis, step) if isinstance(step, int) else tensor.index_select(axis, step).squeeze(axis)

    return draws.mapped(of_step)


def _split(batch: Batch, alike: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of a stacked batch, and the axis of each that runs over members; inputs that are alike have none."""
    parts = {item.name: getattr(batch, item.name) for item in fields(batch)}
    parts = {name: part for name, part in parts.items() if part is not None}
    axes: dict[str, Any] = {name: None if name == "x" and alike else 0 for name in parts}
    for name, inner in (("public", batch.public), ("second", batch.second)):
        if inner is not None:
            parts[name], axes[name] = _split(inner, alike=name == "public")
    return parts, axes


def _joined(parts: dict[str, Any]) -> Batch:
    """One member's batch of what `_split` made."""
    whole: dict[str, Any] = {name: _joined(part) if name in BATCHES else part for name, part in parts.items()}
    return Batch(**whole)


def _picked(value: Any, rows: Tensor) -> Any:
    """A copy of some rows of a tensor or of every tensor of a tree."""
    return {name: tensor[rows] for name, tensor in value.items()} if isinstance(value, dict) else value[rows]


def _first(value: Any, active: int) -> Any:
    """The first rows of a tensor or of every tensor of a tree, as views."""
    return {name: tensor[:active] for name, tensor in value.items()} if isinstance(value, dict) else value[:active]
