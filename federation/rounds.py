"""What methods see of a run: the round they are in, and the federation with the models that the server may build."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.lazy import torch
from fl_bench.streams import numpy_stream, stream_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import nn

    from fl_bench.sealed import Sealed

    from .cohort import Cohort
    from .data import PublicPool
    from .factory import Factory
    from .models.net import Net
    from .payloads import Tree


@dataclass(frozen=True)
class Turn:
    """One exchange inside a round: some clients receive, work and send, then the server works and sends."""

    clients: tuple[int, ...]
    """Who takes part in it, of the round's participants."""
    name: str = ""
    """What the record calls it: bytes and clocks are also counted by name where a round has turns of several names."""


@dataclass(frozen=True)
class Round:
    """One communication round, as both sides see it."""

    index: int
    """t = 0, 1, ..., rounds - 1."""
    seed: int
    """Of what the method draws in this round (`Seeds.draws`)."""
    federation: Federation
    """The run's, as `self.federation` of the method."""
    turn: int = 0
    """Number of the exchange inside the round, from 0; mostly there is one."""

    @property
    def public(self) -> PublicPool:
        """The public pool: inputs in the open, labels sealed."""
        return self.federation.public

    def stream(self, purpose: str) -> np.random.Generator:
        """Random numbers of this round for one purpose of the method's own: a NumPy generator at its start.

        The same in every turn of the round: put the turn into the purpose where each is to draw others.
        """
        return numpy_stream(self.seed, purpose, self.index)


def drawn_clients(clients: int, participation: float, seed: int, index: int) -> list[int]:
    """Clients that take part in round `index`, ascending; the same for every method of a seed.

    Args:
        clients: number of clients n.
        participation: fraction that is drawn, max(1, round(participation * n)) of them.
        seed: of the run's draws (`Seeds.draws`).
        index: the round, from 0.
    """
    if participation == 1.0:
        return list(range(clients))
    count = max(1, round(participation * clients))
    drawn = numpy_stream(seed, "participation", index).choice(clients, count, replace=False)
    return sorted(int(client) for client in drawn)


class Federation:
    """What the server knows of the run, and the models it may build. A method has it as `self.federation`."""

    def __init__(self, factory: Factory, *, reads_public: bool = True) -> None:
        self._factory = factory
        self._reads_public = reads_public
        self._public = factory.data.public
        data, training = factory.data, factory.training
        self.clients = data.clients
        """Number of clients n; they are 0, ..., n - 1."""
        self.classes = data.about.classes
        """Number of classes C."""
        self.modality = data.about.modality
        """Kind of data: `image`, `tabular`, `sequence` or `text`."""
        self.vocabulary = data.about.vocabulary
        """Number of different tokens of a text, which are 0, 1, ...; None for all other data."""
        self.init_seed = factory.seeds.init
        """Of initial weights that the method draws itself."""
        self.device = data.device
        """Where all tensors of the run are."""
        self.training = training
        """Rounds and local training, the same for all methods of a comparison."""
        self.deadline = factory.work.deadline
        """Most training steps of a client in a round, whatever its phases (`faults.deadline`); None for no limit."""
        self.dtype = data.dtype
        """Number format of weights and messages."""
        self.stored_as = torch.float16 if training.store == "float16" else data.dtype
        """Number format in which predictions are remembered between rounds (`training.store`)."""
        self.has_validation = data.validation.rows.numel() > 0
        """Whether any client keeps samples for validation (`partition.val_fraction`)."""
        self.architectures = factory.architectures
        """Architecture of each client, by client id: shape (clients,) of names."""
        self.identities = factory.identities
        """What names each client's random streams: its id, unless a run renumbers its clients."""
        self.groups: Sealed[np.ndarray] | None = data.groups
        """True latent group of each client; opening it marks the run `oracle: true groups`."""
        self.start: dict[str, Tree] = {}
        """Initial weights of the first client of each architecture, name to (1, ...); everyone's where shared."""

    @property
    def public(self) -> PublicPool:
        """The public pool, as `Round.public`; empty where the run has none.

        Raises:
            ConfigError: the method does not say that it needs public data, whose shipping would then be free.
        """
        if not self._reads_public:
            raise ConfigError(
                "this method reads the public pool, but does not declare it; add `public_data=True` to its `Requires` "
                "(or `public_data_at_server=True`, if the server alone reads it), so that its shipping is counted"
            )
        return self._public

    def with_public(self, pool: PublicPool) -> Federation:
        """The same federation as somebody sees it who has this copy of the pool."""
        seen = copy(self)
        seen._public = pool
        return seen

    def common_net(self) -> Net:
        """A net of the run's server architecture with the initial weights that every client knows by the seed.

        Every call gives the same weights, whatever `training.init` says: those that clients of this architecture
        start from where they share their start. `Method.build_client` may put one beside a client's own net.
        """
        name = self._factory.mix.server_name
        return self._factory.net(name, "init", name)

    def server_models(self, count: int, wrap: Callable[[nn.Module, int], nn.Module] | None = None) -> Cohort:
        """`count` fresh models of the run's server architecture, each with its own initial weights; nothing is sent.

        Build them in `setup` and keep the cohort; its `state_dict` belongs into the method's.

        Args:
            count: number of models; member k of the cohort is model k. `Cohort.at` moves it to a round.
            wrap: turns a net of the zoo and a key for initial weights into the module to train (several heads,
                ...); the net itself by default.
        """
        name = self._factory.mix.server_name
        modules: list[nn.Module] = []
        for model in range(count):
            net = self._factory.net(name, "server init", name, model)
            key = stream_key(self.init_seed, "server init", name, model)
            modules.append(net if wrap is None else wrap(net, key))
        return self._factory.cohort(self._factory.stacked(name, modules), range(count), side="server")

    def holding(self, architecture: str, tree: Tree) -> Cohort:
        """Models of a client architecture in the server's hands: uploaded ones to predict with, averages to train.

        Args:
            architecture: one of `architectures`.
            tree: weights, name to (models, ...); training changes them in place. Tensors that are missing (heads
                that never leave the clients) are those of the first client at the start.
        """
        rows = len(next(iter(tree.values())))
        whole = {
            name: tensor.expand(rows, *tensor.shape[1:]).clone() for name, tensor in self.start[architecture].items()
        }
        models = self._factory.clients[architecture].holding({**whole, **tree})
        return self._factory.cohort(models, range(rows), side="server")

    def fresh_weights(self, architecture: str, count: int) -> Tree:
        """Initial weights of `count` models of a client architecture, name to (count, ...).

        The first is what clients start from where they share their start; both sides know all of them by the seed.
        """
        factory, start = self._factory, self.start[architecture]
        if count == 1:
            return {name: tensor.clone() for name, tensor in start.items()}
        nets = [factory.net(architecture, "further init", architecture, model) for model in range(1, count)]
        models = factory.stacked(architecture, factory.client_modules(nets))
        further = {**models.parameters, **models.buffers}
        return {name: torch.cat([tensor, further[name]]) for name, tensor in start.items()}

    def pooled(self, members: Sequence[Sequence[int]], *, with_public_by: str = "") -> Cohort:
        """Bounds only: one model per list of clients, trained on their pooled private data.

        Args:
            members: the clients whose data each model sees, in the order of their identities; its batch order is
                that of the first of them.
            with_public_by: the name of a method that also trains on public samples with their true labels, which
                opens the seal in its name; nobody by default.
        """
        data = self._factory.data
        owned = data.train.split()
        groups = [sorted(group, key=lambda client: self.identities[client]) for group in members]
        rows = [torch.cat([owned[client] for client in group]) for group in groups]
        if with_public_by:
            public = data.reveal_public_labels(with_public_by)
            rows = [torch.cat([part, public]) for part in rows]
        return self._factory.cohort(
            self._factory.stacked(self._factory.mix.server_name, [self.common_net() for _ in members]),
            [min(group) for group in members],
            private_rows=rows,
            rows=range(len(members)),
            keys=[self.identities[group[0]] for group in groups],
        )
