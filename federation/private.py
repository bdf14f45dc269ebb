"""What is computed of all of a member's private data at once, in evaluation mode and of samples as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .data import gathered
from .forward import CHUNK, bind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .members import Members
    from .payloads import Tree


def class_means(members: Members, label_counts: Tensor) -> Tensor:
    """Mean output of the body by class, shape (members, classes, features); 0 where there is no sample of a class.

    Args:
        members: whose models, on whose data.
        label_counts: samples of each member and class, shape (members, classes).
    """
    module, models = members.models.template.eval(), members.models
    means = []
    with torch.inference_mode():
        for member, (inputs, labels) in enumerate(_samples(members)):
            bind(module, models.parameters, models.buffers, members.rows[member])
            body = module.get_submodule("body")
            features = torch.cat([body(piece) for piece in torch.split(inputs, CHUNK)])
            sums = features.new_zeros(label_counts.shape[1], features.shape[1]).index_add_(0, labels, features)
            means.append(sums / label_counts[member].clamp_min(1).to(sums)[:, None])
    return torch.stack(means)


def losses(members: Members, tree: Tree) -> Tensor:
    """Mean cross-entropy of each of some models on each member's data, shape (members, models).

    Args:
        members: whose data.
        tree: weights of their architecture, name to (models, ...).
    """
    module, models = members.models.template.eval(), members.models.holding(tree)
    found = []
    with torch.inference_mode():
        for inputs, labels in _samples(members):
            for row in range(len(models)):
                bind(module, models.parameters, models.buffers, row)
                logits = torch.cat([module(piece) for piece in torch.split(inputs, CHUNK)])
                found.append(F.cross_entropy(logits, labels))
    return torch.stack(found).view(len(members), len(models))


def validation_accuracy(members: Members) -> Tensor:
    """Share of validation samples that each client's model classifies rightly, shape (members,); NaN without any."""
    module, data, models = members.models.template.eval(), members.data, members.models
    held_out = data.validation.split()
    shares = torch.full((len(members),), torch.nan, dtype=data.dtype, device=data.device)
    with torch.inference_mode():
        for member, client in enumerate(members.ids):
            if not held_out[client].numel():
                continue
            bind(module, models.parameters, models.buffers, members.rows[member])
            pieces = torch.split(held_out[client], CHUNK)
            found = torch.cat([module(data.inputs_of(piece)).argmax(dim=1) for piece in pieces])
            shares[member] = (found == gathered(data.labels, held_out[client])).to(shares).mean()
    return shares


def outputs(members: Members) -> list[Tensor]:
    """Logits of each member's model on its samples, shape (samples, classes) each, without graph."""
    module, models = members.models.template.eval(), members.models
    found = []
    with torch.inference_mode():
        for member, (inputs, _) in enumerate(_samples(members)):
            bind(module, models.parameters, models.buffers, members.rows[member])
            found.append(torch.cat([module(piece) for piece in torch.split(inputs, CHUNK)]))
    return found


def gradients(members: Members) -> Tree:
    """Gradient of the mean cross-entropy at each member's own weights, name to (members, ...), for every parameter."""
    module, models, trees = members.models.template.eval(), members.models, []
    for member, (inputs, labels) in enumerate(_samples(members)):
        bind(module, models.parameters, models.buffers, members.rows[member])
        own = {name: parameter.requires_grad_() for name, parameter in module.named_parameters()}
        sums = {name: torch.zeros_like(parameter) for name, parameter in own.items()}
        for piece, truth in zip(torch.split(inputs, CHUNK), torch.split(labels, CHUNK), strict=True):
            loss = F.cross_entropy(module(piece), truth, reduction="sum")
            found = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
            for name, gradient in zip(own, found, strict=True):
                sums[name] += gradient
        trees.append({name: total / len(labels) for name, total in sums.items()})
    return {name: torch.stack([tree[name] for tree in trees]) for name in models.parameters}


def _samples(members: Members) -> Iterator[tuple[Tensor, Tensor]]:
    """Network inputs and labels of each member's private training samples, as stored: not augmented."""
    for rows in members.private_rows:
        yield members.data.inputs_of(rows), gathered(members.data.labels, rows)
