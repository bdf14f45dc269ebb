"""The wire: every message passes here, is checked, coded, counted and detached from its sender.

A method that declares "scores only" cannot send a weight: the channel refuses payload types a method did not
declare. Bytes are counted per round, client, direction and kind of payload.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from fl_bench.errors import ConfigError
from fl_bench.lazy import np, torch

from .payloads import Bundle, Labels, Parameters, Payload, Prototypes, Scalars, Scores, payload_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torch import Tensor

    from .codecs import Codec
    from .payloads import Tree

Sent = TypeVar("Sent", bound=Payload)


@dataclass
class RoundTraffic:
    """Bytes of one round, per client."""

    up: np.ndarray
    down: np.ndarray
    kinds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of all clients by direction and kind: `up Scores`, `down Parameters`."""

    def total(self) -> tuple[int, int]:
        """Bytes of all clients, up and down."""
        return int(self.up.sum()), int(self.down.sum())

    @classmethod
    def empty(cls, clients: int) -> RoundTraffic:
        """No bytes yet."""
        return cls(np.zeros(clients, dtype=np.int64), np.zeros(clients, dtype=np.int64))


@dataclass(frozen=True)
class Parcel:
    """One payload of the server and the clients it is for."""

    payload: Payload
    """A message with one row, or a row for each of some clients."""
    address: dict[int, int]
    """Client id to the row of `payload` it gets; many clients may get one row."""


@dataclass(frozen=True)
class Downloads:
    """What the server sends at the end of a turn; a client's latest parcel waits until it next takes part.

    It is charged when it is delivered: never, where a newer one replaces it or the client is not drawn any more.
    """

    parcels: tuple[Parcel, ...]
    """What is sent; where two are for one client, the later replaces the earlier."""

    @classmethod
    def to_all(cls, clients: int, payload: Payload, nbytes: Mapping[int, int] | None = None) -> Downloads:
        """The same content for every client of a federation of so many.

        Args:
            clients: number of clients.
            payload: one row; `Parameters` where `nbytes` is given.
            nbytes: bytes that are charged, by client, for those who need a part of the content only and know which.

        Raises:
            ValueError: `payload` has more than one row.
        """
        if len(payload) != 1:
            raise ValueError(
                f"`to_all` sends one row to every client, but this message has {len(payload)}; use `to_participants` "
                "for a row per participant, or `to_each` for a row per client of the federation"
            )
        if nbytes is None:
            return cls((Parcel(payload, dict.fromkeys(range(clients), 0)),))
        if not isinstance(payload, Parameters):
            raise TypeError(
                f"`nbytes` is for Parameters, of which clients need different parts, not for {type(payload).__name__}"
            )
        charged = [nbytes.get(client, payload.nbytes()[0]) for client in range(clients)]
        device = payload.tensors()[0].device
        return cls(
            tuple(
                Parcel(
                    replace(payload, coded_bytes=torch.tensor([size], device=device)),
                    {client: 0 for client in range(clients) if charged[client] == size},
                )
                for size in sorted(set(charged))
            )
        )


class Uploads:
    """What the server received in a round: one row per participating client, in client-id order.

    Args:
        groups: architecture, client ids and message of each cohort that sent one.
        owners: architecture of each client of the federation.
        dtype: number format of the run.
    """

    def __init__(
        self,
        groups: Sequence[tuple[str, Sequence[int], Payload]],
        *,
        owners: Sequence[str],
        dtype: torch.dtype,
    ) -> None:
        self._groups = list(groups)
        self._owners = owners
        self._dtype = dtype
        self.ids: tuple[int, ...] = tuple(sorted(client for _, ids, _ in self._groups for client in ids))
        """The clients that sent something, ascending; rows of everything below are in this order."""

    def sizes(self, architecture: str | None = None) -> Tensor:
        """Private training samples of the participants (of one architecture), as they sent them: shape (participants,).

        Raises:
            TypeError: the clients' messages do not tell their sizes.
        """
        told = self._of(architecture)[1].sizes
        if told is None:
            raise TypeError(
                "clients did not send how many samples they have; add `sizes=clients.sizes` to what `client_update` "
                "returns, and `facts.number_bytes` to `up_bytes` in `plan`"
            )
        return told

    def ones(self, architecture: str | None = None) -> Tensor:
        """1 for each participant (of one architecture), shape (participants,), in the run's number format."""
        ids, payload = self._of(architecture)
        return torch.ones(len(ids), dtype=self._dtype, device=payload.tensors()[0].device)

    def scores(self) -> Tensor:
        """Scores of all participants, shape (participants, samples, classes)."""
        return self._joined(Scores).values

    def labels(self) -> Tensor:
        """Hard labels of all participants, shape (participants, samples)."""
        return self._joined(Labels).values

    def rows(self) -> Tensor | None:
        """Positions in the public pool that this round's scores or labels are about; None means all."""
        payload = self._groups[0][2]
        return payload.rows if isinstance(payload, Scores | Labels) else None

    def prototypes(self) -> Prototypes:
        """Class means of all participants, values of shape (participants, classes, features)."""
        return self._joined(Prototypes)

    def scalars(self, name: str) -> Tensor:
        """A number of each participant, shape (participants,)."""
        return self._joined(Scalars).values[name]

    def part(self, name: str) -> Uploads:
        """The same uploads with one part of each `Bundle`, and the sizes that the bundle or the part tells."""
        groups = []
        for architecture, ids, payload in self._groups:
            if not isinstance(payload, Bundle):
                raise TypeError(f"clients sent {type(payload).__name__}, not a Bundle")
            part = payload.parts[name]
            told = part if part.sizes is not None else replace(part, sizes=payload.sizes)
            groups.append((architecture, ids, told))
        return Uploads(groups, owners=self._owners, dtype=self._dtype)

    def ids_of(self, architecture: str) -> tuple[int, ...]:
        """Participants of one architecture, ascending: the rows of `parameters(architecture)`."""
        return tuple(self._of(architecture)[0])

    @property
    def architectures(self) -> tuple[str, ...]:
        """Architectures among the participants, in the federation's order."""
        return tuple(dict.fromkeys(name for name, _, _ in self._groups))

    def parameters(self, architecture: str | None = None) -> Tree:
        """Stacked weights (participants, ...) of one architecture.

        By default of all participants, who then must send the same part: a head, or a net that is alike for all.
        """
        return self._joined(Parameters, architecture).tree

    def to_all(self, payload: Payload, nbytes: Mapping[int, int] | None = None) -> Downloads:
        """The same content for every client of the federation; a `payload` of more than one row is refused.

        `nbytes`, by client, is charged instead of what `Parameters` weigh, for clients that need a part of them only.
        """
        return Downloads.to_all(len(self._owners), payload, nbytes)

    def to_each(self, payload: Payload, index: Sequence[int] | None = None) -> Downloads:
        """Client i of the federation gets row `index[i]` of `payload` (row i by default)."""
        rows = list(range(len(self._owners))) if index is None else [int(row) for row in index]
        if index is None and len(payload) != len(rows):
            raise ValueError(
                f"`to_each` wants a row for each of the federation's {len(rows)} clients, but this message has "
                f"{len(payload)}; `to_participants` takes a row per participant"
            )
        return Downloads((Parcel(payload, dict(enumerate(rows))),))

    def to_participants(self, payload: Payload, index: Sequence[int] | None = None) -> Downloads:
        """Participant j, in the order of `ids`, gets row `index[j]` of `payload` (row j by default); others nothing."""
        rows = list(range(len(self.ids))) if index is None else [int(row) for row in index]
        if index is None and len(payload) != len(rows):
            raise ValueError(
                f"`to_participants` wants a row for each of {len(rows)} participants, but this message has "
                f"{len(payload)}; `to_each` takes a row per client of the federation"
            )
        return Downloads((Parcel(payload, dict(zip(self.ids, rows, strict=True))),))

    def to_architectures(self, payloads: Mapping[str, Payload]) -> Downloads:
        """Every client of each named architecture gets the one row that is for it."""
        return Downloads(
            tuple(
                Parcel(payload, {client: 0 for client, owner in enumerate(self._owners) if owner == architecture})
                for architecture, payload in payloads.items()
            )
        )

    def _of(self, architecture: str | None) -> tuple[list[int], Payload]:
        if not self._groups:
            raise TypeError(
                "nobody sent anything in this turn, as `client_update` returned None everywhere; "
                "`uploads.ids` is empty then, and `server_update` may return None"
            )
        return _sorted_by_client(
            [(ids, payload) for name, ids, payload in self._groups if architecture in (None, name)]
        )

    def _joined(self, kind: type[Sent], architecture: str | None = None) -> Sent:
        _, payload = self._of(architecture)
        if not isinstance(payload, kind):
            raise TypeError(f"clients sent {type(payload).__name__}, not {kind.__name__}")
        return payload


class Channel:
    """The wire of one run.

    Args:
        clients: number of clients of the federation.
        declared: payload types that the method may send.
        codec: what scores are coded with, in both directions.
        sender: the method's name, for error messages.
        formats: number format of the run's scores, and that in which they wait for clients; as they are when None.
    """

    def __init__(
        self,
        clients: int,
        declared: Collection[type[Payload]],
        codec: Codec,
        sender: str,
        formats: tuple[torch.dtype, torch.dtype] | None = None,
    ) -> None:
        self.clients = clients
        self._declared = frozenset(declared)
        self._codec = codec
        self._sender = sender
        self._formats = formats
        self._waiting: dict[int, tuple[int, Payload, int]] = {}
        self._version = 0
        self.traffic = RoundTraffic.empty(clients)

    def open_round(self) -> None:
        """Start counting a new round."""
        self.traffic = RoundTraffic.empty(self.clients)

    def up(self, ids: Sequence[int], payload: Payload) -> Payload:
        """Carry one cohort's message to the server."""
        arrived = self._carry(payload)
        if len(payload) != len(ids):
            raise ValueError(f"{self._sender} sent {len(payload)} rows for {len(ids)} clients")
        self._count("up", self.traffic.up, ids, arrived)
        return arrived

    def post(self, downloads: Downloads | None) -> None:
        """Take the server's messages; each waits for its client's next round. They are charged when delivered."""
        if downloads is None:
            return
        for parcel in downloads.parcels:
            missing = set(parcel.address.values()) - set(range(len(parcel.payload)))
            if missing:  # `take` reads no index where there is one row
                raise ValueError(
                    f"{self._sender} addressed row {min(missing)} of a message of {len(parcel.payload)} rows"
                )
            self._version += 1
            carried = self._carry(parcel.payload)
            if self._formats is not None:
                carried = _in_format(carried, self._formats[1])
            for client, row in parcel.address.items():
                self._waiting[client] = (self._version, carried, row)

    def undelivered(self) -> int:
        """Bytes of all messages that wait for a client."""
        sizes = {version: payload.nbytes() for version, payload, _ in self._waiting.values()}
        return sum(sizes[version][row] for version, _, row in self._waiting.values())

    def deliver(self, ids: Sequence[int]) -> list[tuple[tuple[int, ...], Payload | None]]:
        """Hand the waiting messages to participating clients, grouped so that one group reads one message.

        A group's payload has one row per client, or is None for clients for whom nothing waits. A message is
        delivered, and charged, once.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for client in ids:
            groups[self._waiting[client][0] if client in self._waiting else 0].append(client)
        delivered: list[tuple[tuple[int, ...], Payload | None]] = []
        for version, members in groups.items():
            if version == 0:
                delivered.append((tuple(members), None))
                continue
            payload = self._waiting[members[0]][1]
            if len(payload) == 1:  # `take` would hand out the letter itself, which others have yet to read
                payload = payload.detached()
            device = payload.tensors()[0].device
            rows = payload.take(torch.tensor([self._waiting.pop(client)[2] for client in members], device=device))
            if self._formats is not None:
                rows = _in_format(rows, self._formats[0])
            self._count("down", self.traffic.down, members, rows)
            delivered.append((tuple(members), rows))
        return delivered

    def waiting(self, clients: Collection[int]) -> dict[int, tuple[int, Payload, int]]:
        """What waits for some clients, to be put back where they do not answer."""
        return {client: self._waiting[client] for client in clients if client in self._waiting}

    def put_back(self, letters: Mapping[int, tuple[int, Payload, int]]) -> None:
        """Let delivered messages wait once more, and be charged once more, where no newer one waits."""
        self._waiting = {**letters, **self._waiting}

    def standing(self, clients: Sequence[int], members: int) -> Payload | None:
        """What newcomers would be told: the message that waits for all of some clients alike; None where there is none.

        Nothing is delivered or charged.

        Args:
            clients: whose messages are looked at.
            members: newcomers, each of which gets a row of the result.
        """
        letters = {self._waiting[client][::2] if client in self._waiting else None for client in clients}
        letter = letters.pop()
        if letters or letter is None:
            return None
        payload = self._waiting[clients[0]][1].detached()
        rows = payload.take(torch.full((members,), letter[1], device=payload.tensors()[0].device))
        return rows if self._formats is None else _in_format(rows, self._formats[0])

    def state_dict(self) -> dict[str, object]:
        """The waiting messages, as tensors and plain values."""
        letters = {version: payload for version, payload, _ in self._waiting.values()}
        return {
            "version": self._version,
            "address": {client: [version, row] for client, (version, _, row) in self._waiting.items()},
            "letters": {version: payload.state_dict() for version, payload in letters.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        letters = {version: payload_of(packed) for version, packed in state["letters"].items()}
        self._version = state["version"]
        self._waiting = {
            client: (version, letters[version], row) for client, (version, row) in state["address"].items()
        }

    def _carry(self, payload: Payload) -> Payload:
        if isinstance(payload, Bundle):
            parts = {name: self._carry(part) for name, part in payload.parts.items()}
            return Bundle(parts, sizes=None if payload.sizes is None else payload.sizes.detach().clone())
        if not isinstance(payload, Payload):
            raise TypeError(
                f"{self._sender} put a {type(payload).__name__} on the wire; wrap it in a payload, "
                "such as Scores(values) or Parameters(tree)"
            )
        if type(payload) not in self._declared:
            declared = ", ".join(sorted(kind.__name__ for kind in self._declared)) or "nothing"
            raise ConfigError(
                f"{self._sender} put {type(payload).__name__} on the wire, but declares that it exchanges {declared}; "
                "add the type to the method's `exchanges` (and `payloads`, if it has its own) if it is meant"
            )
        return self._codec.code(payload).detached() if isinstance(payload, Scores) else payload.detached()

    def _count(self, direction: str, column: np.ndarray, ids: Sequence[int], payload: Payload) -> None:
        column[list(ids)] += payload.nbytes()
        for kind, nbytes in _by_kind(payload):
            self.traffic.kinds[f"{direction} {kind}"] += nbytes


def _by_kind(payload: Payload) -> Iterator[tuple[str, int]]:
    """Bytes of all clients by kind of payload; a client's size counts as `Sizes`."""
    if payload.sizes is not None:
        yield "Sizes", len(payload) * payload.sizes.element_size()
    if isinstance(payload, Bundle):
        for part in payload.parts.values():
            yield from _by_kind(part)
    else:
        yield type(payload).__name__, sum(payload.content_bytes())


def _in_format(payload: Payload, dtype: torch.dtype) -> Payload:
    """The same message with scores in a number format."""
    if isinstance(payload, Bundle):
        return replace(payload, parts={name: _in_format(part, dtype) for name, part in payload.parts.items()})
    return replace(payload, values=payload.values.to(dtype)) if isinstance(payload, Scores) else payload


def _sorted_by_client(parts: Sequence[tuple[Sequence[int], Payload]]) -> tuple[list[int], Payload]:
    ids = [client for members, _ in parts for client in members]
    joined = parts[0][1] if len(parts) == 1 else Payload.join([payload for _, payload in parts])
    order = sorted(range(len(ids)), key=ids.__getitem__)
    if order == list(range(len(ids))):
        return ids, joined
    index = torch.tensor(order, device=joined.tensors()[0].device)
    return [ids[position] for position in order], joined.map(lambda tensor: tensor[index])
