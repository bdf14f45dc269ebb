"""Checks that messages matter: what clients receive changes what they do, what each one sends changes the answer.

A message that changes nothing is paid for and not used. Mostly it is a mistake: a model that is loaded and then
overwritten, a loss that its targets drop out of, an average over the first clients only.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.errors import Diverged
from fl_bench.lazy import torch

from ..registry import METHODS
from .worlds import changed_tensors, deal, finish, flat, made_up_data, make_run, undisturbed

if TYPE_CHECKING:
    from torch import Tensor

    from ...federation.channel import Downloads, Uploads
    from ...federation.cohort import Cohort
    from ...federation.payloads import Payload
    from ...federation.rounds import Round
    from ...federation.run import RoundMethod, Run

ROUND = 1
"""The round whose messages are replaced: the second, the first in which something was received."""


def received_messages_matter(name: str) -> None:
    """Where clients received another valid message in a round, weights or rows differ; so for each part of a bundle."""
    for part in _replaced(name, None):
        _replaced(name, part)


def scores_are_what_they_say(name: str) -> None:
    """Scores that are called probabilities are not negative and sum to 1, unless they are coded."""
    dataset = made_up_data()
    method = METHODS[name]()
    run = make_run(method, dataset, deal(dataset))
    update_client, update_server = method.client_update, method.server_update

    def client_update(clients: Cohort, received: Payload | None, rnd: Round) -> Payload | None:
        message = update_client(clients, received, rnd)
        _assert_probabilities(name, "client_update", message)
        return message

    def server_update(uploads: Uploads, rnd: Round) -> Downloads | None:
        answer = update_server(uploads, rnd)
        for parcel in () if answer is None else answer.parcels:
            _assert_probabilities(name, "server_update", parcel.payload)
        return answer

    method.client_update, method.server_update = client_update, server_update  # type: ignore[method-assign]
    finish(run)


def _assert_probabilities(name: str, where: str, message: Payload | None) -> None:
    from ...federation.payloads import Bundle, Scores

    if isinstance(message, Bundle):
        for part in message.parts.values():
            _assert_probabilities(name, where, part)
    if isinstance(message, Scores) and message.form == "probabilities" and message.coded_bytes is None:
        off = float((message.values.sum(dim=-1) - 1).abs().max())
        assert off < 1e-3 and float(message.values.min()) >= 0, (  # noqa: PT018 - one statement about one message
            f"{name}: `{where}` sends Scores as probabilities whose rows are off 1 by up to {off:.2g}; "
            'say form="logits", or take a softmax'
        )


def each_upload_matters(name: str) -> None:
    """Another valid message of any one client changes what the server answers, keeps or makes of its clusters."""
    dataset = made_up_data()
    method = METHODS[name]()
    run = make_run(method, dataset, deal(dataset))
    update_client, update_server = method.client_update, method.server_update
    sent: list[tuple[str, tuple[int, ...], Payload]] = []

    def client_update(clients: Cohort, received: Payload | None, rnd: Round) -> Payload | None:
        message = update_client(clients, received, rnd)
        if message is not None:
            sent.append((clients.architecture, clients.ids, message.detached()))
        return message

    def server_update(uploads: Uploads, rnd: Round) -> Downloads | None:
        if sent and rnd.index == ROUND:
            unheard = _unheard(name, run, sent, rnd)
            assert not unheard, (
                f"{name}: other messages of clients {', '.join(map(str, unheard))} change nothing at the server; look "
                "in `server_update` for uploads that are not read, for indices such as `[0]` or `[:2]` and for weights "
                "that are 0"
            )
        sent.clear()
        return update_server(uploads, rnd)

    method.client_update, method.server_update = client_update, server_update  # type: ignore[method-assign]  # to listen
    finish(run, ROUND + 1)


def _replaced(name: str, part: str | None) -> list[str]:
    """Replace what clients receive in one round, or a part of it.

    Returns:
        The parts of what they received, where it was a bundle.
    """
    dataset = made_up_data()
    method = METHODS[name]()
    update, seen = method.client_update, False
    parts: list[str] = []

    def client_update(clients: Cohort, received: Payload | None, rnd: Round) -> Payload | None:
        nonlocal seen
        if received is not None and rnd.index == ROUND:
            message = another(received, part)
            if changed_tensors(_content(received), _content(message)):  # else there is no other message of its kind
                seen = True
            parts.extend(getattr(received, "parts", ()))
            received = message
        return update(clients, received, rnd)

    method.client_update = client_update  # type: ignore[method-assign]  # to come in between
    try:
        outcome = finish(make_run(method, dataset, deal(dataset)))
    except Diverged:  # so it did something
        return parts
    usual = undisturbed(METHODS[name])
    what = "message" if part is None else f"part {part!r} of their message"
    assert not seen or changed_tensors(usual.weights, outcome.weights) or usual.rows != outcome.rows, (
        f"{name}: clients that receive another {what} come to the same weights and numbers; look in `client_update` "
        "for where `received` is read, for weights that are loaded and then overwritten, and for losses that its "
        "values drop out of"
    )
    return list(dict.fromkeys(parts))


def _unheard(name: str, run: Run, sent: list[tuple[str, tuple[int, ...], Payload]], rnd: Round) -> list[int]:
    """Clients of whose message nothing depends in what the server does next.

    Neither where it alone is another, nor where those of all others are: a vote may be decided without it.
    """
    from ...federation.channel import Uploads

    def answer(clients: frozenset[int]) -> dict[str, Tensor]:
        groups = [(architecture, ids, _other_rows(message, ids, clients)) for architecture, ids, message in sent]
        server = _copied(run)
        downloads = server.server_update(Uploads(groups, owners=run.architectures, dtype=run.dtype), rnd)
        parcels = () if downloads is None else downloads.parcels
        clusters = server.clusters()
        return {
            **flat([_content(parcel.payload) for parcel in parcels], "answer"),
            **flat([torch.tensor(sorted(parcel.address.items())) for parcel in parcels], "address"),
            **flat(server.state_dict(), "state"),
            **flat(vars(server), "self"),  # what lasts from turn to turn of a round, but no longer
            **flat([] if clusters is None else [torch.as_tensor(clusters)], "clusters"),
        }

    everyone = frozenset(client for _, ids, _ in sent for client in ids)
    usual = answer(frozenset())
    unheard = [client for client in sorted(everyone) if not changed_tensors(usual, answer(frozenset({client})))]
    if not unheard:
        return []
    other = answer(everyone)
    return [client for client in unheard if not changed_tensors(other, answer(everyone - {client}))]


def _copied(run: Run) -> RoundMethod:
    """A copy of the method's object in the middle of a round, which changes nothing that the run goes on with."""
    server, memo = copy(run.method), {id(value): value for value in (run.federation, run.data)}
    for name, value in vars(run.method).items():
        if name in ("client_update", "server_update"):  # those that listen; the copy has its class's
            delattr(server, name)
            continue
        with suppress(TypeError):  # views, as of a dictionary's keys, cannot be copied
            setattr(server, name, deepcopy(value, memo))
    return server


def another(message: Payload, part: str | None = None) -> Payload:
    """Another valid message: the same shapes and kinds, other numbers, for every row of it.

    Args:
        message: what was sent.
        part: of a bundle, the part to replace; None: all of it.
    """
    from ...federation.payloads import Bundle, Labels, Parameters, Prototypes, Scalars, Scores

    stream = torch.Generator().manual_seed(17)

    def shaken(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        noise = torch.randn(tensor.shape, generator=stream, dtype=torch.float64).to(tensor)
        return tensor + 0.5 * noise * (0.1 + tensor.abs().mean())

    if isinstance(message, Bundle):
        chosen = {name: another(value) for name, value in message.parts.items() if part in (None, name)}
        return replace(message, parts={**message.parts, **chosen})
    if isinstance(message, Scores):
        if message.form == "logits":
            return replace(message, values=shaken(message.values))
        return replace(message, values=shaken(message.values.clamp_min(1e-6).log()).softmax(dim=-1))
    if isinstance(message, Labels):
        steps = torch.randint(1, max(2, message.classes), message.values.shape, generator=stream)
        return replace(message, values=(message.values + steps.to(message.values)) % message.classes)
    if isinstance(message, Parameters):
        return replace(message, tree={name: shaken(tensor) for name, tensor in message.tree.items()})
    if isinstance(message, Prototypes):
        return replace(message, values=torch.where(message.present[..., None], shaken(message.values), message.values))
    assert isinstance(message, Scalars)  # what they mean only the method knows: another client's are valid
    return replace(message, values={name: value.roll(1, dims=0) for name, value in message.values.items()})


def _other_rows(message: Payload, ids: tuple[int, ...], clients: frozenset[int]) -> Payload:
    """The message of a cohort in which some clients send another one."""
    others = iter(another(message).tensors())
    rows = [row for row, client in enumerate(ids) if client in clients]

    def changed(tensor: Tensor) -> Tensor:
        tensor, other = tensor.clone(), next(others)
        tensor[rows] = other[rows]
        return tensor

    return message.map(changed)


def _content(message: Payload) -> dict[str, Tensor]:
    return flat(message.tensors(), "content")
