"""Cronus: clients train on robustly aggregated predictions as if they were labelled data.

H. Chang, V. Shejwalkar, R. Shokri, A. Houmansadr, "Cronus: Robust and Heterogeneous Collaborative Learning with
Black-Box Knowledge Transfer", 2019, arXiv:1912.11279, Algorithm 1. First, and once, for every client i:

    initialise   f_i <- descend cross-entropy on D_i                         `initial_epochs`, T_1

Then round t, for participating clients i, where U is the public pool:

    train        f_i <- descend cross-entropy on D_i with {(u, Y_u)}         E_loc epochs of both, shuffled (t > 0)
    send         Y_iu = softmax f_i(u)
    aggregate    Y_u  = robust mean of {Y_iu}, divided by its sum            `aggregation`

There is no separate distillation, which is the difference to FedMD; soft labels count as much as private ones.

Exchanged: N * C * 4 bytes each way.
The paper aggregates with the spectral filter of I. Diakonikolas, G. Kamath, D. Kane, J. Li, A. Moitra, A. Stewart,
"Being Robust (in High Dimensions) Can Be Practical", ICML 2017, arXiv:1703.00893: as long as the rows vary too much in
one direction, drop those that are farthest along it; then average. That is `spectral`. The default is the trimmed mean
of every entry, and there are its median, the geometric median of rows and, without robustness, the mean.
Departure: the filter's stopping rule and cut-off presume that the variance of honest rows is known, which that of
predictions is not; `spectral` drops one row after the other, floor(trim * m) in all, as if so many clients lied.
Beware: where clients know few classes, those who know a class are its outliers, and what resists liars better (a larger
`trim`, the median) forgets more of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError
from fl_bench.spaces import Linear, space

from ..federation.batches import Teaching, Together
from ..federation.payloads import Scores
from .aggregation import aggregate
from .base import Facts, Method, Plan, Requires, not_negative
from .losses import cross_entropy, soft_cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from ..federation.channel import Downloads, Uploads
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class CronusConfig:
    """Settings of Cronus."""

    initial_epochs: int | None = None
    """Passes over private data before a client's first exchange, T_1; null for the run's local epochs."""
    aggregation: Literal["trimmed", "median", "geomedian", "spectral", "mean"] = "trimmed"
    """The robust mean, for each public sample: of every entry by itself, or (`geomedian`, `spectral`) of whole rows."""
    trim: float = field(default=0.1, metadata=space(Linear(0.05, 0.45, least=0, most=0.49)))
    """Fraction that `trimmed` cuts off each end, or of the clients that `spectral` drops."""

    def __post_init__(self) -> None:
        not_negative("cronus", initial_epochs=self.initial_epochs or 0)
        if not 0 <= self.trim < 0.5:
            raise ConfigError(f"cronus.trim must be in [0, 0.5), got {self.trim}")


@method("cronus")
class Cronus(Method[CronusConfig]):
    """Clients train on robustly aggregated predictions as if they were labelled data.

    Clients keep whether they were initialised.
    """

    category = "distillation"
    paper = "Chang et al., 2019, arXiv:1912.11279"
    wire = "up N * C * b, down N * C * b"
    requires = Requires(public_data=True)
    exchanges = frozenset({Scores})
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """N * C * 4 bytes each way; the public pool is among the data of every local pass."""
        initial = facts.local_epochs if self.config.initial_epochs is None else self.config.initial_epochs
        return Plan(
            up_bytes=facts.scores_bytes,
            down_bytes=facts.scores_bytes,
            work=(
                PlannedPhase("local", initial, turn="first"),
                PlannedPhase("local", facts.local_epochs, "both", start=1),
            ),
        )

    def client_update(self, clients: Cohort, received: Scores | None, rnd: Round) -> Scores:
        """Train on private data, with soft labels for the public pool as soon as there are any, and score the pool."""
        self.initialise(clients)
        public = rnd.public.inputs()
        if received is not None:
            clients.fit(soft_cross_entropy, on=Together(Teaching(public, received.values)))
        return Scores(clients.predict(public))

    def initialise(self, clients: Cohort) -> None:
        """T_1 epochs on private data, once per client, whenever it first takes part."""
        kept = clients.kept("initialised")
        done = [0.0] * len(clients) if kept is None else kept["done"].tolist()
        new = [member for member, was_here in enumerate(done) if not was_here]
        if new:
            clients.only(new).fit(cross_entropy, epochs=self.config.initial_epochs)
            clients.keep("initialised", {"done": clients.sizes.new_ones(len(clients))})

    def server_update(self, uploads: Uploads, rnd: Round) -> Downloads:
        """Aggregate the predictions, sample by sample; an even number of clients has the midpoint as its median."""
        consensus = aggregate(uploads.scores(), self.config.aggregation, trim=self.config.trim, midpoint=True)
        return uploads.to_all(Scores(consensus[None]))
