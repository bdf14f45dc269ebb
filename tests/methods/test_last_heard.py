"""Who lacks what of the server's messages: by hand, over rounds in which clients come and go."""

from __future__ import annotations

import torch

from fl_bench.federation.channel import Uploads
from fl_bench.federation.payloads import Payload, Scalars
from fl_bench.federation.rounds import Round
from fl_bench.methods.last_heard import NOTHING, LastHeard


def uploads_of(*ids: int) -> Uploads:
    """Four clients, some of which sent something."""
    sent = Scalars({"x": torch.zeros(len(ids))})
    return Uploads([("net", ids, sent)], owners=["net"] * 4, dtype=torch.float32)


def test_everybody_gets_one_message_about_all_that_it_lacks() -> None:
    # Round 0 has clients 0 and 1, round 1 client 1, round 2 clients 1 and 3, round 3 client 0. A message says of which
    # round the newest one of its receiver is: of none at first; client 1 had that of round 0 when round 1 began.
    heard, told = LastHeard([NOTHING] * 4), []
    for index, participants in enumerate([(0, 1), (1,), (1, 3), (0,)]):
        heard.took_part(participants, Round(index, 0, None))
        messages: list[int] = []

        def message(newest: int, messages: list[int] = messages) -> Payload:
            messages.append(newest)
            return Scalars({"newest": torch.tensor([newest])})

        (parcel,) = heard.answer(uploads_of(*participants), message).parcels
        told.append([int(parcel.payload.values["newest"][parcel.address[client]]) for client in range(4)])
        assert messages == heard.rounds == sorted(set(told[-1]))  # one for all who lack the same
    assert told == [[-1, -1, -1, -1], [-1, 0, -1, -1], [-1, 1, -1, 1], [2, 1, -1, 1]]
    assert LastHeard(heard.of_client).rounds == [-1, 1, 2]
