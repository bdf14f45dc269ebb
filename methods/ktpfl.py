"""KT-pFL: the server learns how much every client should learn from every other.

J. Zhang, S. Guo, X. Ma, H. Wang, W. Xu, F. Wu, "Parameterized Knowledge Transfer for Personalized Federated
Learning", NeurIPS 2021, arXiv:2111.02862, Algorithm 1. Round t, for participating clients i and a public subset d:

    distill    f_i <- descend tau^2 KL(Z_i || softmax(f_i(d') / tau))    `distill_epochs`; Z_i, d' of the round before
    train      f_i <- LOCAL(D_i)                                         E_loc epochs
    send       Y_i  = softmax(f_i(d) / tau)
    learn      c_i <- PROJECT(c_i - eta_c grad J_i(c_i)),                `coefficient_updates` times
               J_i(c_i) = l(Y_i, sum_m c_im Y_m) + rho |c_i - 1/n|^2
    mix        Z_i  = sum_m c_im Y_m

c is n x n, its rows are on the simplex and start at 1/n, which is FedMD on probabilities. PROJECT is the nearest point
of the simplex. l is KL(Y_i || .) or the squared distance, summed over classes; both mean over samples. As c_ii = 1
alone brings l to 0, only rho keeps clients learning from each other.

Exchanged: |d| * C * 4 bytes each way; the subset d is drawn from a seed that both sides know.
Deployed: f_i after its last training.
Left open by the paper: clients that do not take part. Here mixtures are of those who do, with their coefficients
divided by their sum; the others keep their rows and receive nothing. Choices: the distillation loss is multiplied by
tau^2, which keeps gradients of one size whatever tau is.
Disputed: the paper weighs l with p_i = n_i / sum_j n_j but not the penalty (`row_weights: size`), which holds the rows
of many clients to 1/n; the authors' code has no p_i. That code (`official_softmax`; with `loss: mse` it is theirs)
takes means over classes and over coefficients, l / C + rho |c_i - 1/n|^2 / n; multiplies the gradient of every row by a
power of 5 of its own, from 5^-5 to 5^5, that brings the row's mean size to 0.01 or more and below 0.05; takes a step of
1; and applies softmax(5 c_i) instead of the projection, to what is a softmax already from the second round on: without
a gradient, rows near 1/n return to it where there are more than 5 clients, and one coefficient takes all where there
are fewer. That code also divides the distillation loss by the number of classes, which no option repeats.
Departures: the authors score 5000 public samples (here the whole pool), lengthen local training from round to
round, and use SGD with 0.02 everywhere; here local training is the run's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F, torch
from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from ..federation.payloads import Scores
from .averaging import size_bytes, told_sizes
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, kl_divergence
from .planning import PlannedPhase
from .registry import method
from .simplex import project_on_simplex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round

SMALLEST_PROBABILITY = 1e-12
"""Mixtures are raised to this before their logarithm is taken."""

OFFICIAL_SIZE, OFFICIAL_FACTOR, OFFICIAL_POWERS = 0.01, 5.0, 5
"""Of the authors' code: the mean size that a row's gradient has at least, by powers of the factor, which is also the
softmax's; and how many of them, up or down."""


@dataclass(frozen=True)
class KTpFLConfig:
    """Settings of KT-pFL."""

    temperature: float = field(default=10.0, metadata=space(Log(1.0, 20.0)))
    """tau of the soft labels and of the distillation."""
    rho: float = field(default=0.7, metadata=space(Log(0.05, 5.0)))
    """Weight of the penalty that keeps coefficients near 1/n."""
    loss: Literal["kl", "mse"] = "kl"
    """l, how far a client's soft labels are from its mixture: KL or the squared distance."""
    row_weights: Literal["uniform", "size"] = "uniform"
    """What l counts beside the penalty: 1 for every client, or p_i, its share of the private samples."""
    coefficient_step: float = 0.1
    """eta_c, the step of the coefficients; 0 keeps them at 1/n. `official_softmax` steps by 1, whatever it is."""
    coefficient_updates: int = 1
    """Gradient steps of the coefficients per round."""
    official_softmax: bool = False
    """The authors' coefficients: means instead of sums in J_i, a step of 1 against gradients that are rescaled row by
    row, and a repeated softmax instead of the projection on the simplex."""
    public_samples: int | None = None
    """Public samples scored per round, |d|; null scores the whole pool."""
    distill_epochs: int = field(default=1, metadata=space(Integers(1, 10, log=True)))
    """Passes over d towards the mixture, per round."""
    distill_lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of the distillation."""

    def __post_init__(self) -> None:
        positive("ktpfl", temperature=self.temperature, distill_lr=self.distill_lr)
        not_negative("ktpfl", rho=self.rho, coefficient_step=self.coefficient_step)
        not_negative("ktpfl", coefficient_updates=self.coefficient_updates, distill_epochs=self.distill_epochs)
        if not self.official_softmax and self.coefficient_step * self.rho >= 1:
            raise ConfigError(
                f"ktpfl.coefficient_step * rho must be below 1, where a step overshoots 1/n by what it started from, "
                f"got {self.coefficient_step} * {self.rho}"
            )
        if self.public_samples is not None and self.public_samples < 1:
            raise ConfigError(f"ktpfl.public_samples must be at least 1 or null, got {self.public_samples}")


@method("ktpfl")
class KTpFL(Method[KTpFLConfig]):
    """The server learns how much every client should learn from every other. It keeps the coefficients c."""

    protocol = 2  # `official_softmax` rescales every row by itself, steps by 1 and takes the authors' means
    category = "distillation"
    paper = "Zhang et al., NeurIPS 2021, arXiv:2111.02862"
    wire = "up N_t * C * b, down N_t * C * b"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """|d| * C * 4 bytes each way."""
        samples = min(self.config.public_samples or facts.public, facts.public)
        size = facts.bytes_of_scores(samples)
        told = size_bytes(facts, self.config.row_weights)
        return Plan(
            up_bytes=size + told,
            down_bytes=size,
            work=(
                PlannedPhase("distill", self.config.distill_epochs, samples, turn="later"),
                PlannedPhase("local", facts.local_epochs),
            ),
        )

    def setup(self, federation: Federation) -> None:
        """Start with every coefficient 1/n."""
        n = federation.clients
        self.coefficients = torch.full((n, n), 1 / n, dtype=torch.float64, device=federation.device)

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Distil from the mixture, train on private data, send soft labels of this round's public subset."""
        if received is not None:
            clients.fit(
                self.distillation,
                on=Teaching(rnd.public.inputs(received.rows), received.values),
                epochs=self.config.distill_epochs,
                lr=self.config.distill_lr,
            )
        clients.fit(cross_entropy)
        d = rnd.public.subset(self.config.public_samples or len(rnd.public), rnd.seed, rnd.index)
        logits = clients.predict(rnd.public.inputs(d), as_="logits")
        told = told_sizes(clients, self.config.row_weights)
        return Scores((logits / self.config.temperature).softmax(dim=-1), rows=d, sizes=told)

    def distillation(self, model: nn.Module, batch: Batch) -> Tensor:
        """tau^2 KL(Z || softmax(f(x) / tau)), mean over the batch; tau^2 keeps gradients of one size."""
        assert batch.target is not None
        temperature = self.config.temperature
        return temperature**2 * kl_divergence(batch.target, model(batch.x) / temperature)

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Improve the participants' coefficients and send each its mixture of what the participants sent."""
        labels, present = uploads.scores().to(self.coefficients), list(uploads.ids)
        rows, weights = self.coefficients[present], uploads.ones().to(labels)
        if self.config.row_weights == "size":
            sizes = uploads.sizes().to(labels)
            weights = sizes / sizes.sum()
        for _ in range(self.config.coefficient_updates):
            if self.config.official_softmax:
                rows = repeated_softmax(rows, self.official_gradient(rows, labels, present, weights))
            else:
                step = self.config.coefficient_step * self.gradient(rows, labels, present, weights)
                rows = project_on_simplex(rows - step)
        self.coefficients[present] = rows
        mixtures = mix(rows, labels, present).to(uploads.scores())
        self.even = Scores(uploads.scores().mean(dim=0, keepdim=True), rows=uploads.rows())
        return uploads.to_participants(Scores(mixtures, rows=uploads.rows()))

    def unseen(self, clients: Cohort, received: Scores | None, rnd: Round) -> Deployed:
        """A newcomer distils from the mean of the last soft labels, as all coefficients start even, and trains."""
        mean = self.even.values.expand(len(clients), *self.even.values.shape[1:])
        self.client_update(clients, Scores(mean, rows=self.even.rows), rnd)
        return clients.deployed()

    def gradient(self, rows: Tensor, labels: Tensor, present: list[int], weights: Tensor) -> Tensor:
        """d/dc sum_i (w_i l(Y_i, Z_i) + rho |c_i - 1/n|^2) for the participants' rows, shape (participants, n)."""
        rows = rows.detach().requires_grad_()
        losses = self.losses(labels, mix(rows, labels, present))
        penalties = (rows - 1 / rows.shape[1]).square()
        objective = (weights * losses.sum(dim=2).mean(dim=1)).sum() + self.config.rho * penalties.sum()
        return torch.autograd.grad(objective, rows)[0]

    def official_gradient(self, rows: Tensor, labels: Tensor, present: list[int], weights: Tensor) -> Tensor:
        """The same with means for sums; what the coefficients in a mixture sum to counts as a constant there."""
        rows = rows.detach().requires_grad_()
        counted = rows[:, present]
        mixtures = torch.tensordot(counted / counted.sum(dim=1, keepdim=True).detach(), labels, dims=1)
        losses = weights * self.losses(labels, mixtures).mean(dim=(1, 2))
        penalties = (rows - 1 / rows.shape[1]).square().mean(dim=1)
        return torch.autograd.grad((losses + self.config.rho * penalties).sum(), rows)[0]

    def losses(self, labels: Tensor, mixtures: Tensor) -> Tensor:
        """l of every client, sample and class: KL(Y_i || Z_i) or (Y_i - Z_i)^2, shape (clients, samples, classes)."""
        if self.config.loss == "kl":
            return F.kl_div(mixtures.clamp_min(SMALLEST_PROBABILITY).log(), labels, reduction="none")
        return (labels - mixtures).square()

    def report(self, rnd: Round) -> dict[str, float | int | None]:
        """What clients count for themselves: 1/n is FedMD, 1 learns from nobody."""
        return {"own_coefficient": float(self.coefficients.diagonal().mean())}

    def state_dict(self) -> dict[str, Any]:
        """The coefficients."""
        return {"coefficients": self.coefficients}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.coefficients = state["coefficients"].to(self.coefficients)


def repeated_softmax(rows: Tensor, gradient: Tensor) -> Tensor:
    """softmax(5 (c - factor grad)), each row with the power of 5 that brings its mean |gradient| to [0.01, 0.05)."""
    size = gradient.abs().mean(dim=1, keepdim=True)
    power = ((OFFICIAL_SIZE / size).log() / math.log(OFFICIAL_FACTOR)).ceil().clamp(-OFFICIAL_POWERS, OFFICIAL_POWERS)
    return (OFFICIAL_FACTOR * (rows - gradient * OFFICIAL_FACTOR**power)).softmax(dim=1)


def mix(rows: Tensor, labels: Tensor, present: list[int]) -> Tensor:
    """Z_i = sum_m c_im Y_m / sum_m c_im over the participants m; their mean where all these c_im are 0.

    Args:
        rows: c_i of some clients, shape (clients, n).
        labels: Y_m, shape (participants, samples, classes).
        present: ids of the participants.

    Returns:
        Shape (clients, samples, classes).
    """
    counted = rows[:, present]
    total = counted.sum(dim=1, keepdim=True)
    tiny = torch.finfo(total.dtype).tiny
    shares = torch.where(total > tiny, counted / total.clamp_min(tiny), 1 / len(present))
    mixtures: Tensor = torch.tensordot(shares, labels, dims=1)
    return mixtures
