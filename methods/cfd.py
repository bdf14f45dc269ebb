"""CFD: clients and one server model teach each other with soft labels of few bits.

F. Sattler, A. Marban, R. Rischke, W. Samek, "CFD: Communication-Efficient Federated Distillation via Soft-Label
Quantization and Delta Coding", IEEE TNSE 9(4) 2022, arXiv:2012.00632. Round t, for participating clients i = 1..m and
the public pool U, the same in every round:

    distill     f_i  <- descend KL(Y~_S || softmax f_i) on U       E_dis epochs, t > 0; `client_init: random`: from the
                                                                   run's initial weights
    train       f_i  <- descend cross-entropy on D_i               LOCAL, E_loc epochs
    predict     Y~_i  = Q_up(softmax f_i(U))                       sent
    aggregate   Y     = 1/m sum_i Y~_i
    teach       s    <- descend KL(Y || softmax s) on U            E_srv epochs; the server's model goes on
    feed back   Y~_S  = Q_down(softmax s(U))                       sent

Q_b(p) is the nearest row to p, in L1, whose entries are multiples of 1 / (2^b - 1) and sum to 1; one-hot for b = 1
(`quantisers`). With 32 bits labels travel as they are. With 32 bits both ways and persistent clients this *is* COSMOS
with one cluster and without the consistency loss.
Exchanged: delta coding sends a label only if the receiver's last one differs, and entropy coding makes that
N * H / 8 bytes and a table, a number that depends on the data; at most N * ceil(log2 #labels) / 8, where #labels is C
for one bit and < 2^(C b). A client that was away is told what changed since it was last there (`last_heard`). Sizes
are those of an ideal coder (`coder: ideal`), for which messages are encoded and decoded, but no bit stream is written.
With `coder: range` one is: an adaptive range coder writes the bytes that are counted, sends no table, and what arrives
is read from them (`label_streams`); training is the same, bit for bit.
Two accuracies: `client` is a client's model after its local phase; `server` is s, which the paper evaluates.
Choices: the paper re-initialises clients every round, with a common seed (`random`), so that an absent client needs
no state; all that personalizes them is then their last local phase. Here they go on from their own weights
(`persistent`), as in the other methods that share predictions. The paper breaks ties of Q_b at random, here the first
class wins.
Departure: the table also names the labels it is about, without which a message of many bits could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, Diverged
from fl_bench.later import LATER
from fl_bench.lazy import torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.payloads import Scores
from .aggregation import aggregate
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .label_streams import read_labels, write_labels
from .last_heard import NOTHING, LastHeard
from .losses import cross_entropy, distillation
from .quantisers import FINEST, coded_bytes, decode, dequantise, encode, most_bytes, quantise
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round

FULL = 32
"""Bits of a label that is not quantised."""


@dataclass(frozen=True)
class CFDConfig:
    """Settings of CFD."""

    b_up: int = 1
    """Bits of a client's labels: 1 (one-hot) to 16, or 32 for no quantisation."""
    b_down: int = 1
    """Bits of the server's labels, likewise."""
    delta: bool = True
    """Send only labels that differ from the last ones sent; those of 32 bits are always sent."""
    client_init: Literal["persistent", "random"] = "persistent"
    """What a client starts a round from: its own weights, or the run's common initial ones (the paper)."""
    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of a client over the public pool per round but the first, E_dis."""
    distill_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the clients' distillation."""
    server_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of the server's model over the public pool per round, E_srv."""
    server_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the server's model."""
    clip: float | None = None
    """Largest gradient norm in distillation, of clients and server; null for none."""
    coder: Literal["ideal", "range"] = field(default="ideal", metadata=LATER)
    """Whose bytes quantised labels cost: those of an ideal coder with a table of labels, computed, or those that a
    range coder really writes, at some ten microseconds a label."""

    def __post_init__(self) -> None:
        for name, bits in (("b_up", self.b_up), ("b_down", self.b_down)):
            if not (1 <= bits <= FINEST or bits == FULL):
                raise ConfigError(f"cfd.{name} must be from 1 to {FINEST}, or {FULL} for no quantisation, got {bits}")
        positive("cfd", distill_lr=self.distill_lr, server_lr=self.server_lr)
        positive("cfd", clip=1.0 if self.clip is None else self.clip)
        not_negative("cfd", distill_epochs=self.distill_epochs, server_epochs=self.server_epochs)


@method("cfd")
class CFD(Method[CFDConfig]):
    """Clients and one server model teach each other with soft labels of few bits.

    The server keeps its model and, for delta coding, of which round each client heard labels last (`heard`) and these
    labels by round (`labels`, as levels); clients keep the labels they sent last.
    """

    tolerates_absence = False  # labels that are sent as changes need what was sent before
    category = "distillation"
    paper = "Sattler et al., IEEE TNSE 2022, arXiv:2012.00632"
    wire = "up N * H(labels) / 8, down the same; at most N * log2(#labels) / 8, #labels = C for 1 bit"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})

    def plan(self, facts: Facts) -> Plan:
        """At most N labels of ceil(log2 #labels) bits each way; N * C * 4 bytes, exactly, for 32 bits."""
        up, down = (
            facts.scores_bytes if bits == FULL else most_bytes(facts.public, facts.classes, bits)
            for bits in (self.config.b_up, self.config.b_down)
        )
        return Plan(
            up_bytes=up,
            down_bytes=down,
            bound=min(self.config.b_up, self.config.b_down) < FULL,
            client_public_epochs=self.config.distill_epochs,
            server_public_epochs=self.config.server_epochs,
        )

    def setup(self, federation: Federation) -> None:
        """Make the server's model; nobody has heard anything, which is rows of zeros."""
        self.server = federation.server_models(1)
        self.heard = LastHeard([NOTHING] * federation.clients)
        shape = (1, len(federation.public), federation.classes)
        self.labels = {NOTHING: torch.zeros(shape, dtype=torch.int32, device=federation.device)}

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Distil from the server's labels, train on private data, send quantised predictions."""
        public = rnd.public.inputs()
        if self.config.client_init == "random":
            clients.load(self.federation.start[clients.architecture])
        if received is not None:
            clients.fit(
                distillation,
                on=Teaching(public, received.values),
                epochs=self.config.distill_epochs,
                lr=self.config.distill_lr,
                clip=self.config.clip,
            )
        clients.fit(cross_entropy)
        predictions = clients.predict(public)
        if self.config.b_up == FULL:
            return Scores(predictions)
        levels = quantise(predictions, self.config.b_up)
        sent = clients.kept("sent")
        known = torch.zeros_like(levels) if sent is None else sent["levels"]
        if self.config.delta:
            clients.keep("sent", {"levels": levels})
        return told(levels, known, self.config.b_up, predictions, self.config.coder)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the clients' labels, teach the server's model, feed back its quantised predictions."""
        public, learner = rnd.public.inputs(), self.server.at(rnd.index)
        learner.fit(
            distillation,
            on=Teaching(public, aggregate(uploads.scores(), "mean")[None]),
            epochs=self.config.server_epochs,
            lr=self.config.server_lr,
            clip=self.config.clip,
            stream="server",
        )
        learner.check_finite()
        return self.feed_back(learner.predict(public), uploads, rnd)

    def feed_back(self, predictions: Tensor, uploads: Uploads, rnd: Round) -> Downloads:
        """The server's labels; with delta coding, those that changed since each client last heard them."""
        bits, coder = self.config.b_down, self.config.coder
        if bits == FULL:
            return uploads.to_all(Scores(predictions))
        levels = quantise(predictions, bits)
        if not self.config.delta:
            return uploads.to_all(told(levels, torch.zeros_like(levels), bits, predictions, coder))
        self.heard.took_part(uploads.ids, rnd)
        self.labels = {heard: self.labels[heard] for heard in self.heard.rounds} | {rnd.index: levels}
        return self.heard.answer(uploads, lambda heard: told(levels, self.labels[heard], bits, predictions, coder))

    def unseen(self, clients: Cohort, received: Scores | None, rnd: Round) -> Deployed:
        """A newcomer distils from the server's newest labels, all of them, and trains."""
        answer = self.server.predict(rnd.public.inputs())
        if self.config.b_down != FULL:
            answer = dequantise(quantise(answer, self.config.b_down), self.config.b_down, answer.dtype)
        self.client_update(clients, Scores(answer.expand(len(clients), *answer.shape[1:])), rnd)
        return clients.deployed()

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's model, for every client."""
        return {"server": self.server.deployed([0] * len(clients))}

    def state_dict(self) -> dict[str, Any]:
        """The server's model, and who heard which labels last."""
        heard = torch.tensor(self.heard.of_client)
        return {"server": self.server.state_dict(), "heard": heard, "labels": self.labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.server.load_state_dict(state["server"])
        self.heard, self.labels = LastHeard(state["heard"].tolist()), dict(state["labels"])


def told(levels: Tensor, known: Tensor, bits: int, like: Tensor, coder: Literal["ideal", "range"]) -> Scores:
    """What arrives when levels are told to someone who knows others, and its length on the wire.

    Args:
        levels: shape (clients, samples, classes).
        known: what the receiver has, same shape; zeros where it has nothing.
        bits: b.
        like: the predictions that they were made of, in the run's number format.
        coder: what makes bytes of them, as in `CFDConfig`.
    Raises:
        Diverged: the range coder was given labels that were made of no numbers.
    """
    if coder == "range":
        if not bool(like.isfinite().all()):
            raise Diverged("predictions to be quantised and coded are not finite")
        messages = write_labels(levels, known, bits)
        sizes = torch.tensor([len(message) for message in messages], device=levels.device)
        return Scores(dequantise(read_labels(messages, known, bits), bits, like.dtype), coded_bytes=sizes)
    message = encode(levels, known)
    return Scores(dequantise(decode(message, known), bits, like.dtype), coded_bytes=coded_bytes(message, bits))
