"""FedCT: clients vote on the labels of public samples and train on what the majority says.

A. Abourayya, J. Kleesiek, K. Rao, E. Ayday, B. Rao, G. I. Webb, M. Kamp, "Little is Enough: Boosting Privacy by Sharing
Only Hard Labels in Federated Semi-Supervised Learning" (federated co-training), AAAI 2025, arXiv:2310.05696,
Algorithm 1. Round t, for participating clients i:

    train   f_i <- descend cross-entropy on D_i with {(u, L_u)}, shuffled    E_loc epochs of both; D_i alone before the
                                                                             first consensus L
    vote    L_iu = argmax_c f_i(u)_c, noised for `epsilon`                   every `communication_every` rounds
    count   L_u  = the class with most votes; ties: the smallest class

A client trains on the last consensus that it received until it gets another one. Deployed: f_i.

Exchanged: N labels of ceil(log2 C) bits each way, in whole bytes; with `vote_threshold`, by which samples without a
clear majority are left out for everyone, one more symbol down.
Left open by the paper: epochs, as it counts iterations of any learner, and how both sets meet. `mode` has three ways:

    joint        E_loc passes over D_i and U shuffled into one set: each sample counts the same
    batches      E_loc passes over D_i; each step takes the mean loss of a private batch and a public batch of one size,
                 so that both sets count the same, and costs two
    sequential   `distill_epochs` passes over U with `distill_lr`, then E_loc passes over D_i

`batches` is the authors' code (github.com/kampmichael/federatedcotraining, branch main, since June 2024): 64 samples of
each set in every iteration, public ones drawn anew, as soon as there is a consensus. Theirs votes every b iterations;
here rounds have E_loc passes, and batches the run's size. Before, their code took one step on 64 private samples with
all of U when it communicated, and steps on private data between; its noised variant still does. `sequential` is the
COSMOS authors' re-implementation (5 epochs with 1e-4; its threshold of 1/2 is read but not used).
Beware: where clients know few classes, a majority of all clients is wrong on the classes of the others, and a threshold
leaves the labels that were easiest to agree on.
Departure: the paper's differentially private variant flips bits of one-hot labels (XOR mechanism); `epsilon` is
randomised response on the label itself, which needs less noise for the same guarantee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F, np, torch
from fl_bench.spaces import Integers, Log, space
from fl_bench.streams import numpy_stream

from ..federation.batches import Beside, Teaching, Together
from ..federation.payloads import Labels, label_bytes
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, soft_cross_entropy, told_cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class FedCTConfig:
    """Settings of FedCT."""

    mode: Literal["joint", "batches", "sequential"] = "joint"
    """Train on private and labelled public samples shuffled into one set, on a batch of each in every step (the
    authors' code), or on the public ones first."""
    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes over the labelled public samples per round in `sequential`."""
    distill_lr: float = field(default=1e-4, metadata=space(Log(1e-5, 1e-1)))
    """Learning rate on them in `sequential`."""
    communication_every: int = 1
    """Rounds from one vote to the next; the first is at the end of round number `communication_every`."""
    vote_threshold: float = 0.0
    """Share of the votes that a sample's winning class needs for the sample to be used."""
    epsilon: float | None = None
    """Each label sent is differentially private (local, per label) with this parameter; null for no noise."""

    def __post_init__(self) -> None:
        positive("fedct", distill_lr=self.distill_lr, communication_every=self.communication_every)
        positive("fedct", epsilon=1.0 if self.epsilon is None else self.epsilon)
        not_negative("fedct", distill_epochs=self.distill_epochs)
        if not 0 <= self.vote_threshold <= 1:
            raise ConfigError(f"fedct.vote_threshold must be in [0, 1], got {self.vote_threshold}")


@method("fedct")
class FedCT(Method[FedCTConfig]):
    """Clients vote on the labels of public samples and train on what the majority says.

    Clients keep the last consensus: L_u + 1 for each public sample, 0 for a sample without label.
    """

    category = "distillation"
    paper = "Abourayya et al., AAAI 2025, arXiv:2310.05696"
    protocol = 2  # the server keeps the last consensus, for newcomers
    wire = "up N * ceil(log2 C) / 8, down the same"
    requires = Requires(public_data=True)
    exchanges = frozenset({Labels})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """N * ceil(log2 C) / 8 bytes each way in rounds with a vote; down with a symbol for `no label` if needed."""
        return Plan(
            up_bytes=label_bytes(facts.public, facts.classes),
            down_bytes=label_bytes(facts.public, self.symbols(facts.classes)),
            bound=self.config.communication_every > 1,
            work=self.work(facts.local_epochs),
            steps="most" if self.config.vote_threshold > 0 and self.config.mode != "batches" else "exact",
        )

    def work(self, local_epochs: int) -> tuple[PlannedPhase, ...]:
        """The phases of a round: on private data alone until a consensus labels the pool, or at most all of it.

        Steps of `batches` are as many as on private data alone, at twice the cost.
        """
        voted = self.config.communication_every
        if self.config.mode == "batches":
            return (
                PlannedPhase("local", local_epochs, stop=voted),
                PlannedPhase("local", local_epochs, start=voted, passes=2),
            )
        if self.config.mode == "joint":
            return (
                PlannedPhase("local", local_epochs, stop=voted),
                PlannedPhase("local", local_epochs, "both", start=voted),
            )
        return (
            PlannedPhase("local", local_epochs),
            PlannedPhase("distill", self.config.distill_epochs, "public", start=voted),
        )

    def symbols(self, classes: int) -> int:
        """How many different values an entry of the consensus has."""
        return classes + 1 if self.config.vote_threshold > 0 else classes

    def client_update(self, clients: Cohort, received: Labels | None, rnd: Round) -> Labels | None:
        """Train with the last consensus, and vote when it is time."""
        classes = self.federation.classes
        if received is not None:
            clients.keep("consensus", {"labels": (received.values + 1) % (classes + 1)})
        kept = clients.kept("consensus")
        if kept is None:
            clients.fit(cross_entropy, name="local")
        else:  # nearly always one consensus for all
            different, which = torch.unique(kept["labels"], dim=0, return_inverse=True)
            for number, labels in enumerate(different):
                self.train(clients.only((which == number).nonzero().flatten().tolist()), labels, rnd)
        if (rnd.index + 1) % self.config.communication_every:
            return None
        votes = clients.predict(rnd.public.inputs(), as_="logits").argmax(dim=2)
        return Labels(votes if self.config.epsilon is None else self.noised(votes, clients, rnd), classes)

    def train(self, clients: Cohort, consensus: Tensor, rnd: Round) -> None:
        """Train clients that keep the same consensus, shape (samples,), on what it labels and on private data."""
        labelled = consensus.nonzero().flatten()
        if not len(labelled):
            clients.fit(cross_entropy, name="local")
            return
        inputs, labels = rnd.public.inputs(labelled), consensus[labelled] - 1
        if self.config.mode == "joint":
            targets = F.one_hot(labels, self.federation.classes).to(inputs.dtype)
            clients.fit(soft_cross_entropy, on=Together(Teaching(inputs, targets.expand(len(clients), -1, -1))))
            return
        told = Teaching(inputs, labels.expand(len(clients), -1))
        if self.config.mode == "batches":
            clients.fit(co_training, on=Beside(told), name="local")
            return
        clients.fit(told_cross_entropy, on=told, epochs=self.config.distill_epochs, lr=self.config.distill_lr)
        clients.fit(cross_entropy, name="local")

    def noised(self, votes: Tensor, clients: Cohort, rnd: Round) -> Tensor:
        """Randomised response: the own label with probability e^eps / (e^eps + C - 1), else any other class."""
        assert self.config.epsilon is not None
        others = self.federation.classes - 1
        lie = others / (math.exp(self.config.epsilon) + others)
        moves = []
        for key in clients.keys:
            stream = numpy_stream(rnd.seed, "randomised response", key, rnd.index)
            moves.append((stream.random(votes.shape[1]) < lie) * stream.integers(1, others + 1, votes.shape[1]))
        return (votes + torch.from_numpy(np.stack(moves)).to(votes.device)).remainder(others + 1)

    def setup(self, federation: Federation) -> None:
        """Nothing is voted yet."""
        self.consensus: Tensor | None = None

    def unseen(self, clients: Cohort, received: Labels | None, rnd: Round) -> Deployed:
        """A newcomer trains with the last consensus, whether or not a message with it still waits for others."""
        if self.consensus is not None:
            received = Labels(self.consensus.expand(len(clients), -1), self.symbols(self.federation.classes))
        self.client_update(clients, received, rnd)
        return clients.deployed()

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Count the votes; a sample whose winner has too few gets no label."""
        if not uploads.ids:
            return None
        votes, classes = uploads.labels(), self.federation.classes
        counts = votes.new_zeros(votes.shape[1], classes).scatter_add_(1, votes.T, torch.ones_like(votes.T))
        most, winner = counts.max(dim=1).values, counts.argmax(dim=1)
        clear = most.double() >= self.config.vote_threshold * len(votes) - 1e-9  # 0.55 * 100 is above 55
        self.consensus = torch.where(clear, winner, classes)[None]
        return uploads.to_all(Labels(self.consensus, self.symbols(classes)))

    def state_dict(self) -> dict[str, Any]:
        """The last consensus."""
        return {"consensus": self.consensus}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Method.load_state_dict`."""
        self.consensus = state["consensus"]


def co_training(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy over a private batch and a public batch with what was voted, in one pass of the net."""
    assert batch.y is not None
    assert batch.public is not None
    assert batch.public.target is not None
    logits = model(torch.cat([batch.x, batch.public.x]))
    return F.cross_entropy(logits, torch.cat([batch.y, batch.public.target]))
