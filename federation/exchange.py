"""The exchanges of a round (federation room): messages to clients, their work, messages to the server, its work.

What faults do to an exchange is done here, so that neither methods nor the channel know of it. A client that goes
absent does so in the first exchange of the round that it has a part in, and has no part in the others. The server's
message that it received waits for it once more, unless the server has a newer one for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from .channel import Uploads
from .leakage import Heard
from .poisoning import poisoned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .channel import Channel, Downloads
    from .clock import Clock
    from .cohort import Cohort
    from .factory import Factory
    from .faults import Met, Place
    from .payloads import Payload
    from .rounds import Round, Turn


class Exchanging(Protocol):
    """What is needed of a method; `methods.base.Method` is the interface that methods implement."""

    name: ClassVar[str]

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]: ...  # noqa: D102
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Payload | None: ...  # noqa: D102
    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None: ...  # noqa: D102


@dataclass
class Exchanges:
    """The exchanges of one round, one after the other."""

    method: Exchanging
    factory: Factory
    channel: Channel
    met: Met
    absent: dict[int, Place]
    """Who of the round's participants goes absent, and where."""
    gone: set[int] = field(default_factory=set)
    """Who has."""
    heard: list[Heard] | None = None
    """Where messages are kept that reach the server, for `leakage`; nothing is kept where there is None."""

    def turns(self, participants: Sequence[int], rnd: Round) -> Sequence[Turn]:
        """What the method makes of the round, checked."""
        turns = self.method.turns(tuple(participants), rnd)
        strangers = sorted({client for turn in turns for client in turn.clients} - set(participants))
        if not turns or strangers:
            wrong = f"clients {strangers} who do not take part" if strangers else "nothing"
            raise ValueError(f"{self.method.name}.turns makes turns of {wrong}; participants are {list(participants)}")
        return turns

    def run(self, turn: Turn, rnd: Round, clock: Clock) -> dict[str, float | int]:
        """One exchange; returns its bytes and seconds by its name."""
        before, began = self.channel.traffic.total(), dict(clock.seconds)
        there = [client for client in turn.clients if client not in self.gone]
        unanswered = self.channel.waiting([client for client in there if client in self.absent])
        with clock.measure("training"):
            sent = [part for architecture in self.factory.clients for part in self._trained(architecture, there, rnd)]
        with clock.measure("server"):
            uploads = Uploads(sent, owners=self.factory.architectures, dtype=self.factory.data.dtype)
            self.channel.post(self.method.server_update(uploads, rnd))
        self.channel.put_back(unanswered)
        self.gone.update(client for client in there if client in self.absent)
        up, down = (now - old for now, old in zip(self.channel.traffic.total(), before, strict=True))
        spent = {f"seconds_{part}_{turn.name}": clock.seconds[part] - began.get(part, 0.0) for part in clock.seconds}
        return {f"bytes_up_{turn.name}": up, f"bytes_down_{turn.name}": down, **spent}

    def _trained(
        self, architecture: str, there: Sequence[int], rnd: Round
    ) -> list[tuple[str, tuple[int, ...], Payload]]:
        """Let the clients of an architecture receive and work; returns what arrives at the server."""
        mine = [client for client in there if self.factory.architectures[client] == architecture]
        lost = [client for client in mine if self.absent.get(client) == "after_download"]
        self.channel.deliver(lost)
        arrived = []
        for ids, received in self.channel.deliver([client for client in mine if client not in lost]):
            cohort = self.factory.client_cohort(architecture, ids, rnd.index, rnd.turn)
            payload = self.method.client_update(cohort, received, rnd)
            cohort.check_finite()
            if payload is not None and self.met.changes_messages:
                payload = self._poisoned(payload, received, cohort, rnd)
            senders = tuple(client for client in ids if client not in self.absent)
            if payload is None or not senders:
                continue
            if len(senders) < len(ids):
                rows = [place for place, client in enumerate(ids) if client not in self.absent]
                payload = payload.take(torch.tensor(rows, device=self.factory.data.device))
            sent = self.channel.up(senders, payload)
            if self.heard is not None:
                self.heard.append(Heard(architecture, senders, sent, received if senders == ids else None))
            arrived.append((architecture, senders, sent))
        return arrived

    def _poisoned(self, payload: Payload, received: Payload | None, cohort: Cohort, rnd: Round) -> Payload:
        streams = {
            place: self.met.stream(client, rnd.index, rnd.turn)
            for place, client in enumerate(cohort.ids)
            if client in self.met.poisoned
        }
        buffers = [name for name, _ in cohort.module().named_buffers()]
        poison = self.met.faults.poison
        return poisoned(payload, received, streams, poison, buffers, self.method.name) if streams else payload
