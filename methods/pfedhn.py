"""pFedHN: a hypernetwork at the server makes every client's weights from a vector that stands for the client.

A. Shamsian, A. Navon, E. Fetaya, G. Chechik, "Personalized Federated Learning using Hypernetworks", ICML 2021,
arXiv:2103.04628, Algorithm 1. One round, for sampled clients S, with a hypernetwork H of weights phi and an embedding
v_i of every client:

    generate     theta_i = H(v_i; phi)
    train        theta~_i = SGD(theta_i; D_i)               `inner_lr`, momentum, decay; E_loc epochs or `inner_steps`
    send         d_i = theta_i - theta~_i
    multiply     g_i = d_i * dH(v_i; phi)/d(phi, v_i)       vector-Jacobian product: how to lose what training lost
    update       phi <- SGD step against the mean of g_i over S; v_i <- SGD step against its own g_i
                 `lr`, momentum, decay; all gradients together clipped to norm `clip`

H: an embedding, `layers` hidden layers of `hidden` units after the first, ReLU between them, and one linear generator
per tensor of the client's net, which together are one linear layer for each architecture.
Exchanged: theta_i's parameters down, from the first round on, and as many up, #theta * 4 bytes each way; H never leaves
the server. With `personal_head` (pFedHN-PC) the body alone, and clients keep their heads. BatchNorm statistics cannot
be generated: they stay with the client, as its last local training left them.
Deployed: H(v_i; phi) after the round (`generated`), with the client's head in pFedHN-PC. Also: theta~_i (`+local`).
Departures: in the paper a step has one client, and the next client's weights come from the updated H. Here all clients
of a round train on weights of the round's start, so the server takes one joint step: as many steps one after the other,
all from the same point, would go |S| times as far. 5000 steps on 50 batches of 64, with learning rates of 0.005 inside
and 0.01 for H and momentum 0.9, become a step per round: at those rates the quick grid ends at 17 % (seed 100).
Momentum and decay go on moving the embeddings of clients that are absent, as torch's SGD does in the authors' code.
The defaults are a compromise: some 25 settings on digits (seeds 100-102) and a dozen on Fashion-MNIST (seed 100) were
compared. On digits alone `inner_lr` 0.05 with `lr` 0.1 has 13 points more on validation data, but does not learn where
clients take hundreds of steps; `lr` 0.2 has 8 more, and at 0.3 H overshoots.
Some re-implementations under this name contain no hypernetwork and exchange nothing, which is Local-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F, torch
from fl_bench.streams import torch_stream

from ..federation.payloads import Parameters
from ..federation.trees import minus
from .base import Facts, Method, Plan, not_negative, positive
from .losses import cross_entropy
from .parts import check_bodies, everywhere, is_body
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class PFedHNConfig:
    """Settings of pFedHN beside the run's epochs and batches."""

    inner_optimizer: Literal["sgd", "run"] = "sgd"
    """Clients train by SGD of the method's own (the paper), or with the run's optimizer."""
    inner_lr: float = 0.02
    """Learning rate of the clients' SGD."""
    inner_momentum: float = 0.9
    """Momentum of the clients' SGD, in [0, 1)."""
    inner_decay: float = 5e-5
    """Weight decay of the clients' SGD."""
    inner_steps: int | None = None
    """Batches of a client per round, 50 in the paper; the run's local epochs when null."""
    lr: float = 0.15
    """Learning rate of the hypernetwork and the embeddings."""
    momentum: float = 0.5
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
        positive("pfedhn", inner_lr=self.inner_lr, lr=self.lr, clip=self.clip, hidden=self.hidden)
        positive("pfedhn", inner_steps=1 if self.inner_steps is None else self.inner_steps)
        positive("pfedhn", embedding=1 if self.embedding is None else self.embedding)
        not_negative("pfedhn", inner_decay=self.inner_decay, decay=self.decay, layers=self.layers)
        for name in ("inner_momentum", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"pfedhn.{name} must be in [0, 1), got {getattr(self, name)}")


@method("pfedhn")
class PFedHN(Method[PFedHNConfig]):
    """A hypernetwork at the server makes every client's weights from a vector that stands for the client.

    The server keeps phi, the embeddings, and the momentum of both.
    """

    protocol = 2  # freshly generated weights start with a fresh optimizer
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

    def setup(self, federation: Federation) -> None:
        """Draw the hypernetwork and the embeddings, each client's by its identity."""
        if self.config.personal_head:
            check_bodies(self.name, federation)
        self.shapes = {
            architecture: {
                name: tensor.shape[1:]
                for name, tensor in federation.holding(architecture, start).parameters.items()
                if is_body(name) or not self.config.personal_head
            }
            for architecture, start in federation.start.items()
        }
        width = self.config.embedding or 1 + federation.clients // 4
        self.phi: Tree = {
            "embeddings": torch.stack([self.normal(width, identity) for identity in federation.identities])
        }
        for layer in range(1 + self.config.layers):
            self.phi |= self.linear(f"layer {layer}", self.config.hidden if layer else width, self.config.hidden)
        for architecture, shapes in self.shapes.items():
            size = sum(prod(shape) for shape in shapes.values())
            self.phi |= self.linear(architecture, self.config.hidden, size)
        self.momenta = {name: torch.zeros_like(tensor) for name, tensor in self.phi.items()}

    def opening(self) -> Downloads:
        """The first generated weights."""
        return self.letters()

    def client_update(self, clients: Cohort, received: Parameters, rnd: Round) -> Parameters:
        """Train from the generated weights; send what they lost."""
        from ..federation.optimizers import Optimizer  # imports torch

        clients.load(received.tree)
        sgd = Optimizer("sgd", self.config.inner_lr, self.config.inner_momentum, self.config.inner_decay)
        own = sgd if self.config.inner_optimizer == "sgd" else None
        clients.fit(cross_entropy, optimizer=own, fresh=True, batches=self.config.inner_steps)
        return Parameters(minus(received.tree, clients.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """A step of the hypernetwork and of the participants' embeddings, then new weights for everybody."""
        self.step({name: (uploads.ids_of(name), uploads.parameters(name)) for name in uploads.architectures})
        return self.letters()

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """What the hypernetwork makes for each client now; what is not generated is the client's own."""
        return clients.with_weights({**clients.weights, **self.generated(clients.ids, clients.architecture)})

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains what the hypernetwork makes of the mean embedding; the paper fits an embedding to it."""
        mean = {**self.phi, "embeddings": self.phi["embeddings"].mean(dim=0, keepdim=True)}
        with torch.no_grad():
            start = hypernetwork(mean, [0], clients.architecture, self.shapes[clients.architecture])
        self.client_update(clients, Parameters(everywhere(start, clients)), rnd)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}

    def state_dict(self) -> dict[str, Any]:
        """The hypernetwork and its momentum."""
        return {"phi": self.phi, "momenta": self.momenta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `state_dict`."""
        self.phi, self.momenta = dict(state["phi"]), dict(state["momenta"])

    def step(self, lost: Mapping[str, tuple[Sequence[int], Tree]]) -> None:
        """One step of SGD against the vector-Jacobian product of H with what weights lost in training.

        Args:
            lost: the clients of each architecture and their d_i, name to (clients, ...).
        """
        from ..federation.optimizers import Optimizer, clip_gradients  # imports torch

        names = [name for name in self.phi if name.partition(".")[0] not in self.shapes.keys() - lost.keys()]
        leaves = {name: self.phi[name].detach().requires_grad_() for name in names}
        made, along = [], []
        for architecture, (ids, trees) in lost.items():
            weights = hypernetwork(leaves, ids, architecture, self.shapes[architecture])
            made += list(weights.values())
            along += [trees[name] for name in weights]
        products = torch.autograd.grad(made, list(leaves.values()), along)
        clients = sum(len(ids) for ids, _ in lost.values())
        gradients = [
            product.contiguous() / (1 if name == "embeddings" else clients)
            for name, product in zip(names, products, strict=True)
        ]
        clip_gradients(gradients, self.config.clip)
        sgd = Optimizer("sgd", self.config.lr, self.config.momentum, self.config.decay)
        phi, momenta = ([tree[name] for name in names] for tree in (self.phi, self.momenta))
        sgd.step(phi, gradients, [momenta for _ in sgd.slots], [])

    def generated(self, ids: Sequence[int], architecture: str) -> Tree:
        """What the hypernetwork makes for clients of an architecture, name to (clients, ...), without graph."""
        with torch.no_grad():
            return hypernetwork(self.phi, ids, architecture, self.shapes[architecture])

    def letters(self) -> Downloads:
        """Generated weights for every client."""
        from ..federation.channel import Downloads, Parcel  # imports torch

        owned = {
            architecture: [client for client, name in enumerate(self.federation.architectures) if name == architecture]
            for architecture in self.shapes
        }
        return Downloads(
            tuple(
                Parcel(Parameters(self.generated(ids, architecture)), {client: row for row, client in enumerate(ids)})
                for architecture, ids in owned.items()
            )
        )

    def normal(self, width: int, identity: int) -> Tensor:
        """The first embedding of a client: standard normal numbers, as torch's embeddings start."""
        stream = torch_stream(self.federation.init_seed, "pfedhn embedding", identity)
        return self.placed(torch.randn(width, generator=stream))

    def linear(self, name: str, inputs: int, outputs: int) -> Tree:
        """A linear layer's first weights and biases, uniform in +-1/sqrt(inputs), as torch's linear layers start."""
        stream, bound = torch_stream(self.federation.init_seed, "pfedhn", name), inputs**-0.5
        weight, bias = torch.rand(outputs, inputs, generator=stream), torch.rand(outputs, generator=stream)
        return {
            f"{name}.weight": self.placed((2 * weight - 1) * bound),
            f"{name}.bias": self.placed((2 * bias - 1) * bound),
        }

    def placed(self, tensor: Tensor) -> Tensor:
        """On the run's device, in its number format."""
        return tensor.to(self.federation.device, getattr(torch, self.federation.training.dtype_name))


def hypernetwork(phi: Tree, ids: Sequence[int], architecture: str, shapes: Mapping[str, Sequence[int]]) -> Tree:
    """H(v_i; phi) of some clients.

    Args:
        phi: `embeddings`, shape (clients, width); weights and biases of `layer 0`, `layer 1`, ..., and of the
            generators under the architecture's name.
        ids: the clients.
        architecture: which generators.
        shapes: of the generated tensors, by name.

    Returns:
        Name to (len(ids), ...).
    """
    hidden = phi["embeddings"][list(ids)]
    layer = 0
    while f"layer {layer}.weight" in phi:
        hidden = F.linear(hidden.relu() if layer else hidden, phi[f"layer {layer}.weight"], phi[f"layer {layer}.bias"])
        layer += 1
    numbers = F.linear(hidden, phi[f"{architecture}.weight"], phi[f"{architecture}.bias"])
    pieces = torch.split(numbers, [prod(shape) for shape in shapes.values()], dim=1)
    return {name: piece.view(len(ids), *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
