"""FedMD: clients with different architectures agree on scores over public data.

D. Li and J. Wang, "FedMD: Heterogenous Federated Learning via Model Distillation", NeurIPS 2019 workshop,
arXiv:1910.03581, Algorithm 1. Round t, for participating clients k = 1..m and a public subset d:

    digest        f_k <- descend loss(f_k(d'), z')       `digest_epochs` passes; z', d' of the round before (t > 0)
    revisit       f_k <- descend cross-entropy on D_k    LOCAL, E_loc epochs
    communicate   z_k = f_k(d)                           `score`: logits or probabilities, shape (|d|, classes)
    aggregate     z   = 1/m * sum_k z_k                  every client counts the same (`weights`)

Exchanged: |d| * C * 4 bytes each way; the subset d is drawn from a seed that both sides know.
Deployed: f_k after its last revisit.
Left open by the paper: the weights of clients in the consensus, all the same but where the authors give two weak
models less; here also by private samples (`weights: size`). And the digest loss: `l1` is the mean absolute error on
scores of the authors' code; `mse` and `kl` are common elsewhere (`kl` on logits compares softmax(z / T) with softmax
f_k).
Departures: the authors pre-train on *labelled* public data; here public labels are sealed, so `pretrain_epochs` is
0, and any other value marks the run `oracle: public labels`. The authors score 5000 public samples per round; here
the default is the whole pool, as in every other distillation method of a comparison. Their training before the first
round stops early by test accuracy; here every phase has a fixed length.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.lazy import F
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.payloads import Scores
from ..federation.phase import of_outputs
from .averaging import shares, size_bytes, told_sizes, weighted_mean
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, distillation, told_cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class FedMDConfig:
    """Settings of FedMD. The defaults are the authors' where the paper's protocol allows."""

    score: Literal["logits", "probabilities"] = "logits"
    """What clients send and average."""
    loss: Literal["l1", "mse", "kl"] = "l1"
    """Digest loss: mean absolute or squared error of the scores, or KL(target || softmax f)."""
    temperature: float = 1.0
    """T of `kl` on logits: the target is softmax(z / T)."""
    public_samples: int | None = None
    """Public samples scored per round, |d|; null scores the whole pool."""
    digest_epochs: int = field(default=1, metadata=space(Integers(1, 10, log=True)))
    """Passes over d towards the consensus, per round."""
    digest_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the digest phase."""
    clip: float | None = None
    """Largest gradient norm in the digest phase; null for none."""
    pretrain_epochs: int = 0
    """Passes over the public pool with its true labels before the first round; opens their seal."""
    weights: Literal["uniform", "size"] = field(default="uniform", metadata=LATER)
    """In the consensus, clients count all the same or by their private samples."""

    def __post_init__(self) -> None:
        positive("fedmd", temperature=self.temperature, digest_lr=self.digest_lr)
        positive("fedmd", clip=1.0 if self.clip is None else self.clip)
        not_negative("fedmd", digest_epochs=self.digest_epochs, pretrain_epochs=self.pretrain_epochs)
        if self.public_samples is not None and self.public_samples < 1:
            raise ConfigError(f"fedmd.public_samples must be at least 1 or null, got {self.public_samples}")
        if self.temperature != 1.0 and (self.loss, self.score) != ("kl", "logits"):
            raise ConfigError(
                f"fedmd.temperature belongs to loss=kl with score=logits, "
                f"got temperature={self.temperature} with loss={self.loss}, score={self.score}"
            )


@method("fedmd")
class FedMD(Method[FedMDConfig]):
    """Clients with different architectures agree on scores over public data.

    Keeps no state between rounds but the clients' models.
    """

    category = "distillation"
    paper = "Li & Wang, NeurIPS workshop 2019, arXiv:1910.03581"
    wire = "up N_t * C * b, down N_t * C * b"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def needs(self) -> Requires:
        """Public data; their labels too where clients pre-train on them."""
        return replace(self.requires, public_labels=self.config.pretrain_epochs > 0)

    def plan(self, facts: Facts) -> Plan:
        """|d| * C * 4 bytes each way."""
        samples = min(self.config.public_samples or facts.public, facts.public)
        size = facts.bytes_of_scores(samples)
        return Plan(
            up_bytes=size + size_bytes(facts, self.config.weights),
            down_bytes=size,
            work=(
                PlannedPhase("distill", self.config.pretrain_epochs, "public", turn="first"),
                PlannedPhase("distill", self.config.digest_epochs, samples, start=1),
                PlannedPhase("local", facts.local_epochs),
            ),
        )

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Digest the last consensus, revisit private data, score this round's public subset."""
        if self.config.pretrain_epochs:
            self.pretrain(clients, rnd)
        if received is not None:
            self.digest(clients, received, rnd)
        clients.fit(cross_entropy)
        d = rnd.public.subset(self.config.public_samples or len(rnd.public), rnd.seed, rnd.index)
        values = clients.predict(rnd.public.inputs(d), as_=self.config.score)
        return Scores(values, form=self.config.score, rows=d, sizes=told_sizes(clients, self.config.weights))

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average the scores, and send the same consensus to every client."""
        scores = uploads.scores()
        if self.config.weights == "uniform":
            consensus = scores.mean(dim=0, keepdim=True)
        else:
            consensus = weighted_mean({"z": scores}, shares(uploads, "size"))["z"]
        return uploads.to_all(Scores(consensus, form=self.config.score, rows=uploads.rows()))

    def digest(self, clients: Cohort, consensus: Scores, rnd: Round) -> None:
        """Train towards the consensus on the public samples it is about."""
        target = consensus.values
        if self.config.loss == "kl" and consensus.form == "logits":
            target = (target / self.config.temperature).softmax(dim=-1)
        clients.fit(
            self.digest_objective(),
            on=Teaching(rnd.public.inputs(consensus.rows), target),
            epochs=self.config.digest_epochs,
            lr=self.config.digest_lr,
            clip=self.config.clip,
        )

    def digest_objective(self) -> Any:
        """The digest loss, on the kind of scores that travel."""
        if self.config.loss == "kl":
            return distillation
        distance = F.l1_loss if self.config.loss == "l1" else F.mse_loss
        as_scores = self.config.score == "probabilities"

        @of_outputs
        def score_error(model: nn.Module, batch: Batch) -> Tensor:
            assert batch.target is not None
            logits = model(batch.x)
            return distance(logits.softmax(dim=-1) if as_scores else logits, batch.target)

        return score_error

    def pretrain(self, clients: Cohort, rnd: Round) -> None:
        """The authors' transfer learning, once per client: cross-entropy on public data with their true labels."""
        labels = rnd.public.labels.open(self.name)
        done = clients.kept("pretrained")
        new = [member for member in range(len(clients)) if done is None or not done["done"][member]]
        clients.keep("pretrained", {"done": clients.sizes.new_ones(len(clients))})
        if not new:
            return
        clients.only(new).fit(
            told_cross_entropy,
            on=Teaching(rnd.public.inputs(), labels.expand(len(new), -1)),
            epochs=self.config.pretrain_epochs,
            stream="pretrain",
        )
