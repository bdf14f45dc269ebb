"""DS-FL: clients exchange predictions on a public pool, and the server lowers the entropy of their average.

S. Itahara, T. Nishio, Y. Koda, M. Morikura, K. Yamamoto, "Distillation-Based Semi-Supervised Federated Learning for
Communication-Efficient Collaborative Training with Non-IID Private Data", IEEE TMC 22(1) 2023, arXiv:2008.06180,
Algorithm 1. Round t, for participating clients k = 1..m and a subset o_t of the public pool:

    distill      f_k <- descend soft cross-entropy towards t' on o'    t', o' of the round before (t > 0)
    update       f_k <- descend cross-entropy on D_k                   LOCAL, E_loc epochs
    predict      p_k  = softmax f_k(o_t)                               sent, |o_t| * C * 4 bytes
    aggregate    p    = 1/m sum_k p_k
                 t    = p                    SA, simple averaging
                      | softmax(p / T)       ERA, entropy reduction: a softmax *of probabilities*
                      | p^(1/T) / sum        ERA in power form       sent, |o_t| * C * 4 bytes
    teach        s   <- descend soft cross-entropy towards t on o_t    the server's model, which goes on

The subset o_t is drawn from a seed that both sides know; by default it is the whole pool, as in every other
distillation method of a comparison (the paper: 1000 samples).
Disputed: the form of ERA. The paper's softmax is no average at T = 1: (.7, .2, .1) becomes (.46, .28, .26). It
replaces the log-ratio of two classes, log(p_a / p_b), by (p_a - p_b) / T, so it sharpens where probabilities exceed T
and flattens where they do not: with many classes rows are flat, and T = 0.1 may *raise* their entropy. Take a smaller
T there, or the power form of later work ("enhanced ERA", SCARLET, arXiv:2504.19602), which is SA at T = 1 and never
raises it for T < 1. The mean entropies of both targets are in every round's row.
Two accuracies: `client` is what a client deploys, its model after its local phase; `server` is s, which the paper
evaluates.
Departure: a client distils at the start of its next round rather than at the end of this one, so that what it deploys
has seen its private labels last, and clients that are not drawn do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.payloads import Scores
from .aggregation import sharpen
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, soft_cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class DSFLConfig:
    """Settings of DS-FL."""

    aggregation: Literal["era", "sa"] = "era"
    """Entropy reduction averaging, or simple averaging."""
    era_form: Literal["softmax", "power"] = "softmax"
    """How ERA lowers the entropy: softmax(p / T), the paper's, or p^(1/T) / sum."""
    temperature: float = field(default=0.1, metadata=space(Log(0.01, 1.0)))
    """T of ERA."""
    public_samples: int | None = None
    """Public samples predicted per round, |o_t|; null predicts the whole pool."""
    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of a client over o_t per round."""
    distill_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the clients' distillation."""
    clip: float | None = None
    """Largest gradient norm in distillation, of clients and server; null for none."""
    server_model: bool = True
    """Whether the server has a model of its own; clients do not notice."""
    server_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes of the server's model over o_t per round."""
    server_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the server's model."""

    def __post_init__(self) -> None:
        positive("dsfl", temperature=self.temperature, distill_lr=self.distill_lr, server_lr=self.server_lr)
        positive("dsfl", clip=1.0 if self.clip is None else self.clip)
        not_negative("dsfl", distill_epochs=self.distill_epochs, server_epochs=self.server_epochs)
        if self.public_samples is not None and self.public_samples < 1:
            raise ConfigError(f"dsfl.public_samples must be at least 1 or null, got {self.public_samples}")


@method("dsfl")
class DSFL(Method[DSFLConfig]):
    """Clients exchange predictions on public data; the server lowers the entropy of their average.

    The server keeps its model; clients keep nothing but theirs.
    """

    category = "distillation"
    paper = "Itahara et al., IEEE TMC 2023, arXiv:2008.06180"
    wire = "up N_t * C * b, down N_t * C * b"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """|o_t| * C * 4 bytes each way."""
        samples = min(self.config.public_samples or facts.public, facts.public)
        size = facts.bytes_of_scores(samples)
        return Plan(
            up_bytes=size,
            down_bytes=size,
            work=(
                PlannedPhase("distill", self.config.distill_epochs, samples, start=1),
                PlannedPhase("local", facts.local_epochs),
                PlannedPhase("server", self.config.server_epochs if self.config.server_model else 0, samples),
            ),
        )

    def setup(self, federation: Federation) -> None:
        """Make the server's model."""
        self.server = federation.server_models(1) if self.config.server_model else None

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Distil from the last targets, train on private data, predict this round's public subset."""
        if received is not None:
            clients.fit(
                soft_cross_entropy,
                on=Teaching(rnd.public.inputs(received.rows), received.values),
                epochs=self.config.distill_epochs,
                lr=self.config.distill_lr,
                clip=self.config.clip,
            )
        clients.fit(cross_entropy)
        subset = rnd.public.subset(self.config.public_samples or len(rnd.public), rnd.seed, rnd.index)
        return Scores(clients.predict(rnd.public.inputs(subset)), rows=subset)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Average, lower the entropy, teach the server's model, send the targets to all."""
        average, subset = uploads.scores().mean(dim=0), uploads.rows()
        reduced = entropy_reduced(average, self.config.temperature, self.config.era_form)
        self.entropies = {"entropy_sa": mean_entropy(average), "entropy_era": mean_entropy(reduced)}
        target = (reduced if self.config.aggregation == "era" else average)[None]
        if self.server is not None:
            learner = self.server.at(rnd.index)
            learner.fit(
                soft_cross_entropy,
                on=Teaching(rnd.public.inputs(subset), target),
                epochs=self.config.server_epochs,
                lr=self.config.server_lr,
                clip=self.config.clip,
                stream="server",
            )
            learner.check_finite()
        return uploads.to_all(Scores(target, rows=subset))

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """The server's model, for every client."""
        return {} if self.server is None else {"server": self.server.deployed([0] * len(clients))}

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """Mean entropies (nats) of this round's average and of what ERA makes of it, whichever was sent."""
        return dict(self.entropies)

    def state_dict(self) -> dict[str, Any]:
        """The server's model."""
        return {} if self.server is None else {"server": self.server.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.server is not None:
            self.server.load_state_dict(state["server"])


def entropy_reduced(average: Tensor, temperature: float, form: Literal["softmax", "power"]) -> Tensor:
    """ERA: softmax(p / T) of averaged probabilities p, or in power form p^(1/T) / sum.

    Both keep the order of the classes of every row; as T goes to 0 rows become one-hot, as it grows uniform.

    Args:
        average: p, mean class probabilities, shape (samples, classes).
        temperature: T > 0, without unit.
        form: which of the two.
    Returns:
        The global soft labels, same shape; each row sums to 1.
    """
    return sharpen(average, temperature) if form == "power" else (average / temperature).softmax(dim=-1)


def mean_entropy(probabilities: Tensor) -> float:
    """Mean over rows of -sum_c p_c ln p_c, in nats."""
    return float(torch.special.entr(probabilities).sum(dim=-1).mean())
