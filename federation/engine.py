"""How a cohort is trained: engines by name, and the `loop` engine, one member after the other.

An engine runs a `Phase` over a `Cohort` and predicts with it; nothing else in the project knows how many
models are trained at once. `stacked.py` has the other engine. Both train on the batches of `feeding.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .counters import derived
from .data import gathered
from .feeding import Draws, batches_of, draw, make_batch
from .models.dropout import masks_from
from .optimizers import clip_gradients
from .phase import training_mode
from .precision import arithmetic
from .stacked import StackedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from .batches import Batch
    from .cohort import Cohort
    from .optimizers import Optimizer
    from .payloads import Tree
    from .phase import Phase, ResolvedStep

CHUNK = 256
"""Samples per forward pass on a CPU: activations of more leave its cache, and convolutions take twice as long."""

_DOUBLES: WeakKeyDictionary[nn.Module, list[nn.Module]] = WeakKeyDictionary()
"""Modules of an architecture for threads, by the one that everything else uses."""

Result = TypeVar("Result")


class Engine(Protocol):
    """What a cohort needs from an engine."""

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """Train every member in place; return steps and mean loss of each."""

    def predict(self, cohort: Cohort, inputs: Tensor) -> Tensor:
        """Logits of every member in evaluation mode, shape (members, samples, classes)."""


DENSE = 1 << 16
"""Most weights of a net of linear layers that is stacked on a CPU: twenty clients with such nets stay in its cache."""

FEW = 4
"""Members below which a CPU loops: stacking costs a step about as much as three more members."""


def engine(name: Literal["auto", "loop", "stacked"], cohort: Cohort) -> Engine:
    """The engine called `name`, or the one that `auto` means for a cohort."""
    return ENGINES[chosen_engine(name, cohort.data.device.type, cohort.models.template, len(cohort))]


def chosen_engine(
    name: Literal["auto", "loop", "stacked"], kind: str, net: nn.Module, members: int
) -> Literal["loop", "stacked"]:
    """What `auto` means, as measured (docs/engines.md).

    On a GPU everything is stacked. On a CPU small nets of linear layers are, which wait for Python more than for
    arithmetic; convolutions are slower when grouped, and larger nets fall out of the cache.

    Args:
        name: as asked for; all but `auto` is the answer itself.
        kind: of the device, "cpu" or "cuda".
        net: the members' net.
        members: how many are trained.
    """
    if name != "auto":
        return name
    return "stacked" if kind == "cuda" or (members >= FEW and _is_small_and_dense(net)) else "loop"


def _is_small_and_dense(net: nn.Module) -> bool:
    owners = [module for module in net.modules() if next(module.parameters(recurse=False), None) is not None]
    return all(isinstance(module, nn.Linear) for module in owners) and (
        sum(parameter.numel() for parameter in net.parameters()) <= DENSE
    )


class LoopEngine:
    """One member after the other: real autograd on views of the storage, fused optimizer steps.

    Best on a CPU, where it keeps one member's weights in cache. With more than one thread members are trained side by
    side, each by one thread, which changes no bit of the result.

    Args:
        backwards: train from the last member to the first, which must not matter (the methods' contract looks).
    """

    def __init__(self, *, backwards: bool = False) -> None:
        self._direction = -1 if backwards else 1

    def fit(self, cohort: Cohort, phase: Phase) -> tuple[tuple[int, ...], Tensor]:
        """See `Engine.fit`."""
        if phase.persist:  # made before threads look for them
            for number, step in enumerate(phase.steps):
                cohort.models.kept_moments(phase.state_name(number), step.trainable, step.optimizer.slots)
        members: Sequence[int] = range(len(cohort))[:: self._direction]
        if _threads(cohort) > 1:  # the longest first, so that no thread is left with them at the end
            members = sorted(members, key=lambda member: -batches_of(cohort, phase, member))
        done = side_by_side(
            cohort.models.template,
            _threads(cohort),
            members,
            lambda module, member: _fit_member(cohort, phase, training_mode(module, phase), member),
        )
        steps, losses = zip(*(done[member] for member in range(len(cohort))), strict=True)
        return steps, torch.stack(losses)

    def predict(self, cohort: Cohort, inputs: Tensor) -> Tensor:
        """See `Engine.predict`."""
        models = cohort.models

        def outputs(module: nn.Module, member: int) -> Tensor:
            bind(module.eval(), models.parameters, models.buffers, cohort.rows[member])
            with torch.inference_mode(), arithmetic(cohort.training, inputs.device):
                return torch.cat([module(piece) for piece in torch.split(inputs, CHUNK)]).to(inputs.dtype)

        done = side_by_side(models.template, _threads(cohort), range(len(cohort)), outputs)
        return torch.stack([done[member] for member in range(len(cohort))])


ENGINES: dict[str, Engine] = {"loop": LoopEngine(), "stacked": StackedEngine()}


def side_by_side(
    module: nn.Module, threads: int, jobs: Sequence[int], work: Callable[[nn.Module, int], Result]
) -> dict[int, Result]:
    """Do jobs that each need a module of an architecture to themselves, by number, some at a time.

    Args:
        module: one of the architecture.
        threads: how many at a time.
        jobs: their numbers, in the order in which they are begun.
        work: does one job with a module whose weights do not matter.
    """
    if threads == 1 or len(jobs) < 2:
        return {job: work(module, job) for job in jobs}
    doubles = _DOUBLES.setdefault(module, [])
    with torch.inference_mode(
        mode=False
    ):  # they may be asked for first where nothing is trained, and trained with later
        while len(doubles) < min(threads, len(jobs)):
            doubles.append(deepcopy(module))
    free = doubles[: min(threads, len(jobs))]

    def do(job: int) -> Result:
        mine = free.pop()
        try:
            return work(mine, job)
        finally:
            free.append(mine)

    with ThreadPoolExecutor(len(free)) as pool:
        return dict(zip(jobs, pool.map(do, jobs), strict=True))


def bind(module: nn.Module, parameters: Tree, buffers: Tree, row: int) -> None:
    """Make a module's parameters and buffers views of one row of stacked storage."""
    for name, parameter in module.named_parameters():
        parameter.data = parameters[name][row]
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name][row]


def member_batches(cohort: Cohort, phase: Phase, member: int) -> Iterator[Batch]:
    """The batches of one member in this phase."""
    device = cohort.data.device

    def placed(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.to(device)
        if name != "private":
            return tensor
        rows = cohort.private_rows[member]
        return gathered(rows, tensor) if rows.numel() else tensor  # any row will do where none is own

    drawn: Draws = draw(cohort, phase, member).mapped(placed)
    extra = {name: _row(value, member) for name, value in phase.per_client.items()}
    for step in drawn.steps(batches_of(cohort, phase, member)):
        batch = make_batch(cohort, phase, step, member)
        batch.extra = extra
        yield batch


def _threads(cohort: Cohort) -> int:
    return cohort.execution.threads or 1 if cohort.data.device.type == "cpu" else 1


def _fit_member(cohort: Cohort, phase: Phase, module: nn.Module, member: int) -> tuple[int, Tensor]:
    row = cohort.rows[member]
    bind(module, cohort.models.parameters, cohort.models.buffers, row)
    named, trained = dict(module.named_parameters()), phase.trained
    for key, parameter in named.items():
        parameter.requires_grad_(key in trained)
    states = [_moments(cohort, phase, number, row) for number in range(len(phase.steps))]
    free = None if phase.entries is None else {key: tensor[member] for key, tensor in phase.entries.items()}
    batches = batches_of(cohort, phase, member)
    total = torch.zeros((), dtype=cohort.data.dtype, device=cohort.data.device)
    for index, batch in enumerate(member_batches(cohort, phase, member)):
        for number, (step, state) in enumerate(zip(phase.steps, states, strict=True)):
            optimizer = step.optimizer.at(index, batches)
            for again in range(step.repeat):
                masks = None if batch.masks is None else derived(batch.masks, phase.update(number, again))
                with masks_from(masks), arithmetic(cohort.training, total.device):
                    loss = step.objective(module, batch)
                _descend(step, optimizer, named, loss, state, phase.clip, free)
                if number == 0:
                    total += loss.detach() / step.repeat
    return batches * phase.updates_per_batch, total / max(batches, 1)


def _row(value: Tensor | Tree, member: int) -> Tensor | Tree:
    return {name: tensor[member] for name, tensor in value.items()} if isinstance(value, dict) else value[member]


def _moments(cohort: Cohort, phase: Phase, number: int, row: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Moments and counters of one member in one of the phase's steps: fresh, or views of what earlier rounds left."""
    step = phase.steps[number]
    parameters, slots = cohort.models.parameters, step.optimizer.slots
    if not phase.persist:
        fresh = [[torch.zeros_like(parameters[key][row]) for key in step.trainable] for _ in slots]
        return fresh, [torch.zeros((), dtype=torch.float32, device=cohort.data.device) for _ in step.trainable]
    kept = cohort.models.kept_moments(phase.state_name(number), step.trainable, slots)
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
    clip: float | None,
    free: Mapping[str, Tensor] | None,
) -> None:
    """Take one update down the gradient of a loss."""
    trained = [named[key] for key in step.trainable]
    gradients = [
        torch.zeros_like(parameter) if gradient is None else gradient.contiguous()  # fused kernels read it as dense
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True)
    ]
    if clip is not None:
        clip_gradients(gradients, clip)
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
