"""Which of the server's messages each client has, for methods whose messages say what changed since an earlier one.

A message waits until its client next takes part, and a newer one replaces it. So one that is about changes must be
about all of them since the message that the client has, and clients that have another one need another message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..federation.payloads import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..federation.channel import Downloads, Uploads
    from ..federation.rounds import Round

NOTHING = -1
"""The round of a client that has no message yet."""


class LastHeard:
    """For each client the round whose message it has, `NOTHING` before its first; known to the server.

    A method keeps what it needs for its next message to the clients of each of the `rounds`, and nothing of others.

    Args:
        rounds: of each client of the federation.
    """

    def __init__(self, rounds: Iterable[int]) -> None:
        self.of_client = list(rounds)
        """The round of each client, by client id."""

    @property
    def rounds(self) -> list[int]:
        """The rounds whose message some client has as its newest, ascending."""
        return sorted(set(self.of_client))

    def took_part(self, participants: Sequence[int], rnd: Round) -> None:
        """Note that the participants of a round began it with the message of the round before."""
        for client in participants:
            self.of_client[client] = rnd.index - 1

    def answer(self, uploads: Uploads, message: Callable[[int], Payload]) -> Downloads:
        """Send every client of the federation what it lacks.

        Args:
            uploads: of this round, whose participants are noted.
            message: what clients need that have the message of a round, a payload with one row.
        """
        rounds = self.rounds
        row = {heard: place for place, heard in enumerate(rounds)}
        payload = Payload.join([message(heard) for heard in rounds])
        return uploads.to_each(payload, [row[heard] for heard in self.of_client])
