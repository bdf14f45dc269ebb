"""pFedHN: a hypernetwork at the server makes every client's weights from a vector that stands for the client.

A. Shamsian, A. Navon, E. Fetaya, G. Chechik, "Personalized Federated Learning using Hypernetworks", ICML 2021,
arXiv:2103.04628, Algorithm 1. In a round the sampled clients take turns, in an order drawn anew. The turn of client i,
with a hypernetwork H of weights phi and an embedding v_i of every client:

    generate     theta_i = H(v_i; phi)                      by the H that the client before it left
    train        theta~_i = SGD(theta_i; D_i)               `inner_lr`, momentum, decay; E_loc epochs or `inner_steps`
    send         d_i = theta~_i - theta_i
    multiply     g = -d_i * dH(v_i; phi)/d(phi, v)           vector-Jacobian product: how to lose what training lost
    update       phi, v <- SGD step against g               `lr`, momentum, decay; g clipped to norm `clip`

H: `hypernetwork`, with an embedding, `layers` hidden layers after the first, and a generator of the client's weights.
Exchanged: theta_i's parameters down, from the first round on, and as many up, #theta * b bytes each way; H never leaves
the server. With `personal_head` (pFedHN-PC) the body alone, and clients keep their heads. BatchNorm statistics cannot
be generated: they stay with the client, as its last local training left them.
Deployed: H(v_i; phi) after the round (`generated`), with the client's head in pFedHN-PC. Also: theta~_i (`+local`).
The defaults are those of the authors' code (github.com/AvivSham/pFedHN, `experiments/pfedhn/trainer.py`), where
momentum and decay go on moving the embeddings of other clients, too, as torch's SGD does.
Departures: a client's turn comes once in each round that it is drawn for; the authors draw 5000 clients with
replacement. It trains for the run's local epochs, as in all methods of a comparison, unless `inner_steps` is set: 50
batches of 64 in the paper.
With `server_step: joint` all clients of a round train on weights of the round's start, and the server takes one step
against the mean over clients of phi's gradients and each client's own for v_i. That is faster, as clients train at
once, but a round moves H once and not |S| times.
Some re-implementations under this name contain no hypernetwork and exchange nothing, which is Local-only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import torch
from fl_bench.spaces import Log, space

from ..federation.optimizers import Optimizer
from ..federation.payloads import Parameters
from ..federation.rounds import Turn
from ..federation.trees import minus
from .base import Facts, Method, Plan, not_negative, positive
from .clustering import identity_order
from .losses import cross_entropy
from .parts import check_bodies, everywhere, is_body
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round
    from ..federation.settings import Training


@dataclass(frozen=True)
class PFedHNConfig:
    """Settings of pFedHN beside the run's epochs and batches."""

    server_step: Literal["sequential", "joint"] = "sequential"
    """One step after each client's turn (the paper), or one a round for all of its clients."""
    inner_optimizer: Literal["sgd", "run"] = "sgd"
    """Clients train by SGD of the method's own (the paper), or with the run's optimizer."""
    inner_lr: float = field(default=0.005, metadata=space(Log(5e-4, 0.5)))
    """Learning rate of the clients' SGD."""
    inner_momentum: float = 0.9
    """Momentum of the clients' SGD, in [0, 1)."""
    inner_decay: float = 5e-5
    """Weight decay of the clients' SGD."""
    inner_clip: float = 50.0
    """Largest norm of a gradient in the clients' SGD; the run's optimizer has the run's, `training.clip`."""
    inner_steps: int | None = None
    """Batches of a client per round, 50 in the paper; the run's local epochs when null."""
    lr: float = field(default=0.01, metadata=space(Log(1e-3, 0.1)))
    """Learning rate of the hypernetwork and the embeddings."""
    momentum: float = 0.9
    """Momentum of the server's SGD, in [0, 1)."""
    decay: float = 1e-3
    """Weight decay of the server's SGD."""
    clip: float = 50.0
    """Largest norm of a step's gradient of the hypernetwork and the embeddings."""
    embedding: int | None = None
    """Numbers in v_i; floor(1 + clients / 4) when null."""
    hidden: int = 100
    """Units of each layer of the hypernetwork."""
    layers: int = 3
    """Hidden layers after the first."""
    personal_head: bool = False
    """pFedHN-PC: bodies are generated, heads stay with the clients and are trained there."""

    def __post_init__(self) -> None:
        positive(
            "pfedhn", inner_lr=self.inner_lr, inner_clip=self.inner_clip, lr=self.lr, clip=self.clip, hidden=self.hidden
        )
        positive("pfedhn", inner_steps=1 if self.inner_steps is None else self.inner_steps)
        positive("pfedhn", embedding=1 if self.embedding is None else self.embedding)
        not_negative("pfedhn", inner_decay=self.inner_decay, decay=self.decay, layers=self.layers)
        for name in ("inner_momentum", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"pfedhn.{name} must be in [0, 1), got {getattr(self, name)}")


@method("pfedhn")
class PFedHN(Method[PFedHNConfig]):
    """A hypernetwork at the server makes every client's weights from a vector that stands for the client.

    The server keeps the hypernetwork with the embeddings, and the momentum of both.
    """

    protocol = 3  # clients take turns, and the defaults are the authors'
    tolerates_absence = False  # the server learns from the answer to the weights that it has just sent
    category = "personalized"
    paper = "Shamsian et al., ICML 2021, arXiv:2103.04628"
    wire = "up #theta * b, down #theta * b (no buffers)"
    exchanges = frozenset({Parameters})
    deployed_view = "generated"
    deploys = "newly generated weights, for every client, with what is not generated as the client holds it"

    def plan(self, facts: Facts) -> Plan:
        """The generated parameters each way, from the first round on."""
        size = facts.net.trainable - (facts.net.head if self.config.personal_head else 0)
        steps = PlannedPhase("local", facts.local_epochs, batches=self.config.inner_steps)
        return Plan(up_bytes=size, down_bytes=size, first_down_bytes=size, work=(steps,))

    def local_optimizers(self, training: Training) -> dict[str, Optimizer]:
        """SGD of the method's own, unless clients are to train with the run's optimizer."""
        if self.config.inner_optimizer == "run":
            return super().local_optimizers(training)
        return {"inner_lr": Optimizer("sgd", self.config.inner_lr, self.config.inner_momentum, self.config.inner_decay)}

    def setup(self, federation: Federation) -> None:
        """Draw the hypernetwork and the embeddings, each client's by its identity."""
        from .hypernetwork import HyperNetwork  # imports torch

        if self.config.personal_head:
            check_bodies(self.name, federation)
        shapes = {
            architecture: {
                name: tensor.shape[1:]
                for name, tensor in federation.holding(architecture, start).parameters.items()
                if is_body(name) or not self.config.personal_head
            }
            for architecture, start in federation.start.items()
        }
        self.hypernetwork = HyperNetwork(
            shapes,
            federation.identities,
            embedding=self.config.embedding or 1 + federation.clients // 4,
            hidden=self.config.hidden,
            layers=self.config.layers,
            seed=federation.init_seed,
        ).to(federation.device, federation.dtype)
        self.order: list[tuple[int, ...]] = []
        self.optimizer = torch.optim.SGD(
            self.hypernetwork.parameters(), self.config.lr, self.config.momentum, weight_decay=self.config.decay
        )

    def turns(self, participants: tuple[int, ...], rnd: Round) -> Sequence[Turn]:
        """One turn per client, in an order that is drawn for the round and follows identities; or one for all."""
        if self.config.server_step == "joint":
            self.order = [participants]
        else:
            places = identity_order(self.federation, participants)
            self.order = [(participants[place],) for place in rnd.stream("pfedhn turns").permutation(places)]
        return [Turn(clients) for clients in self.order]

    def opening(self) -> Downloads:
        """The first generated weights."""
        return self.newest(range(self.federation.clients))

    def client_update(self, clients: Cohort, received: Parameters, rnd: Round) -> Parameters:
        """Train from the generated weights; send how they changed."""

        clients.load(received.tree)
        own = self.config.inner_optimizer == "sgd"
        (rule,) = self.local_optimizers(clients.training).values()
        clients.fit(
            cross_entropy,
            optimizer=rule,
            clip=self.config.inner_clip if own else "run",
            fresh=True,
            batches=self.config.inner_steps,
        )
        trained = clients.weights
        return Parameters(minus({name: trained[name] for name in received.tree}, received.tree), relative=True)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """A step of the hypernetwork and of the embeddings, then new weights for who is next: after the last, all."""
        changes = {name: (uploads.ids_of(name), uploads.parameters(name)) for name in uploads.architectures}
        self.step({name: (ids, {key: -own for key, own in tree.items()}) for name, (ids, tree) in changes.items()})
        last = rnd.turn + 1 == len(self.order)
        return self.newest(range(self.federation.clients) if last else self.order[rnd.turn + 1])

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """What the hypernetwork makes for each client now; what is not generated is the client's own."""
        return clients.with_weights({**clients.weights, **self.generated(clients.ids, clients.architecture)})

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains what the hypernetwork makes of the mean embedding; the paper fits an embedding to it."""
        with torch.no_grad():
            mean = self.hypernetwork.embeddings.weight.mean(dim=0, keepdim=True)
            start = self.hypernetwork.weights_of(mean, clients.architecture)
        self.client_update(clients, Parameters(everywhere(start, clients)), rnd)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def state_dict(self) -> dict[str, Any]:
        """The hypernetwork and its optimizer."""
        return {"hypernetwork": self.hypernetwork.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `state_dict`."""
        self.hypernetwork.load_state_dict(state["hypernetwork"])
        self.optimizer.load_state_dict(state["optimizer"])

    def step(self, lost: Mapping[str, tuple[Sequence[int], Tree]]) -> None:
        """One step against the vector-Jacobian product of H with what weights lost in training.

        Of phi it is the mean over clients; each v_i has that of its own client alone. Generators of architectures that
        nobody has here stay as they are.

        Args:
            lost: the clients of each architecture and what their weights lost, name to (clients, ...).
        """
        self.optimizer.zero_grad()
        for architecture, (ids, trees) in lost.items():
            made = self.hypernetwork(ids, architecture)
            torch.autograd.backward(list(made.values()), [trees[name] for name in made])
        clients = sum(len(ids) for ids, _ in lost.values())
        for phi in (self.hypernetwork.hidden, self.hypernetwork.generators):
            for parameter in phi.parameters():
                if parameter.grad is not None:
                    parameter.grad /= clients
        torch.nn.utils.clip_grad_norm_(self.hypernetwork.parameters(), self.config.clip)
        self.optimizer.step()

    def generated(self, ids: Sequence[int], architecture: str) -> Tree:
        """What the hypernetwork makes for clients of an architecture, name to (clients, ...), without graph."""
        with torch.no_grad():
            made: Tree = self.hypernetwork(ids, architecture)
        return made

    def newest(self, clients: Sequence[int]) -> Downloads:
        """Newly generated weights for some clients: one message for those of each architecture."""
        from ..federation.channel import Downloads, Parcel  # imports torch

        parcels = []
        for architecture in self.federation.start:
            ids = [client for client in clients if self.federation.architectures[client] == architecture]
            if ids:
                row = {client: place for place, client in enumerate(ids)}
                parcels.append(Parcel(Parameters(self.generated(ids, architecture)), row))
        return Downloads(tuple(parcels))
