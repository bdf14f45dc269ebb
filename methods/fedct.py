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
Left open by the paper: epochs, as it counts iterations of any learner. `joint` shuffles both sets into one, so that
each sample counts the same; the authors' code instead takes a step on 64 private samples with all of U when it
communicates, and steps on private data between. `sequential` trains on the consensus first and then on private data, as
the COSMOS authors' re-implementation does (5 epochs with 1e-4; its threshold of 1/2 is read but not used).
Beware: where clients know few classes, a majority of all clients is wrong on the classes of the others, and a threshold
leaves the labels that were easiest to agree on.
Departure: the paper's differentially private variant flips bits of one-hot labels (XOR mechanism); `epsilon` is
randomised response on the label itself, which needs less noise for the same guarantee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F, np, torch
from fl_bench.streams import numpy_stream

from ..federation.batches import Teaching, Together
from ..federation.payloads import Labels, label_bytes
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, soft_cross_entropy, told_cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FedCTConfig:
    """Settings of FedCT."""

    mode: Literal["joint", "sequential"] = "joint"
    """Train on private and labelled public samples shuffled into one set, or on the public ones first."""
    distill_epochs: int = 5
    """Passes over the labelled public samples per round in `sequential`."""
    distill_lr: float = 1e-4
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
    wire = "up N * ceil(log2 C) / 8, down the same"
    requires = Requires(public_data=True)
    exchanges = frozenset({Labels})

    def plan(self, facts: Facts) -> Plan:
        """N * ceil(log2 C) / 8 bytes each way in rounds with a vote; down with a symbol for `no label` if needed."""
        return Plan(
            up_bytes=label_bytes(facts.public, facts.classes),
            down_bytes=label_bytes(facts.public, self.symbols(facts.classes)),
            bound=self.config.communication_every > 1,
            work=self.work(facts.local_epochs),
            steps="most" if self.config.vote_threshold > 0 else "exact",
        )

    def work(self, local_epochs: int) -> tuple[PlannedPhase, ...]:
        """The phases of a round: on private data alone until a consensus labels the pool, or at most all of it."""
        voted = self.config.communication_every
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
            clients.fit(cross_entropy)
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
            clients.fit(cross_entropy)
            return
        inputs, labels = rnd.public.inputs(labelled), consensus[labelled] - 1
        if self.config.mode == "joint":
            targets = F.one_hot(labels, self.federation.classes).to(inputs.dtype)
            clients.fit(soft_cross_entropy, on=Together(Teaching(inputs, targets.expand(len(clients), -1, -1))))
            return
        clients.fit(
            told_cross_entropy,
            on=Teaching(inputs, labels.expand(len(clients), -1)),
            epochs=self.config.distill_epochs,
            lr=self.config.distill_lr,
        )
        clients.fit(cross_entropy)

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

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads | None:
        """Count the votes; a sample whose winner has too few gets no label."""
        if not uploads.ids:
            return None
        votes, classes = uploads.labels(), self.federation.classes
        counts = votes.new_zeros(votes.shape[1], classes).scatter_add_(1, votes.T, torch.ones_like(votes.T))
        most, winner = counts.max(dim=1).values, counts.argmax(dim=1)
        clear = most.double() >= self.config.vote_threshold * len(votes) - 1e-9  # 0.55 * 100 is above 55
        consensus = torch.where(clear, winner, classes)
        return uploads.to_all(Labels(consensus[None], self.symbols(classes)))
