"""The check that nothing passes between clients, or between them and the server, but messages.

Every client has a cohort, a method object, a storage and data of its own, the server has an object and no private data,
and messages travel as bytes. In one process a method's author forgets easily that all of that is apart in a federation.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import torch

from ..registry import METHODS
from .worlds import (
    FEW,
    TRAINING,
    Outcome,
    changed_tensors,
    deal,
    different_values,
    finish,
    made_up_data,
    make_run,
    undisturbed,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ...federation.cohort import Cohort
    from ...federation.data import FederatedData
    from ...federation.payloads import Payload
    from ...federation.rounds import Federation, Round
    from ...federation.run import Run
    from ...federation.settings import Training
    from ...federation.storage import Models
    from ..base import Method

WALLS = {
    "cohorts": "`client_update` uses what only other clients have: look for means or sums over the first axis of "
    "`clients.weights`, `clients.parameters`, `clients.predict(...)` or `received`, for `len(clients)`, and for "
    "`clients.kept(...)`, whose rows are zeros for a client that kept nothing while another did",
    "objects": "`client_update` shares something with the server or other clients through `self`: look for `self.` "
    "attributes that one side sets and the other reads (what a client must know comes in `received`, what it remembers "
    "goes through `clients.keep`, what the server must know goes into the message)",
    "bytes": "a message cannot travel: look for what is put into it beside tensors and plain numbers, such as NumPy's",
    "storage": "`client_update` reaches the weights of other clients: look for `clients.members.models`",
    "data": "a client reads samples, labels or sizes of other clients, or the server reads any: look for "
    "`members.data` (a client's own are `PRIVATE`, `clients.sizes` and `clients.label_counts`) and for "
    "`federation.pooled`, which is for bounds that say so in `requires`",
}
"""What can stand between clients, in the order in which it is put up, and what a method does that is stopped by it."""
GARBAGE = 1e3
"""Every number of a sample that is not the client's."""
ROUNDING = 1e-5
"""How far numbers of rows may be apart, in float32: those that are means over clients are summed in another order."""


def only_messages_pass(name: str) -> None:
    """Clients and server that are apart come to the same weights, rows and bytes, also where few take part.

    A bound that trains on pooled data is exempt: nothing is apart there.
    """
    if METHODS[name]().needs().pooled_data:
        return
    for training in (replace(TRAINING, engine="loop"), FEW):
        together = undisturbed(METHODS[name], training)
        if _first_difference(name, training, tuple(WALLS), together) is None:
            continue
        share = f"with participation {training.participation:g}"
        walls = list(WALLS)
        for count in range(1, len(walls) + 1):
            found = _first_difference(name, training, walls[:count], together)
            if found is not None:
                raise AssertionError(
                    f"{name}, {share}: clients with {', '.join(walls[:count])} of their own {found}; "
                    f"{WALLS[walls[count - 1]]}"
                )


def _first_difference(name: str, training: Training, walls: Collection[str], together: Outcome) -> str | None:
    """How a run with clients apart differs from that with clients together."""
    try:
        apart = finish(make_apart(name, training, walls))
    except Exception as error:  # whatever a method does where something is missing
        return f"fail: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    changed = changed_tensors(together.weights, apart.weights)
    if changed:
        return f"come to other weights: {', '.join(changed)}"
    for usual, row in zip(together.rows, apart.rows, strict=True):
        different = different_values(usual, row, ROUNDING)
        if different:
            return f"come to other numbers in round {usual['round']}: {', '.join(different)}"
    return None


def make_apart(name: str, training: Training, walls: Collection[str] = tuple(WALLS)) -> Run:
    """A run whose clients are apart.

    Args:
        name: registered name of the method.
        training: rounds and local training.
        walls: what each client has of its own, see `WALLS`.
    """
    dataset = made_up_data()
    dealt = deal(dataset)
    server = METHODS[name]()
    apart = Apart(server, dataset, dealt, walls)
    server.setup, server.client_update = apart.setup, apart.client_update  # type: ignore[method-assign]  # in its place
    return make_run(server, dataset, dealt, training)


class Apart:
    """Clients who have their own method objects, storage and data.

    Args:
        server: the server's object.
        dataset: the data.
        dealt: who holds which rows.
        walls: what each client has of its own, see `WALLS`.
    """

    def __init__(self, server: Method[Any], dataset: Dataset, dealt: Split, walls: Collection[str]) -> None:
        self._server = server
        self._usual_setup, self._usual_update = server.setup, server.client_update
        self._dataset = dataset
        self._dealt = dealt
        self._walls = frozenset(walls)
        self._objects: dict[int, Method[Any]] = {}
        self._data: dict[int | None, FederatedData] = {}
        self._models: dict[int, Models] = {}

    def setup(self, federation: Federation) -> None:
        """Set the server's object up, whose models see no private sample; see `Method.setup`."""
        from ...federation.cohort import Cohort

        factory = federation._factory
        usual = factory.cohort

        def cohort(models: Models, ids: Sequence[int], *, side: Any = "client", **options: Any) -> Cohort:
            made = usual(models, ids, side=side, **options)
            if side == "client":
                return made
            return Cohort(replace(made.members, data=self._data_of(None, factory.data)), made.work)

        if "data" in self._walls:
            factory.cohort = cohort  # type: ignore[method-assign]  # which is where all of the server's models come from
            federation.pooled = _refused  # type: ignore[method-assign]
        self._usual_setup(federation)

    def client_update(self, clients: Cohort, received: Payload | None, rnd: Round) -> Payload | None:
        """Update the members of a cohort one after the other; see `Method.client_update`."""
        from ...federation.payloads import Payload

        sent = [self._update(clients, place, received, rnd) for place in range(len(clients))]
        messages = [message for message in sent if message is not None]
        if not messages:
            return None
        assert len(messages) == len(sent), "some clients of a cohort sent something and some did not"
        return Payload.join(messages)

    def _update(self, clients: Cohort, place: int, received: Payload | None, rnd: Round) -> Payload | None:
        from ...federation.cohort import Cohort
        from ...federation.payloads import Payload

        client, members = clients.ids[place], clients.members.only([place])
        message = None if received is None else received.take(torch.tensor([place]))
        update = self._usual_update
        if "objects" in self._walls:
            mine = self._object_of(client, clients)
            rnd, update = replace(rnd, federation=mine.federation), mine.client_update
        if "storage" in self._walls:
            members = replace(members, models=self._models_of(client, clients, place), rows=(0,))
        if "data" in self._walls:
            members = replace(members, data=self._data_of(client, clients.members.data))
        cohort = Cohort(members, clients.work, clients.label_counts[[place]])
        if message is not None and "bytes" in self._walls:
            message = Payload.from_bytes(message.to_bytes())
        sent = update(cohort, message, rnd)
        if "storage" in self._walls:
            _put_back(members.models.kept, clients.members.models, clients.members.rows[place])
        return Payload.from_bytes(sent.to_bytes()) if sent is not None and "bytes" in self._walls else sent

    def _object_of(self, client: int, clients: Cohort) -> Method[Any]:
        """The client's own method object, which has seen no other client and no server."""
        from ...federation.models import build_net

        if client not in self._objects:
            mine = type(self._server)(self._server.config)
            mine.federation = copy(self._server.federation)
            if "data" in self._walls:
                pool = self._data_of(client, clients.members.data).public
                mine.federation = self._server.federation.with_public(pool)
            about = clients.members.data.about
            net = build_net(clients.architecture, about.shape, about.classes, vocabulary=about.vocabulary)
            mine.build_client(net)  # which may set attributes
            mine.setup(mine.federation)
            self._objects[client] = mine
        return self._objects[client]

    def _models_of(self, client: int, clients: Cohort, place: int) -> Models:
        """Models of one: views of the client's row, and what it alone has kept."""
        from ...federation.storage import Models

        if client not in self._models:
            whole, row = clients.members.models, clients.members.rows[place]
            parameters, buffers = (
                {name: tensor[row : row + 1] for name, tensor in tree.items()}
                for tree in (whole.parameters, whole.buffers)
            )
            self._models[client] = Models(whole.name, whole.template, parameters, buffers)
        return self._models[client]

    def _data_of(self, client: int | None, data: FederatedData) -> FederatedData:
        """Data of one client, or of the server: nobody else has rows, labels or sizes, other samples are garbage."""
        from ...federation.data import FederatedData

        if client not in self._data:

            def only(lists: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
                return tuple(rows if owner == client else rows[:0] for owner, rows in enumerate(lists))

            dealt = self._dealt
            dealt = replace(dealt, train=only(dealt.train), validation=only(dealt.validation), test=only(dealt.test))
            inputs = torch.full_like(self._dataset.inputs, GARBAGE)
            for rows in (*dealt.train, *dealt.validation, dealt.public):
                inputs[rows] = self._dataset.inputs[rows]
            own = FederatedData(replace(self._dataset, inputs=inputs), dealt, data.device, data.dtype)
            own.sealed_labels, own.groups, own.public.labels = data.sealed_labels, data.groups, data.public.labels
            self._data[client] = own
        return self._data[client]


def _refused(*_: Any, **__: Any) -> Any:
    raise TypeError("private data lie in one place for methods with `requires = Requires(pooled_data=True)` only")


def _put_back(kept: dict[str, dict[str, Any]], whole: Models, row: int) -> None:
    """Show the server's object, which is asked what to deploy, what a client keeps."""
    for name, tree in kept.items():
        for key, value in tree.items():
            shown = whole.kept.setdefault(name, {})
            if key not in shown:
                shown[key] = value.new_zeros((len(whole), *value.shape[1:]))
            shown[key][row] = value[0]
