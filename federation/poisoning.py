"""What poisoned clients send instead of what they should (federation room): payloads in, payloads out.

Messages keep their type, shapes and bytes. Sizes, named scalars, integer tensors and buffers, such as BatchNorm's
statistics, are sent as they are: a server that averaged turned variances would have no model at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fl_bench.errors import Unsupported

from .payloads import Bundle, Labels, Parameters, Payload, Prototypes, Scores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np
    from torch import Tensor

    from .faults import Poison


def poisoned(
    sent: Payload,
    received: Payload | None,
    members: Mapping[int, np.random.Generator],
    poison: Poison,
    buffers: Collection[str],
    sender: str,
) -> Payload:
    """The message of a cohort some members of which are poisoned.

    `random-scores` draws probabilities evenly from all there are (logits: their logarithms), and labels evenly from all
    symbols. `sign-flip` and `scale` turn weights w into r + a (w - r), a = -1 or `factor`, r being the weights of the
    same name that the client received; a message of changes, and class means, are multiplied by a as they are. Before
    its first message a client knows no r, and sends its weights as they are.

    Args:
        sent: what the cohort's clients would send, a row each.
        received: what they received.
        members: rows of poisoned clients, each with its random numbers.
        poison: what they do.
        buffers: names of the net's buffers; in a message of a part of the net they lack its name in front.
        sender: the method's name, for messages.

    Raises:
        Unsupported: the method codes such a message itself, or sends weights that it did not receive.
    """
    if isinstance(sent, Bundle):
        return replace(
            sent,
            parts={
                name: poisoned(part, _part(received, name), members, poison, buffers, sender)
                for name, part in sent.parts.items()
            },
        )
    if poison.kind == "random-scores":
        return _random(sent, members, sender)
    factor = -1.0 if poison.kind == "sign-flip" else poison.factor
    rows = list(members)
    if isinstance(sent, Prototypes):
        return replace(sent, values=_scaled(sent.values, torch.zeros_like(sent.values), factor, rows))
    if not isinstance(sent, Parameters):
        return sent
    if sent.coded_bytes is not None:
        raise Unsupported(_coded(sender, poison.kind))
    if received is None and not sent.relative:
        return sent
    tree = {
        name: _scaled(tensor, _origin(sent, received, name, sender), factor, rows)
        if tensor.is_floating_point() and not any(f".{buffer}".endswith(f".{name}") for buffer in buffers)
        else tensor
        for name, tensor in sent.tree.items()
    }
    return replace(sent, tree=tree)


def _random(sent: Payload, members: Mapping[int, np.random.Generator], sender: str) -> Payload:
    """Predictions with some rows drawn at random; other payloads as they are."""
    if not isinstance(sent, Scores | Labels):
        return sent
    values = sent.values.clone()
    for row, stream in members.items():
        if isinstance(sent, Labels):
            drawn = torch.from_numpy(stream.integers(0, sent.classes, tuple(values.shape[1:])))
        elif sent.coded_bytes is not None:
            raise Unsupported(_coded(sender, "random-scores"))
        else:
            exponential = torch.from_numpy(stream.standard_exponential(tuple(values.shape[1:])))
            drawn = exponential / exponential.sum(dim=-1, keepdim=True)  # even on the simplex
            drawn = drawn.log() if sent.form == "logits" else drawn
        values[row] = drawn.to(values)
    return replace(sent, values=values)


def _scaled(values: Tensor, origin: Tensor, factor: float, rows: list[int]) -> Tensor:
    """origin + factor * (values - origin) in some rows."""
    changed = values.clone()
    changed[rows] = origin[rows] + factor * (values[rows] - origin[rows])
    return changed


def _origin(sent: Parameters, received: Payload | None, name: str, sender: str) -> Tensor:
    """What a tensor is compared with: the received one of its name and shape, or 0 for changes."""
    if sent.relative:
        return torch.zeros_like(sent.tree[name])
    for payload in _parameters(received):
        if name in payload.tree and payload.tree[name].shape == sent.tree[name].shape:
            return payload.tree[name]
    raise Unsupported(
        f"{sender} sends weights ({name}) that clients do not receive in this form, so that nobody could say what they "
        "learned; faults.poison.kind label-flip is for every method"
    )


def _part(received: Payload | None, name: str) -> Payload | None:
    """The part of a received message that answers a sent one: that of its name, else the whole."""
    return received.parts.get(name, received) if isinstance(received, Bundle) else received


def _parameters(payload: Payload | None) -> Iterator[Parameters]:
    if isinstance(payload, Bundle):
        for name in sorted(payload.parts):
            yield from _parameters(payload.parts[name])
    elif isinstance(payload, Parameters):
        yield payload


def _coded(sender: str, kind: str) -> str:
    return (
        f"{sender} codes its own messages, whose numbers faults.poison.kind={kind} cannot replace; label-flip is for "
        "every method"
    )
