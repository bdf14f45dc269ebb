"""FedSelect: every client finds out which weights it needs for itself, and shares the others.

R. Tamirisa, C. Xie, W. Bao, A. Zhou, R. Arel, A. Shamsian, "FedSelect: Personalized Federated Learning with Customized
Selection of Parameters for Fine-Tuning", CVPR 2024, arXiv:2404.02478, Algorithms 1 and 2. One round, for sampled
clients S; m_i marks the entries of theta_i that are personal (none at the start), w holds the shared entries:

    receive    theta_i  = w where m_i = 0                  personal entries stay as client i left them
    train      E_loc times: one pass over D_i that updates the personal entries only,
                            one pass that updates the shared entries only; masks act on the update
    select     in the rounds `every`, 2 `every`, ... that i takes part in, counted from 0: in each weight tensor,
               of its s shared entries the s - round((1 - p) s) with the largest |theta_i - r_i| become personal,
               unless more than `limit` of the tensor is already; then r_i <- theta_i
                                                           r_i: the initial weights at first
               `select_by: gradient`: with the largest |gradient of client i's loss at theta_i|; no r_i
    aggregate  w[e]     = mean of theta_i[e] over the i in S that share entry e; as before where nobody does

Exchanged: up, the shared entries, b bytes each, and a bit for every entry of the weight tensors when m_i changed;
down, the entries that the client shares. Buffers (BatchNorm statistics) stay with the client, as in the authors' code;
parameters without "weight" in their name are always shared. Deployed: theta_i after its last round.
Both passes cost steps, and each is rounded up to whole batches by itself: at least twice the steps of FedAvg, of which
half train any one entry. Every pass starts with fresh optimizer moments, unless the run persists them (the authors
use plain SGD, which has none).
Two accuracies: `client`, theta_i after training, is what the authors evaluate and counts; `refreshed` has the newest w
where m_i = 0.
Left open by the paper: absent clients. The authors draw clients once, who take part in all rounds; here a client's own
rounds count, so that when it selects does not depend on which rounds it happens to be drawn in. Until its round `every`
a client has no personal entries, and in short runs with few participants many stay there: of 40 clients with
participation 0.1, 34 after 20 rounds, 17 after 40 and hardly any after 100; with `every: 1`, 16, 3 and none.
Departures: the authors' code sends with the old mask, so that entries are overwritten once more after they became
personal; here they are personal at once. Of entries that changed alike, only as many become personal as are asked for,
the first ones; that code takes all, so that a tensor whose entries mostly stand still becomes personal as a whole; and
it ends in an error where (1 - p) s rounds to s, where here none becomes personal. The COSMOS authors' code selects by
the gradient of one batch, a twentieth in every round (`select_by: gradient`, `p: 0.05`, `every: 1`, `limit: 1`); here
it is the gradient on all private data, as stored and in evaluation mode, so that chance does not select, and costs a
pass, which is counted. That code also averages personal entries in as zeros, which shrinks what is shared; this is not
built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.lazy import torch
from fl_bench.spaces import Linear, space

from ..federation.payloads import Bundle, Parameters
from ..federation.trees import minus
from .base import Facts, Method, Plan, Requires
from .losses import cross_entropy
from .parts import everywhere, refreshed
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedSelectConfig:
    """Settings of FedSelect beside the run's local training. The defaults are the authors'."""

    p: float = field(default=0.25, metadata=space(Linear(0.05, 0.5, least=0.01, most=1)))
    """Fraction of a tensor's shared entries that becomes personal at each selection."""
    every: int = 3
    """A client's own rounds between its selections; there is none in its first."""
    limit: float = field(default=0.8, metadata=space(Linear(0.2, 0.95, least=0, most=1)))
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

    A client keeps its mask ("personal"), in how many rounds it took part ("rounds") and, where changes select, how far
    its reference weights are from the initial ones ("reference"). The server keeps w and the bytes of each client's
    shared entries.
    """

    protocol = 3  # 2: both passes have optimizer states of their own; 3: own rounds, own buffers, the authors' rounding
    tolerates_absence = False  # the server charges by the mask that a client sent last
    category = "personalized"
    paper = "Tamirisa et al., CVPR 2024, arXiv:2404.02478"
    wire = "up #shared_i * b + #theta/8 when the mask changed, down #shared_i * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})

    def plan(self, facts: Facts) -> Plan:
        """At most all parameters each way and a bit for each of them up; two passes in every local epoch."""
        every = self.config.every
        gradients = (PlannedPhase("local", 1, start=every, every=every, own_rounds=True),)
        return Plan(
            up_bytes=facts.net.trainable + ceil(facts.net.trainable // facts.number_bytes / 8),
            down_bytes=facts.net.trainable,
            bound=True,
            work=(PlannedPhase("local", 1),) * (2 * facts.local_epochs)
            + (gradients if self.config.select_by == "gradient" else ()),
        )

    def setup(self, federation: Federation) -> None:
        """Start from the initial weights, of which nothing is personal."""
        (architecture,) = set(federation.architectures)
        self.w = federation.holding(architecture, federation.start[architecture]).parameters
        self.shared_bytes: dict[int, int] = {}

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Bundle:
        """Take the shared entries, train personal and shared ones in turn, select, send what is still shared."""
        before = self.personal(clients)
        if received is not None:
            clients.load(merged(before, clients.parameters, received.tree))
        self.train_in_turn(clients, before)
        due = self.due(clients)
        if due:
            self.select(clients.only(due))
        after = self.personal(clients)
        shared = {name: value.masked_fill(after[name], 0) for name, value in clients.parameters.items()}
        return Bundle(
            {
                "shared": Parameters(shared, coded_bytes=bytes_shared(after, shared)),
                "personal": Parameters(after, coded_bytes=bytes_of_change(before, after)),
            }
        )

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average every entry over those who share it; every client receives the entries that it shares."""
        shared, personal = uploads.part("shared").parameters(), uploads.part("personal").parameters()
        self.w = {name: mean_of_sharers(value, personal[name], self.w[name]) for name, value in shared.items()}
        self.shared_bytes.update(zip(uploads.ids, bytes_shared(personal, shared).tolist(), strict=True))
        return uploads.to_all(Parameters(self.w), nbytes=self.shared_bytes)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The newest shared entries with each client's personal ones."""
        newest = merged(self.personal(clients), clients.parameters, everywhere(self.w, clients))
        return {"refreshed": refreshed(clients, newest)}

    def unseen(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Deployed:
        """A newcomer trains from the newest average, of which nothing is personal yet."""
        clients.load(everywhere(self.w, clients))
        clients.fit(cross_entropy)
        return clients.deployed()

    def personal(self, clients: Cohort) -> Tree:
        """m_i, name to bool (members, ...), of every parameter."""
        kept = clients.kept("personal")
        return {
            name: torch.zeros_like(value, dtype=torch.bool) if kept is None else kept[name]
            for name, value in clients.parameters.items()
        }

    def train_in_turn(self, clients: Cohort, personal: Tree) -> None:
        """E_loc times a pass of the personal and one of the shared entries; both see the same batches."""
        shared = {name: ~mask for name, mask in personal.items()}
        for epoch in range(clients.training.local_epochs):
            batches = f"local {epoch}" if epoch else "local"  # the first epoch's are those of other methods
            clients.fit(cross_entropy, epochs=1, entries=personal, stream=batches, name="personal")
            clients.fit(cross_entropy, epochs=1, entries=shared, stream=batches, name="shared")

    def due(self, clients: Cohort) -> list[int]:
        """Positions of the members that select now, by their own rounds, of which this one is counted."""
        kept = clients.kept("rounds")
        earlier = [0] * len(clients) if kept is None else kept["count"].tolist()
        clients.keep("rounds", {"count": torch.tensor(earlier, device=self.federation.device) + 1})
        return [member for member, rounds in enumerate(earlier) if rounds and rounds % self.config.every == 0]

    def select(self, clients: Cohort) -> None:
        """Make the shared entries that matter most to a client personal, in each weight tensor."""
        matters = clients.private_gradient() if self.config.select_by == "gradient" else self.changes(clients)
        personal = self.personal(clients)
        for name in filter(is_weight, personal):
            personal[name] |= self.foremost(personal[name], matters[name].abs())
        clients.keep("personal", personal)

    def changes(self, clients: Cohort) -> Tree:
        """theta_i - r_i; then r_i is theta_i, and kept as its distance from the initial weights, which it is first."""
        moved = minus(clients.parameters, self.federation.start[clients.architecture])
        reference = clients.kept("reference")
        clients.keep("reference", moved)
        return moved if reference is None else minus(moved, reference)

    def foremost(self, personal: Tensor, size: Tensor) -> Tensor:
        """The shared entries of one tensor that become personal: the largest, the first of equal ones.

        Args:
            personal: m_i, shape (members, ...), bool.
            size: how much each entry changed, or its gradient; not negative, same shape.

        Returns:
            Same shape, bool; none where more than `limit` of a member's tensor is personal already.
        """
        mask = personal.flatten(1)
        entries, held = mask.shape[1], mask.sum(dim=1)
        shared = (entries - held).double()
        wanted = shared - ((1 - self.config.p) * shared).round()  # halves to even, as NumPy's
        wanted = wanted * (held <= self.config.limit * entries)
        largest_first = size.flatten(1).masked_fill(mask, -1).argsort(dim=1, descending=True, stable=True)
        place = largest_first.argsort(dim=1)
        return (place < wanted[:, None]).view_as(personal)

    def state_dict(self) -> dict[str, Any]:
        """w and each client's bytes."""
        return {"w": self.w, "shared_bytes": self.shared_bytes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Method.load_state_dict`."""
        self.w, self.shared_bytes = dict(state["w"]), dict(state["shared_bytes"])


def is_weight(name: str) -> bool:
    """Whether entries of a parameter can become personal."""
    return "weight" in name


def merged(personal: Tree, own: Tree, common: Tree) -> Tree:
    """`own` where an entry is personal, `common` elsewhere."""
    return {name: torch.where(personal[name], value, common[name]) for name, value in own.items()}


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
    """Bytes of each client's shared entries, shape (clients,), int64."""
    shared = [(~mask).flatten(1).sum(dim=1) * weights[name].element_size() for name, mask in personal.items()]
    return torch.stack(shared).sum(dim=0)


def bytes_of_change(before: Tree, after: Tree) -> Tensor:
    """Bytes of each client's mask, a bit per entry of the weight tensors, where it changed: (clients,), int64."""
    names = list(filter(is_weight, after))
    changed = torch.stack([(before[name] != after[name]).flatten(1).any(dim=1) for name in names]).any(dim=0)
    return changed * ceil(sum(after[name][0].numel() for name in names) / 8)
