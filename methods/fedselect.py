"""FedSelect: every client finds out which weights it needs for itself, and shares the others.

R. Tamirisa, C. Xie, W. Bao, A. Zhou, R. Arel, A. Shamsian, "FedSelect: Personalized Federated Learning with Customized
Selection of Parameters for Fine-Tuning", CVPR 2024, arXiv:2404.02478, Algorithms 1 and 2. One round, for sampled
clients S; m_i marks the entries of theta_i that are personal (none at the start), w holds the shared entries:

    receive    theta_i  = w where m_i = 0                  personal entries stay as client i left them
    train      E_loc times: one pass over D_i that updates the personal entries only,
                            one pass that updates the shared entries only; masks act on the update
    select     in every round `every`, 2 `every`, ...: in each weight tensor, of its shared entries the fraction `p`
               with the largest |theta_i - r_i| becomes personal, unless more than `limit` of the tensor is already;
               then r_i <- theta_i                         r_i: the initial weights at first
               `select_by: gradient`: with the largest |gradient of client i's loss at theta_i|; no r_i
    aggregate  w[e]     = mean of theta_i[e] over the i in S that share entry e; as before where nobody does

Exchanged: up, the shared entries, 4 bytes each, and a bit for every entry of the weight tensors when m_i changed;
down, the entries that the client shares. Buffers, and parameters without "weight" in their name, are always shared.
Both passes cost steps, and each is rounded up to whole batches by itself: at least twice the steps of FedAvg, of which
half train any one entry. Every pass starts with fresh optimizer moments, unless the run persists them (the authors
use plain SGD, which has none).
Two accuracies: `client`, theta_i after training, is what the authors evaluate and counts; `refreshed` has the newest w
where m_i = 0. The authors draw clients once, before the first round; here they are drawn for every round.
Departures: the authors' code sends with the old mask, so that entries are overwritten once more after they became
personal; here they are personal at once. The COSMOS authors' code selects by the gradient of one batch, a twentieth in
every round (`select_by: gradient`, `p: 0.05`, `every: 1`, `limit: 1`); here it is the gradient on all private data, as
stored and in evaluation mode, so that chance does not select, and costs a pass, which is counted. That code also
averages personal entries in as zeros, which shrinks what is shared; this is not built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.lazy import torch

from ..federation.channel import Downloads, Parcel
from ..federation.payloads import Bundle, Parameters
from ..federation.trees import chosen, minus
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires
from .losses import cross_entropy
from .parts import everywhere
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedSelectConfig:
    """Settings of FedSelect beside the run's local training. The defaults are the authors'."""

    p: float = 0.25
    """Fraction of a tensor's shared entries that becomes personal at each selection."""
    every: int = 3
    """Rounds between selections; there is none in round 0."""
    limit: float = 0.8
    """Personal fraction of a tensor above which it is left alone."""
    select_by: Literal["change", "gradient"] = field(default="change", metadata=LATER)
    """Which entries become personal: those that changed most since the last selection (the paper), or those with the
    largest gradient on all private data."""

    def __post_init__(self) -> None:
        for name in ("p", "limit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"fedselect.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.every < 1:
            raise ConfigError(f"fedselect.every must be at least 1, got {self.every}")


@method("fedselect")
class FedSelect(Method[FedSelectConfig]):
    """Every client finds out which weights it needs for itself, and shares the others.

    Keeps with each client its mask (`personal`) and how far its reference weights are from the initial ones
    (`reference`, only where changes select); on the server the last average of every entry and the bytes of each
    client's shared entries.
    """

    protocol = 2  # its two passes keep optimizer states of their own
    category = "personalized"
    paper = "Tamirisa et al., CVPR 2024, arXiv:2404.02478"
    wire = "up #shared_i * b + #theta/8 when the mask changed, down #shared_i * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})

    def setup(self, federation: Federation) -> None:
        """Nothing is averaged yet, and everything is shared."""
        self.average: Tree = {}
        self.shared_bytes: list[int] = []

    def plan(self, facts: Facts) -> Plan:
        """At most everything each way and a bit for every parameter up; two passes in every local epoch."""
        bits = facts.net.trainable // facts.number_bytes
        every = self.config.every
        selections = (PlannedPhase("local", 1, start=every, every=every),)
        return Plan(
            up_bytes=facts.weights_bytes + ceil(bits / 8),
            down_bytes=facts.weights_bytes,
            bound=True,
            work=(PlannedPhase("local", 1),) * (2 * facts.local_epochs)
            + (selections if self.config.select_by == "gradient" else ()),
        )

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Bundle:
        """Take the shared entries, train personal and shared entries in turn, select, send what is still shared."""
        before = self.personal(clients)
        if received is not None:
            clients.load(merged(before, clients.weights, received.tree))
        self.train_in_turn(clients, before, rnd)
        selects = rnd.index > 0 and rnd.index % self.config.every == 0
        after = self.select(clients, before) if selects else before
        values = merged(after, {name: torch.zeros_like(mask) for name, mask in after.items()}, clients.weights)
        return Bundle(
            {
                "values": Parameters(values, coded_bytes=bytes_shared(after, clients.weights)),
                "personal": Parameters(after, coded_bytes=bytes_of_change(before, after)),
            }
        )

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average every entry over those who share it; every client receives the entries that it shares."""
        values, personal = uploads.part("values").parameters(), uploads.part("personal").parameters()
        start = self.federation.start[uploads.architectures[0]]
        last = self.average or start
        always = chosen(values, lambda name: name not in personal)
        self.average = weighted_mean(always, shares(uploads, "uniform")) | {
            name: mean_of_sharers(values[name], mask, last[name]) for name, mask in personal.items()
        }
        everything = sum(tensor[0].numel() * tensor.element_size() for tensor in start.values())
        self.shared_bytes = self.shared_bytes or [everything] * self.federation.clients
        for client, size in zip(uploads.ids, bytes_shared(personal, values).tolist(), strict=True):
            self.shared_bytes[client] = size
        return Downloads(tuple(self.parcel(size) for size in sorted(set(self.shared_bytes))))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The newest shared entries with each client's personal ones."""
        newest = merged(self.personal(clients), clients.weights, everywhere(self.average, clients))
        return {"refreshed": clients.with_weights(newest)}

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains from the newest average, of which nothing is personal yet."""
        self.client_update(clients, Parameters(everywhere(self.average, clients)), rnd)
        return clients.deployed()

    def parcel(self, size: int) -> Parcel:
        """The averages, for the clients whose shared entries have so many bytes."""
        coded = torch.tensor([size], device=self.federation.device)
        address = {client: 0 for client, bytes_ in enumerate(self.shared_bytes) if bytes_ == size}
        return Parcel(Parameters(self.average, coded_bytes=coded), address)

    def personal(self, clients: Cohort) -> Tree:
        """m_i, name to bool (members, ...), of every parameter."""
        kept = clients.kept("personal")
        return {
            name: torch.zeros_like(value, dtype=torch.bool) if kept is None else kept[name]
            for name, value in clients.parameters.items()
        }

    def train_in_turn(self, clients: Cohort, personal: Tree, rnd: Round) -> None:
        """Passes of the personal and of the shared entries in turn; both passes of an epoch see the same batches."""
        shared = {name: ~mask for name, mask in personal.items()}
        epochs = clients.training.local_epochs
        for epoch in range(epochs):
            turn = clients.at(rnd.index * epochs + epoch)  # batches of its own for every epoch
            turn.fit(cross_entropy, epochs=1, entries=personal, name="personal")
            turn.fit(cross_entropy, epochs=1, entries=shared, name="shared")

    def select(self, clients: Cohort, personal: Tree) -> Tree:
        """Make the entries that matter most to a client personal; keep the masks."""
        matters = clients.private_gradient() if self.config.select_by == "gradient" else self.changes(clients)
        after = {
            name: self.grown(mask, matters[name].abs()) if "weight" in name else mask for name, mask in personal.items()
        }
        clients.keep("personal", after)
        return after

    def changes(self, clients: Cohort) -> Tree:
        """How far the weights went since the last selection; keep where they are for the next one."""
        moved = minus(clients.parameters, self.federation.start[clients.architecture])
        reference = clients.kept("reference")
        changes = moved if reference is None else minus(moved, reference)
        clients.keep("reference", moved)
        return changes

    def grown(self, personal: Tensor, size: Tensor) -> Tensor:
        """One tensor's masks with the fraction p of its shared entries added that matter most, first come on ties.

        Args:
            personal: shape (members, ...), bool.
            size: how much each entry changed, or its gradient; not negative, same shape.
        """
        mask = personal.flatten(1)
        held = mask.sum(dim=1)
        new = (self.config.p * (mask.shape[1] - held).double()).floor() * (held <= self.config.limit * mask.shape[1])
        order = size.flatten(1).masked_fill(mask, -1).argsort(dim=1, descending=True, stable=True)
        places = torch.arange(mask.shape[1], device=mask.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, places)
        return (mask | (rank < new[:, None])).view_as(personal)

    def state_dict(self) -> dict[str, Any]:
        """The averages and each client's bytes."""
        return {"average": self.average, "shared_bytes": self.shared_bytes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Method.load_state_dict`."""
        self.average, self.shared_bytes = dict(state["average"]), list(state["shared_bytes"])


def merged(personal: Tree, own: Tree, common: Tree) -> Tree:
    """`own` where an entry is personal, `common` elsewhere and for tensors without a mask (buffers)."""
    return {
        name: torch.where(personal[name], own[name], value) if name in personal else value
        for name, value in common.items()
    }


def mean_of_sharers(values: Tensor, personal: Tensor, last: Tensor) -> Tensor:
    """Mean of each entry over the clients that share it, `last` where nobody does.

    Args:
        values: shape (clients, ...), 0 where personal.
        personal: same shape, bool.
        last: shape (1, ...).
    """
    sharers = (~personal).sum(dim=0, keepdim=True)
    return torch.where(sharers > 0, values.sum(dim=0, keepdim=True) / sharers.clamp_min(1), last)


def bytes_shared(personal: Tree, weights: Tree) -> Tensor:
    """Bytes of each client's shared entries, buffers included, shape (clients,), int64."""
    always = sum(tensor[0].numel() * tensor.element_size() for name, tensor in weights.items() if name not in personal)
    shared = [(~mask).flatten(1).sum(dim=1) * weights[name].element_size() for name, mask in personal.items()]
    return torch.stack(shared).sum(dim=0) + always


def bytes_of_change(before: Tree, after: Tree) -> Tensor:
    """Bytes of each client's mask, a bit per entry of the weight tensors, where it changed: (clients,), int64."""
    names = [name for name in after if "weight" in name]
    changed = torch.stack([(before[name] != after[name]).flatten(1).any(dim=1) for name in names]).any(dim=0)
    return changed * ceil(sum(after[name][0].numel() for name in names) / 8)
