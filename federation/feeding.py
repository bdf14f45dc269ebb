"""What members are fed in a phase: which samples in which order, and the batches made of them (federation room).

Everything random is drawn here, on the host, before the phase starts and member by member, so that every engine trains
on the same batches. What is drawn are positions and keys of streams; inputs are gathered from the device's one copy of
the data step by step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from fl_bench.streams import numpy_stream, stream_key

from . import augment
from .batches import Batch, Beside, Pairs, PrivateData, Teaching, Together, positions, steps_of
from .counters import normal, step_keys
from .data import gathered
from .models.dropout import has_dropout

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .members import Members
    from .phase import Phase


ROWS = ("private", "second")
"""Fields of `Draws` that name private samples: by their position as they are drawn, then by their row in the data."""


@dataclass(frozen=True)
class Draws:
    """The samples of one step, of all steps, or of all steps of several members, by the axes before those named."""

    private: Tensor | None = None
    """Rows of the data set, shape (..., batch); as they are drawn, positions among the member's private samples."""
    crops: Tensor | None = None
    """What `augment.draw` drew for them, shape (..., batch, 3)."""
    places: Tensor | None = None
    """The same samples as positions among the member's own, where it was told something about each: (..., batch)."""
    second: Tensor | None = None
    """As `private`, of the second batch of `Pairs`."""
    second_crops: Tensor | None = None
    """As `crops`, of the second batch."""
    public: Tensor | None = None
    """Positions in the public set, shape (..., batch)."""
    own: Tensor | None = None
    """Which samples of a set of both kinds are private, shape (..., batch); the others' rows mean nothing."""
    noise: Tensor | None = None
    """Key of the stream that `Batch.noise` comes from, shape (...)."""
    masks: Tensor | None = None
    """Key of the stream that dropout masks come from, shape (...)."""

    def mapped(self, change: Callable[[str, Tensor], Tensor]) -> Draws:
        """The same with every tensor changed, by its name here."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        return Draws(**{name: change(name, tensor) for name, tensor in tensors.items() if tensor is not None})

    def steps(self, count: int) -> list[Draws]:
        """The draws of each of the `count` steps of one member, as views."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        columns = {name: tensor.unbind() for name, tensor in tensors.items() if tensor is not None}
        return [Draws(**{name: column[step] for name, column in columns.items()}) for step in range(count)]


def batches_of(members: Members, phase: Phase, member: int) -> int:
    """Batches of one member in a phase; none where it has no samples, and no more than a deadline leaves it."""
    samples = _samples(members, phase, member)
    if not samples:
        return 0
    whole = steps_of(phase.epochs, samples, members.training.batch_size) if phase.batches is None else phase.batches
    return whole if phase.most is None else min(whole, phase.most[member])


def first_pass(members: Members, phase: Phase, member: int) -> int:
    """Batches of one member in its first pass over its samples."""
    one = steps_of(1, _samples(members, phase, member), members.training.batch_size)
    return min(one, batches_of(members, phase, member))


def draw(members: Members, phase: Phase, member: int) -> Draws:
    """The samples of all steps of one member, from counter-based streams; on the CPU, with an axis of steps first."""
    on, client, moment = phase.on, members.keys[member], members.moment
    steps = batches_of(members, phase, member)

    def order(samples: int, *stream: str | int) -> Tensor:
        drawn = positions(samples, steps, members.training.batch_size, numpy_stream(members.seed, *stream))
        return torch.from_numpy(drawn)

    def keys(purpose: str) -> Tensor:
        return step_keys(stream_key(members.seed, purpose, phase.stream, members.side, client, *moment), steps)

    noise = keys("noise") if phase.noise is not False else None
    masks = keys("dropout") if has_dropout(members.models.template) else None
    if isinstance(on, Teaching):  # one order for all members, so that they can share what does not depend on them
        return Draws(public=order(on.inputs.shape[0], phase.stream, *moment), noise=noise, masks=masks)
    place, public, own = order(_samples(members, phase, member), phase.stream, client, *moment), None, None
    told = place if isinstance(on, PrivateData) and on.target is not None else None
    second = crops = None
    if isinstance(on, Pairs):
        second = order(_samples(members, phase, member), phase.stream, "second", client, *moment)
        crops = _crops(members, phase, member, second, "second")
    if isinstance(on, Together):  # position p >= n_i of the joined set is public sample p - n_i
        samples = members.private_rows[member].numel()
        own = place < samples
        public = (place - samples).clamp_min(0)
        place = place.where(own, 0)
    elif isinstance(on, Beside):
        public = order(on.public.inputs.shape[0], on.public.stream, *moment)
    return Draws(place, _crops(members, phase, member, place), told, second, crops, public, own, noise, masks)


def make_batch(members: Members, phase: Phase, drawn: Draws, member: int | Tensor) -> Batch:
    """The batch of one step: of one member, or stacked over several.

    Args:
        members: who trains.
        phase: on what.
        drawn: the samples of the step on the device, `private` as rows of the data set. Shape (batch,), or
            (members, batch) for several members. Where all members read the same public samples, shape (batch,) makes
            them one copy.
        member: the member; or several, shape (members, 1).
    Returns:
        A batch without `extra`.
    """
    batch = _samples_of(members, phase, drawn, member)
    batch.masks = drawn.masks
    if drawn.noise is not None:
        one = batch.x.shape[drawn.noise.dim() if drawn.private is not None else 0 :]
        shape = one if isinstance(phase.noise, bool) else (one[0], *phase.noise)
        batch.noise = normal(drawn.noise, shape, batch.x.dtype)
    return batch


def _samples_of(members: Members, phase: Phase, drawn: Draws, member: int | Tensor) -> Batch:
    on, data = phase.on, members.data
    if isinstance(on, Teaching):
        return _taught(on, drawn, member)
    assert drawn.private is not None
    x = data.inputs_of(drawn.private, drawn.crops)
    y = gathered(data.labels, drawn.private)
    if isinstance(on, Beside):
        return Batch(x, y, public=_taught(on.public, drawn, member))
    if isinstance(on, Pairs):
        assert drawn.second is not None
        second = data.inputs_of(drawn.second, drawn.second_crops)
        return Batch(x, y, second=Batch(second, gathered(data.labels, drawn.second)))
    if isinstance(on, PrivateData):
        return Batch(x, y, target=None if on.target is None else _of_member(on.target, member, drawn.places))
    own = drawn.own
    assert own is not None
    known = F.one_hot(y.where(own, 0), data.about.classes).to(on.public.target)
    if not on.public.inputs.shape[0]:  # nothing to teach yet
        return Batch(x, target=known)
    told = _taught(on.public, drawn, member)
    assert told.target is not None
    return Batch(
        x.where(own.view(*own.shape, *[1] * (x.dim() - own.dim())), told.x),
        target=known.where(own.unsqueeze(-1), told.target),
        weight=None if told.weight is None else told.weight.masked_fill(own, 1.0),
    )


def _samples(members: Members, phase: Phase, member: int) -> int:
    """Samples of the set that one member passes over."""
    if isinstance(phase.on, Teaching):
        return phase.on.inputs.shape[0]
    private = members.private_rows[member].numel()
    return private + phase.on.public.inputs.shape[0] if isinstance(phase.on, Together) else private


def _crops(members: Members, phase: Phase, member: int, place: Tensor, *which: str) -> Tensor | None:
    """Crops and flips of the private samples at these places: drawn afresh for every step, or once for a run."""
    rule, client = members.data.about.augment, members.keys[member]
    if rule == "none" or members.training.augment == "none":
        return None
    if members.training.augment == "frozen":
        samples = max(1, members.private_rows[member].numel())
        return torch.from_numpy(augment.draw(rule, samples, numpy_stream(members.seed, "augment", client)))[place]
    stream = numpy_stream(members.seed, "augment", phase.stream, *which, client, *members.moment)
    return torch.from_numpy(augment.draw(rule, place.numel(), stream)).view(*place.shape, 3)


def _taught(teaching: Teaching, drawn: Draws, member: int | Tensor) -> Batch:
    index = drawn.public
    assert index is not None
    return Batch(
        gathered(teaching.inputs, index),
        target=_of_member(teaching.target, member, index),
        weight=None if teaching.weight is None else _of_member(teaching.weight, member, index),
    )


def _of_member(values: Tensor, member: int | Tensor, index: Tensor | None) -> Tensor:
    """Entries of a tensor of shape (all members, samples, ...) of one member, or of several."""
    assert index is not None
    return gathered(values[member], index) if isinstance(member, int) else values[member, index]
