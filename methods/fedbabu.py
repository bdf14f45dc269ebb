"""FedBABU: clients train a common body under a head that nobody trains; heads are fine-tuned afterwards.

J. Oh, S. Kim, S.-Y. Yun, "FedBABU: Towards Enhanced Representation for Federated Image Classification", ICLR 2022,
arXiv:2106.06042, Algorithm 1. One round, for sampled clients S, with body B and the initial head H of everyone:

    receive    B_i = B
    train      B_i <- descend cross-entropy(., H; D_i)       E_loc epochs; the head has learning rate 0
    aggregate  B   = 1/|S| * sum_{i in S} B_i                every client counts the same

and to evaluate, on a copy of (B, H): `finetune_epochs` passes of client i over D_i, of the whole net (or `part`).

Exchanged: the body with its BatchNorm buffers, #body * 4 bytes each way.
Two accuracies: `client` is the fine-tuned copy, `global` is B under the initial head. Fine-tuning costs no bytes, but
steps: `steps_finetune`, beside the steps of the rounds. Every client does it, drawn or not, so that those which never
took part deploy a trained model, as in few other methods (`acc_new` shows it beside `acc_drawn`). The paper fine-tunes
after the last round only; here every round is evaluated as if it were the last, and no fine-tuned weight enters
training.
Disputed: code of the COSMOS comparison draws another head, N(0, 0.02^2) with bias 0, for every client and round
(`head: redrawn`). Features of different clients are then trained against different classifiers, which contradicts
the method. `head: trained` trains and averages the head too: FedAvg with fine-tuning, the paper's own comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fl_bench.lazy import np, torch
from fl_bench.spaces import Integers, space
from fl_bench.streams import numpy_stream

from ..federation.payloads import Parameters
from ..federation.trees import chosen
from .averaging import shares, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative
from .losses import cross_entropy
from .parts import check_bodies, is_body, is_head
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round

REDRAWN_SCALE = 0.02
"""Standard deviation of the weights of a redrawn head."""


@dataclass(frozen=True)
class FedBABUConfig:
    """Settings of FedBABU beside the run's local training. The defaults are the paper's."""

    finetune_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of each client over its own data before it is evaluated, on a copy."""
    part: Literal["full", "head", "body"] = "full"
    """What is fine-tuned."""
    head: Literal["fixed", "redrawn", "trained"] = "fixed"
    """The head while bodies are trained: the initial one of everyone; another one per client and round; or trained
    and averaged with the body."""

    def __post_init__(self) -> None:
        not_negative("fedbabu", finetune_epochs=self.finetune_epochs)


@method("fedbabu")
class FedBABU(Method[FedBABUConfig]):
    """Clients train a common body under a head that nobody trains; heads are fine-tuned afterwards.

    Keeps nothing between rounds: the common body waits in the channel for the next participants.
    """

    category = "personalized"
    paper = "Oh et al., ICLR 2022, arXiv:2106.06042"
    wire = "up #body * b, down #body * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    tolerates_absence = True
    deploys = "the newest body under the initial head, fine-tuned by every client on a copy"

    def plan(self, facts: Facts) -> Plan:
        """#body * 4 bytes each way; #theta * 4 where the head is trained. Copies are fine-tuned."""
        size = facts.weights_bytes if self.config.head == "trained" else facts.body_bytes
        return Plan(
            up_bytes=size,
            down_bytes=size,
            work=(PlannedPhase("local", facts.local_epochs), PlannedPhase("aside", self.config.finetune_epochs)),
        )

    def setup(self, federation: Federation) -> None:
        """Refuse nets without a body to train."""
        check_bodies(self.name, federation)

    def client_update(self, clients: Cohort, received: Parameters | None, rnd: Round) -> Parameters:
        """Take the common body, train it under the head, send it back."""
        if received is not None:
            clients.load(received.tree)
        if self.config.head == "trained":
            clients.fit(cross_entropy)
            return Parameters(clients.weights)
        if self.config.head == "redrawn":
            clients.load(redrawn_heads(clients, self.federation.init_seed))
        clients.fit(cross_entropy, trainable=is_body)
        return Parameters(chosen(clients.weights, is_body))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the bodies; every client counts the same and receives the same body."""
        self.common = weighted_mean(uploads.parameters(), shares(uploads, "uniform"))
        return uploads.to_all(Parameters(self.common))

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The common body, fine-tuned by each client from the head it has, on a copy."""
        tuned = clients.copy()
        tuned.load(self.common)
        log = tuned.fit(
            cross_entropy, epochs=self.config.finetune_epochs, trainable=self.finetuned(), stream="finetune"
        )
        clients.note("steps_finetune", log.steps, "sum")
        return tuned.deployed()

    def unseen(self, clients: Cohort, received: Parameters, rnd: Round) -> Deployed:
        """A newcomer fine-tunes the newest body under the initial head, for as long as newcomers may."""
        clients.load(self.common)
        clients.fit(cross_entropy, trainable=self.finetuned(), stream="finetune")
        return clients.deployed()

    def finetuned(self) -> Callable[[str], bool] | None:
        """Which parameters are fine-tuned; None: all."""
        return {"full": None, "head": is_head, "body": is_body}[self.config.part]

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's model before fine-tuning: the common body under the initial head."""
        return {"global": clients.with_weights({**self.federation.start[clients.architecture], **self.common})}


def redrawn_heads(clients: Cohort, seed: int) -> Tree:
    """A head N(0, 0.02^2) with bias 0 for each member, another one in every round, name to (members, ...)."""
    weight, bias = clients.parameters["head.weight"], clients.parameters["head.bias"]
    draws = [
        numpy_stream(seed, "redrawn head", key, clients.round_index).standard_normal(weight.shape[1:])
        for key in clients.keys
    ]
    return {
        "head.weight": torch.as_tensor(REDRAWN_SCALE * np.stack(draws)).to(weight),
        "head.bias": torch.zeros_like(bias),
    }
