"""What the messages of a round tell a curious server about private data (federation room).

Two attacks by a server that follows the protocol and keeps what it receives, as in the attacks on FedMD, DS-FL and
Cronus of arXiv:2502.08001. It knows the initial weights and the public inputs, and trains no shadow models:

label distribution: the class shares of a client's training samples. Guessed as the mean prediction on public inputs of
    the model that the client sent, or of the predictions that it sent; as the counts or the classes present, where
    class means were sent. The error is the total variation to the true shares; a prior that knows the shares of the
    federation as a whole, and reads no message, is told beside it.
membership: whether a labelled sample that the server already has was trained on by the client. The score is the
    log-likelihood of its label under the client's model, less the mean under those of up to `REFERENCES` other clients
    (difficulty calibration, Watson et al., ICLR 2022, with other clients in place of shadow models). Of predictions the
    server first makes a model, by distilling them into the client's architecture. Members are the client's training
    samples, the others its validation samples, which are dealt in the same way (its test samples where it has none).

Weights of a part of a net, or changes of weights that no one knows the start of, are not attacked: then there is no
number, which does not say that they leak nothing. Neither does a weak attack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from .attacks import area, distance, mean_area, true_positives
from .batches import Teaching
from .cohort import Cohort
from .deployed import Deployed
from .evaluation import sample_losses
from .payloads import Bundle, Labels, Parameters, Prototypes, Scalars, Scores
from .work import WorkLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from .batches import Batch
    from .factory import Factory
    from .payloads import Payload, Tree

EPOCHS = 20
"""Passes over the public pool in which predictions are made a model."""

REFERENCES = 8
"""Other clients whose models a membership score is held against."""


@dataclass(frozen=True)
class Heard:
    """A message that reached the server: what clients of one architecture sent, and what they had received."""

    architecture: str
    ids: tuple[int, ...]
    sent: Payload
    received: Payload | None


Row: TypeAlias = "dict[str, float | int | None]"


def leaks(heard: Sequence[Heard], factory: Factory, start: Mapping[str, Tree], public: Tensor, round_index: int) -> Row:
    """Columns of a round's row: what both attacks find out from its messages.

    Args:
        heard: the messages of the round; of several of one client the last counts.
        factory: where nets and data come from; no work of the run is counted.
        start: initial weights of each architecture, which everybody knows by the seed.
        public: network inputs of the public pool, shape (samples, *shape); there may be none.
        round_index: the round, for the random streams of the attacker.

    Returns:
        `leak_labels` and `leak_labels_prior`, in [0, 1], mean over the clients whose messages could be attacked;
        `leak_membership` with `leak_membership_low` and `leak_membership_high`, area under the curve and its 95 %
        interval; `leak_membership_tpr`, the share of members found where 1 % of the others are taken for members;
        `leak_clients`, how many clients the last four are about. None where nothing could be attacked.
    """
    last = {client: message for message in heard for client in message.ids}
    messages = [_of(message, [client for client in message.ids if last[client] is message]) for message in heard]
    models: dict[int, tuple[Deployed, int]] = {}
    shares: dict[int, np.ndarray] = {}
    for message in filter(None, messages):
        attacker = _Attacker(message, factory, start[message.architecture], round_index)
        cohort = attacker.models(public)
        if cohort is None:
            told = _told(message.sent)
        else:
            told = cohort.predict(public).mean(dim=1).double().cpu().numpy() if len(public) else None
            deployed = Deployed(cohort.module(), cohort.weights, None)
            models |= {client: (deployed, place) for place, client in enumerate(message.ids)}
        if told is not None:
            shares |= dict(zip(message.ids, told, strict=True))
    return {**_labels(shares, factory), **_membership(models, factory)}


def _of(message: Heard, ids: Sequence[int]) -> Heard | None:
    """The message without clients that sent a later one; None where that is nobody's."""
    if len(ids) == len(message.ids):
        return message
    places = torch.tensor([message.ids.index(client) for client in ids], device=message.sent.tensors()[0].device)
    received = message.received
    if received is not None and len(received) > 1:
        received = received.take(places)
    return Heard(message.architecture, tuple(ids), message.sent.take(places), received) if ids else None


def _parts(payload: Payload | None, name: str = "") -> Iterator[tuple[str, Payload]]:
    """The payloads in a message, by name; one that is no bundle has none."""
    if isinstance(payload, Bundle):
        for inner, part in payload.parts.items():
            yield from _parts(part, inner)
    elif payload is not None:
        yield name, payload


@dataclass(frozen=True)
class _Attacker:
    """A curious server with one message in its hands."""

    message: Heard
    factory: Factory
    start: Tree
    """Initial weights of the message's architecture, name to (1, ...)."""
    round_index: int

    def models(self, public: Tensor) -> Cohort | None:
        """The clients' models as the message tells them; None where it does not."""
        before = dict(_parts(self.message.received))
        for name, part in _parts(self.message.sent):
            cohort = None
            if isinstance(part, Parameters):
                cohort = self._sent(part, before.get(name))
            elif isinstance(part, Scores | Labels) and len(public):
                cohort = self._distilled(part, public)
            if cohort is not None:
                return cohort
        return None

    def _sent(self, part: Parameters, before: Payload | None) -> Cohort | None:
        """Models whose weights were sent whole, or as changes of weights that the server had sent."""
        needed, tree = self.factory.clients[self.message.architecture].parameters, part.tree
        if not needed.keys() <= tree.keys() or any(tree[name].shape[1:] != needed[name].shape[1:] for name in needed):
            return None
        if part.relative:
            if not isinstance(before, Parameters) or not tree.keys() <= before.tree.keys():
                return None
            tree = {name: before.tree[name] + change for name, change in tree.items()}
        return self._holding(tree)

    def _distilled(self, part: Scores | Labels, public: Tensor) -> Cohort:
        """Models that predict on public inputs what clients said of them."""
        if isinstance(part, Labels):
            target = F.one_hot(part.values.long(), part.classes)
        else:
            target = part.values if part.form == "probabilities" else part.values.softmax(dim=-1)
        cohort = self._holding({})
        teaching = Teaching(public if part.rows is None else public[part.rows], target.to(public.dtype))
        cohort.fit(_imitation, on=teaching, epochs=EPOCHS, fresh=True, stream="leak")
        return cohort

    def _holding(self, tree: Tree) -> Cohort:
        """Models with some weights; the others are as at the start."""
        ids, rows = self.message.ids, range(len(self.message.ids))
        whole = {name: tensor.expand(len(ids), *tensor.shape[1:]) for name, tensor in self.start.items()} | tree
        cohort = self.factory.cohort(
            self.factory.clients[self.message.architecture].holding({name: own.clone() for name, own in whole.items()}),
            ids,
            side="server",
            rows=rows,
            keys=[self.factory.identities[client] for client in ids],
            round_index=self.round_index,
        )
        return Cohort(cohort.members, WorkLog())  # the attacker's steps are none of the run's


def _imitation(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy towards predicted probabilities, mean over the batch."""
    assert batch.target is not None
    return -(batch.target * F.log_softmax(model(batch.x), dim=-1)).sum(dim=-1).mean()


def _told(payload: Payload) -> np.ndarray | None:
    """Class shares that a message without a model tells, shape (clients, classes): counts, or the classes present."""
    counts: Mapping[str, Tensor] = {}
    present = None
    for _, part in _parts(payload):
        if isinstance(part, Prototypes):
            present = part.present.double()
        elif isinstance(part, Scalars):
            counts = part.values
    if present is None:
        return None
    if len(counts) == present.shape[1]:
        present = torch.stack([*counts.values()], dim=1).double()
    shares: np.ndarray = (present / present.sum(dim=1, keepdim=True).clamp_min(1e-12)).cpu().numpy()
    return shares


def _labels(shares: Mapping[int, np.ndarray], factory: Factory) -> Row:
    """The error of class shares that the attacker inferred, and of the prior that reads nothing."""
    if not shares:
        return {"leak_labels": None, "leak_labels_prior": None}
    counts = factory.data.label_counts.double().cpu().numpy()
    ids = sorted(shares)
    truth = counts[ids] / counts[ids].sum(axis=1, keepdims=True)
    prior = counts.sum(axis=0, keepdims=True) / counts.sum()
    guessed = np.stack([shares[client] for client in ids])
    return {
        "leak_labels": float(distance(guessed, truth).mean()),
        "leak_labels_prior": float(distance(prior, truth).mean()),
    }


def _membership(models: Mapping[int, tuple[Deployed, int]], factory: Factory) -> Row:
    """How well training samples are told from others, by the models that the attacker has."""
    data = factory.data
    train, held_out, test = (shards.split() for shards in (data.train, data.validation, data.test))
    others = {client: held_out[client] if held_out[client].numel() else test[client] for client in models}
    attacked = sorted(client for client in models if others[client].numel())
    nothing: Row = dict.fromkeys(
        ("leak_membership", "leak_membership_low", "leak_membership_high", "leak_membership_tpr")
    )
    if not attacked:
        return {**nothing, "leak_clients": 0}
    rows = {client: torch.cat([train[client], others[client]]) for client in attacked}
    ring = sorted(models)
    wanted: dict[int, list[int]] = {client: [] for client in models}
    for client in attacked:
        place = ring.index(client)
        near = [ring[(place + step) % len(ring)] for step in range(1, min(REFERENCES, len(ring) - 1) + 1)]
        for model in (client, *near):
            wanted[model].append(client)
    own: dict[int, np.ndarray] = {}
    references: dict[int, list[np.ndarray]] = {client: [] for client in attacked}
    for model, clients in wanted.items():
        deployed, place = models[model]
        pieces = sample_losses(replace(deployed, index=None), place, [rows[client] for client in clients], data)
        for client, losses in zip(clients, pieces, strict=True):
            if client == model:
                own[client] = losses
            else:
                references[client].append(losses)
    scores = {
        client: (np.mean(references[client], axis=0) if references[client] else 0.0) - own[client]
        for client in attacked
    }
    parted = {client: np.split(scores[client], [train[client].numel()]) for client in attacked}
    value, low, high = mean_area([area(known, unknown) for known, unknown in parted.values()])
    members, rest = (np.concatenate(parts) for parts in zip(*parted.values(), strict=True))
    return {
        "leak_membership": value,
        "leak_membership_low": low,
        "leak_membership_high": high,
        "leak_membership_tpr": true_positives(members, rest),
        "leak_clients": len(attacked),
    }
