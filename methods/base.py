"""The round interface: what a federated-learning method is, and what it may need.

A method is two functions: what a client does in a round and what the server does with the uploads. It never
loops over rounds, opens a dataset, reads a file, prints, counts bytes or knows which grid it is in.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

from fl_bench.errors import ConfigError

from ..federation.codecs import Codec
from ..federation.payloads import presence_bytes
from ..federation.rounds import Turn
from .planning import PlannedPhase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import nn

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.faults import Faults
    from ..federation.models.build import NetBytes
    from ..federation.optimizers import Optimizer
    from ..federation.payloads import Payload
    from ..federation.rounds import Federation, Round
    from ..federation.settings import ModelMix, Training

Config = TypeVar("Config")

NO_CODEC = Codec()
"""Scores travel as they are."""


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method that has none."""


@dataclass(frozen=True)
class Requires:
    """What a method cannot do without; checked before a run starts."""

    public_data: bool = False
    """A public pool of unlabelled samples, which is shipped to every client once."""
    public_data_at_server: bool = False
    """A public pool of unlabelled samples that the server alone uses."""
    one_architecture: bool = False
    """All clients have the same network, because weights are averaged."""
    one_width: bool = False
    """Bodies may differ, but all make features of one width: heads or class means of features are shared."""
    server_width: bool = False
    """The server's net makes features as wide as the clients' do, because one learns from the other's features. Known
    when the nets are built, before the first round."""
    shared_init: bool = False
    """Clients start from equal weights."""
    groups: bool = False
    """The true latent groups (an oracle: the run carries a badge)."""
    public_labels: bool = False
    """The true labels of the public pool (an oracle: the run carries a badge)."""
    pooled_data: bool = False
    """All private data in one place (a bound, not a federated method)."""

    def words(self) -> list[str]:
        """The needs in words, for tables."""
        return [name.replace("_", " ") for name, needed in vars(self).items() if needed]


@dataclass(frozen=True)
class Facts:
    """Sizes that a method's closed forms are written in, for one client."""

    public: int
    """Public samples N."""
    classes: int
    """Classes C."""
    net: NetBytes
    """The client's net of the zoo: bytes of weights, parameters and head, width of its features."""
    server: NetBytes | None = None
    """The server architecture's net; None: it is `net`."""
    clients: int = 1
    """Clients n of the federation."""
    classes_held: int = 0
    """Classes that the client has samples of; 0 where no data are at hand, and then all C are meant."""
    number_bytes: int = 4
    """Bytes b of one number."""
    codec: Codec = NO_CODEC
    """What scores are coded with."""
    local_epochs: int = 1
    """Passes over the private data per round, E_loc."""
    participants: int = 0
    """Clients drawn for a round; 0: all."""
    groups: int | None = None
    """Latent groups of the partition; None where it has none."""
    architectures: int = 1
    """Architectures that clients have."""
    all_views: bool = True
    """Whether every view is scored (`training.views`)."""

    @property
    def weights_bytes(self) -> int:
        """Bytes of the whole net, buffers included: #theta * b."""
        return self.net.weights

    @property
    def body_bytes(self) -> int:
        """Bytes of the net without its head."""
        return self.net.weights - self.net.head

    @property
    def head_bytes(self) -> int:
        """Bytes of the head."""
        return self.net.head

    @property
    def norm_bytes(self) -> int:
        """Bytes of BatchNorm layers, parameters and buffers: what FedBN keeps at home."""
        return self.net.norms

    @property
    def common_bytes(self) -> int:
        """Bytes of `Federation.common_net`, whatever the client's own net is: #omega * b."""
        return (self.server or self.net).weights

    def prototypes_bytes(self, classes: int) -> int:
        """Bytes of one vector of features for each of some classes, and of a bit for each of all C that says which."""
        return classes * self.net.features * self.number_bytes + presence_bytes(self.classes)

    @property
    def scores_bytes(self) -> int:
        """Bytes of one prediction matrix on the whole public pool under the run's codec (N * C * 4 without one)."""
        return self.bytes_of_scores(self.public)

    def bytes_of_scores(self, samples: int) -> int:
        """The same for the predictions on some of the pool's samples."""
        return self.codec.nbytes(samples, self.classes, self.number_bytes)


@dataclass(frozen=True)
class Plan:
    """What one round of one client costs, in closed form (methods.md 3.6); shown by `--dry-run`.

    Beside bytes it says what is trained: in passes over the private data and the public pool, or, where that does not
    say enough, as all phases of a round, `work`. The contract compares the steps that follow with those of the record.
    """

    up_bytes: int = 0
    """Bytes a client sends per round."""
    down_bytes: int = 0
    """Bytes a client receives in a round in which a message of the server waits for it."""
    first_down_bytes: int = 0
    """Bytes it receives in the run's first round: what `Method.opening` sends."""
    bound: bool = False
    """Whether the bytes depend on the data (coded lengths, masks) or on the round (a warm start), and these are the
    most that a round can cost."""
    client_local_epochs: float | None = None
    """Passes of a client over its private data per round; None: the run's local epochs."""
    client_public_epochs: float = 0
    """Passes of a client over the public pool in each round but the first, E_dis."""
    server_public_epochs: float = 0
    """Passes of the server's model over the public pool per round, E_srv."""
    work: tuple[PlannedPhase, ...] | None = None
    """All phases of a round, instead of the three numbers before, where these do not say enough."""
    steps: Literal["exact", "most", "expected"] = "exact"
    """How the planned steps are meant. `exact`: the record will have them where all clients take part and their sizes
    are known. `most`: they depend on the data, and the record has no more. `expected`: they depend on the data or on
    draws, and these are about what to expect."""

    def phases(self, local_epochs: int) -> tuple[PlannedPhase, ...]:
        """All phases of a round.

        Args:
            local_epochs: those of the run, E_loc.
        """
        if self.work is not None:
            return self.work
        local = local_epochs if self.client_local_epochs is None else self.client_local_epochs
        return (
            PlannedPhase("local", local),
            PlannedPhase("distill", self.client_public_epochs, "public", start=1),
            PlannedPhase("server", self.server_public_epochs, "public"),
        )


class Method(ABC, Generic[Config]):
    """A federated-learning method. Subclass `Method[YourConfig]` and register it with `@method("name")`.

    `YourConfig` is a frozen dataclass; its instance is `self.config`.
    """

    name: ClassVar[str]
    """Registered name."""
    requires: ClassVar[Requires] = Requires()
    """What it needs whatever its settings; `needs` may add to it."""
    exchanges: ClassVar[frozenset[type[Payload]]] = frozenset()
    """Payload types it may put on the wire, whatever its settings; `payloads` may name fewer."""
    deployed_view: ClassVar[str] = "client"
    """Name of the view that `deployed` returns, in tables: the number that stands for the method."""
    category: ClassVar[str] = "other"
    """Heading in listings: bound, averaging, distillation, personalized, clustered, prototypes."""
    paper: ClassVar[str] = ""
    """Who published it, where, and its arXiv number: `McMahan et al., AISTATS 2017, arXiv:1602.05629`."""
    wire: ClassVar[str] = ""
    """What a client sends and receives per round, in closed form, for people: `up N * C * b, down N * C * b`."""
    deploys: ClassVar[str] = "the model that the client holds since it last took part; its initial one before that"
    """What `deployed` returns, in words, also for clients that are not drawn for a round or never were."""
    tolerates_absence: ClassVar[bool] = False
    """Whether it goes on as it should where clients that were drawn go absent (`faults.absent`), before or after they
    trained. The server sees whose message arrived, `uploads.ids`, from one client at least in a round; what it sent to
    the others waits for them once more, unless it sends something newer. So nothing that a client changes when it
    sends, or takes when it receives, may have to agree with what the server keeps of it: no differences to what was
    last sent, no changes to be added. Where it is False such runs are `unsupported`."""
    near: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Methods that it cannot be told from where both have their defaults and the problem is small, each with a reason.
    The grid `defaults` measures it (docs/defaults.md)."""
    protocol: ClassVar[int] = 1
    """Version of its numbers: raised in the commit that moves a number or a byte which unchanged settings lead to. As a
    part of every cell's key it keeps records from before from being taken for new ones."""
    config_type: ClassVar[type[Any]] = NoSettings

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Find the configuration type in `Method[YourConfig]`."""
        super().__init_subclass__(**keywords)
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            if arguments and isinstance(arguments[0], type):
                cls.config_type = arguments[0]

    def __init__(self, config: Config | None = None) -> None:
        self.config: Config = self.config_type() if config is None else config
        """The settings, an instance of the dataclass in `Method[YourConfig]`."""
        self.federation: Federation
        """The run's, from before the clients are built."""

    @classmethod
    def summary(cls) -> str:
        """What it is in a line, for listings: the first line of the class's docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    def needs(self) -> Requires:
        """What this configuration needs."""
        return self.requires

    def payloads(self) -> frozenset[type[Payload]]:
        """Payload types that this configuration may put on the wire; the channel refuses all others."""
        return self.exchanges

    def plan(self, facts: Facts) -> Plan | None:
        """Closed-form cost of a round; None for a method that sends nothing (the contract refuses it of others)."""
        return None

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        """The update rules that models descend a loss of private data by, each with the setting that holds its rate.

        By default the run's alone. A method that brings a rule of its own returns it under the name of its own setting,
        `{"lr": Optimizer("sgd", self.config.lr)}`, and tables say where rates were not equal. Steps on public data
        alone, steps of the server and steps of a single number (a mixing weight) do not count.

        Args:
            training: the run's local training.
        """
        return {"training.lr": training.local_optimizer}

    def setup(self, federation: Federation) -> None:
        """Make what lasts, once, when all clients are there; before the first round or before `load_state_dict`."""

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]:
        """The exchanges of a round, in order; by default one, of all participants.

        `client_update` and `server_update` are called once for each (`rnd.turn` says which it is), evaluation follows
        the last. Bytes and seconds of a round are sums over its turns; where turns have several names, the record has
        them by name too. A client's phases draw other batches in another turn.

        Args:
            participants: the clients drawn for the round, ascending.
            rnd: the round.

        Returns:
            Turns whose clients are participants: `(Turn(participants, "train"), Turn(participants, "distill"))`, or
            one turn for each client in sequence.
        """
        return (Turn(participants),)

    def opening(self) -> Downloads | None:
        """What the server sends before the first round; nothing by default, as both sides know the initial weights."""
        return None

    def build_client(self, base: nn.Module) -> nn.Module:
        """The module a client trains, made of the zoo's net: itself by default.

        `self.federation` is there already, but no client is; its `common_net` is a second net for clients that have
        one of their own and one in common.
        """
        return base

    @abstractmethod
    def client_update(self, clients: Cohort, received: Any, rnd: Round) -> Payload | None:
        """One round of the clients: read as if for one of them, run for all members of the cohort.

        Args:
            clients: participating clients of one architecture that received the same kind of message.
            received: the latest message of the server since they last took part, a payload with one row per
                member; None when there is none, as in the first round.
            rnd: the round: its index, the public pool, streams.

        Returns:
            What they send, one row per member; None when they send nothing.
        """

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """What the server makes of the uploads and sends back; by default it does nothing."""
        return None

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The model that each client would use after this round; by default its own."""
        return clients.deployed()

    def deployed_net(self, client: nn.Module) -> nn.Module:
        """The net that `deployed` scores, made again of what `build_client` makes, whatever the weights in it.

        Only asked where models were kept (`--keep-models`), and only of methods that deploy a module of their own: what
        clients train, a part of it and nets of the server are found without it. `self.federation` is as in
        `build_client`.
        """
        return client

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """Further models to report on, by view name; never mistaken for the method's accuracy.

        Not called where nobody asks for them (`training.views: deployed`): whatever else it does must not be needed.
        """
        return {}

    def unseen(self, clients: Cohort, received: Any, rnd: Round) -> Deployed | None:
        """The models of clients that were kept out of training, once they are admitted; by default as after a round.

        Called after the last round where `partition.unseen` keeps clients out: they do what any client does in a round,
        `client_update`, and what they would send is dropped. A method that admits newcomers otherwise overrides this.
        It changes nothing of its own, and keeps to the run's budget: `clients.training.local_epochs`, the default of
        `fit`, is `training.admission_epochs` here.

        Args:
            clients: the newcomers of one architecture, with initial weights, private data, and ids that no other client
                has.
            received: what waits for all other clients of the architecture alike, the newest shared part, a payload with
                one row per member; None where clients were sent different things, or nothing.
            rnd: the round after the last.

        Returns:
            What is scored; None for a method that cannot admit anybody.
        """
        self.client_update(clients, received, rnd)
        return clients.deployed()

    def clusters(self) -> np.ndarray | None:
        """The cluster of every client, shape (clients,), for methods that have clusters."""
        return None

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """Further numbers of this round for the record."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything kept between rounds beside the clients' own: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; called after `setup`."""


def unsupported(
    method: Method[Any],
    *,
    models: ModelMix,
    training: Training,
    public: float,
    grouped: bool,
    labelled: bool = True,
    faults: Faults | None = None,
) -> str | None:
    """Why a method cannot run in a setting, or None when it can; needs no data.

    Args:
        method: the configured method.
        models: the clients' architectures.
        training: local training.
        public: fraction of the data in the public pool.
        grouped: whether the partition has latent groups.
        labelled: whether every public sample has a true label, which those of another data set have not.
        faults: what goes wrong; nothing by default.
    """
    needs = method.needs()
    if (needs.public_data or needs.public_data_at_server) and public == 0:
        return "needs public data, but partition.public is 0"
    if needs.public_labels and not labelled:
        return "needs the labels of public samples, and those of another data set (partition.public.from) have none"
    if needs.one_architecture and len(models.used) > 1:
        return f"needs one architecture, but clients have {', '.join(models.used)}"
    if needs.one_width and len(models.used) > 1 and models.width is None:
        return (
            f"needs one body width, but clients have {', '.join(models.used)}; "
            "models.width pools the features of all nets to one width"
        )
    if needs.shared_init and training.init != "shared_per_arch":
        return f"needs equal initial weights, but training.init is {training.init}"
    if needs.groups and not grouped:
        return "needs latent groups, which this partition does not have (latent-groups does)"
    if faults is None:
        return None
    return faults.refused_by(method.payloads(), tolerates_absence=method.tolerates_absence)


def positive(owner: str, **settings: float) -> None:
    """Raise a `ConfigError` for a setting that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ConfigError(f"{owner}.{name} must be above 0, got {value}")


def not_negative(owner: str, **settings: float) -> None:
    """Raise a `ConfigError` for a setting that is below 0."""
    for name, value in settings.items():
        if not value >= 0:
            raise ConfigError(f"{owner}.{name} must not be negative, got {value}")
