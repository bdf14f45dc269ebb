"""Where the nets, initial weights and cohorts of a run come from (federation room)."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError, Unsupported
from fl_bench.streams import numpy_stream, stream_key

from .cohort import Cohort
from .members import Members
from .models.build import build_net, compile_nets
from .storage import Models
from .work import WorkLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor, nn

    from fl_bench.streams import Seeds

    from .data import FederatedData
    from .models.net import Net
    from .settings import Execution, ModelMix, Training


class Factory:
    """Builds nets of the zoo for a run's data, the clients made of them, and cohorts that train on the data.

    Args:
        data: the federation's data.
        models: the architectures of clients and server.
        training: rounds and local training.
        execution: how to use the machine.
        seeds: of initial weights and of training steps.
        identities: what names each client's random streams.
        client_module: makes the module that a client trains of a net of the zoo.
        deadline: most training steps of a client in a round; None for no limit.
    """

    def __init__(
        self,
        data: FederatedData,
        models: ModelMix,
        training: Training,
        execution: Execution,
        *,
        seeds: Seeds,
        identities: tuple[int, ...],
        client_module: Callable[[Net], nn.Module],
        deadline: int | None = None,
    ) -> None:
        self.data = data
        self.mix = models
        self.training = training
        self.execution = execution
        self.seeds = seeds
        self.identities = identities
        self.work = WorkLog(deadline=deadline)
        """What all cohorts of this factory did."""
        groups = None if data.groups is None else data.groups.open_for_evaluation()
        self.architectures = assign_architectures(models, data.clients, groups, seeds.partition)
        """Architecture of each client."""
        self._private_rows = data.train.split()
        self._place = {
            client: place
            for name in dict.fromkeys(self.architectures)
            for place, client in enumerate(self.ids_of(name))
        }
        self._client_module = client_module
        self.clients: dict[str, Models] = {}
        """The clients' models by architecture, each in id order; empty until `build_clients`."""

    def net(self, name: str, *stream: str | int) -> Net:
        """A net of the zoo with the initial weights of a stream, on the CPU."""
        about = self.data.about
        key = stream_key(self.seeds.init, *stream)
        return build_net(name, about.shape, about.classes, key=key, width=self.mix.width, vocabulary=about.vocabulary)

    def client_modules(self, nets: Sequence[Net]) -> list[nn.Module]:
        """What clients with these nets train."""
        return [self._client_module(net) for net in nets]

    def stacked(self, name: str, modules: Sequence[nn.Module]) -> Models:
        """Modules of one architecture, stacked on the run's device."""
        return Models.stacked(name, modules, self.data.device, self.data.dtype)

    def build_clients(self) -> str:
        """Build all clients; returns a digest of the initial weights of their nets."""
        digest = hashlib.sha256()
        for name in dict.fromkeys(self.architectures):
            shared = self.training.init == "shared_per_arch"
            own = [() if shared else (self.identities[client],) for client in self.ids_of(name)]
            nets = [self.net(name, "init", name, *identity) for identity in own]
            for net in nets:
                for tensor in net.state_dict().values():
                    digest.update(tensor.numpy().tobytes())
            modules = self.client_modules(nets)
            if self.execution.compile:
                compile_nets(modules[0])
            self.clients[name] = self.stacked(name, modules)
        return digest.hexdigest()

    def check_server_width(self, method: str) -> None:
        """Raise `Unsupported` where the server's net makes features of another width than a client's."""
        names = {*self.architectures, self.mix.server_name}
        widths = {name: self.net(name, "init", name).features for name in sorted(names)}
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} makes {width}" for name, width in widths.items())
            raise Unsupported(
                f"{method} needs nets of one feature width at clients and server, but {found}; "
                "models.width pools the features of all nets to one width"
            )

    def ids_of(self, architecture: str) -> list[int]:
        """The clients of one architecture, ascending."""
        return [client for client, name in enumerate(self.architectures) if name == architecture]

    def cohort(
        self,
        models: Models,
        ids: Sequence[int],
        *,
        side: Literal["client", "server"] = "client",
        rows: Sequence[int] | None = None,
        private_rows: Sequence[Tensor] = (),
        label_counts: Tensor | None = None,
        keys: Sequence[int] | None = None,
        round_index: int = 0,
        turn: int = 0,
    ) -> Cohort:
        """A cohort of this run, whose training counts as work of the run.

        Args:
            models: the storage.
            ids: of the members.
            side: whose models they are.
            rows: where each member's model is; the row of its id by default.
            private_rows: what each member trains on.
            label_counts: private samples of each member and class.
            keys: what names the members' random streams; their ids by default.
            round_index: the round it is in.
            turn: the exchange inside the round.
        """
        members = Members(
            models,
            ids=tuple(ids),
            rows=tuple(ids if rows is None else rows),
            keys=tuple(ids if keys is None else keys),
            private_rows=tuple(private_rows),
            data=self.data,
            training=self.training,
            execution=self.execution,
            seed=self.seeds.batches,
            side=side,
            round_index=round_index,
            turn=turn,
        )
        return Cohort(members, self.work, label_counts)

    def client_cohort(self, architecture: str, ids: Sequence[int], round_index: int, turn: int = 0) -> Cohort:
        """The clients `ids`, all of one architecture, in a round and one of its turns."""
        return self.cohort(
            self.clients[architecture],
            ids,
            rows=[self._place[client] for client in ids],
            private_rows=[self._private_rows[client] for client in ids],
            label_counts=self.data.label_counts[list(ids)],
            keys=[self.identities[client] for client in ids],
            round_index=round_index,
            turn=turn,
        )


def assign_architectures(mix: ModelMix, clients: int, groups: np.ndarray | None, seed: int) -> tuple[str, ...]:
    """The architecture of each client.

    Raises:
        ConfigError: an explicit assignment that does not name one architecture per client.
    """
    if isinstance(mix.assignment, tuple):
        if len(mix.assignment) != clients:
            raise ConfigError(f"models.assignment names {len(mix.assignment)} architectures for {clients} clients")
        return mix.assignment
    if mix.assignment == "random":
        draws = [numpy_stream(seed, "architecture", client).integers(len(mix.names)) for client in range(clients)]
        return tuple(mix.names[draw] for draw in draws)
    seen: Counter[int] = Counter()
    chosen = []
    for group in [0] * clients if groups is None else groups.tolist():
        chosen.append(mix.names[seen[group] % len(mix.names)])
        seen[group] += 1
    return tuple(chosen)
