"""Local+U: Local-only with the distillation steps of a federated method, and nothing from other clients.

The compute-matched control of distillation methods. In every round but the first a client also distils, on the public
pool U, from its *own* predictions of the round before:

    distill   f_i <- descend KL(P_i || softmax f_i) on U     `distill_epochs` passes, P_i from the last round
    train     f_i <- descend cross-entropy on D_i
    predict   P_i = softmax f_i(U)                           kept, never sent

What distillation methods gain over it comes from other clients, not from more steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fl_bench.spaces import Integers, Log, space

from ..federation.batches import Teaching
from .base import Facts, Method, Plan, Requires, not_negative, positive
from .losses import cross_entropy, distillation
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class LocalPublicConfig:
    """Settings of Local+U; give it the distillation settings of the method it controls for."""

    distill_epochs: int = field(default=5, metadata=space(Integers(1, 10, log=True)))
    """Passes over the public pool per round, E_dis."""
    distill_lr: float = field(default=1e-4, metadata=space(Log(1e-5, 1e-1)))
    """Learning rate of the distillation phase."""
    clip: float | None = 1.0
    """Largest gradient norm in the distillation phase; null for none."""

    def __post_init__(self) -> None:
        not_negative("local-public", distill_epochs=self.distill_epochs)
        positive("local-public", distill_lr=self.distill_lr, clip=1.0 if self.clip is None else self.clip)


@method("local-public")
class LocalPublic(Method[LocalPublicConfig]):
    """Local-only with as many distillation steps, towards its own predictions: a control.

    Keeps each client's last predictions on U with the client.
    """

    category = "bound"
    tolerates_absence = True
    requires = Requires(public_data=True)
    near = (("local", "its targets are the client's own predictions, which it fits already"),)

    def plan(self, facts: Facts) -> Plan:
        """Nothing is exchanged."""
        return Plan(
            work=(
                PlannedPhase("distill", self.config.distill_epochs, "public", turn="later"),
                PlannedPhase("local", facts.local_epochs),
            )
        )

    def client_update(self, clients: Cohort, received: None, rnd: Round) -> None:
        """Distil from the client's own last predictions, train on private data, predict."""
        public = rnd.public.inputs()
        own = clients.kept("predictions")
        known = [] if own is None else own["known"].nonzero().flatten().tolist()  # some members may be new
        if own is not None and known:
            clients.only(known).fit(
                distillation,
                on=Teaching(public, own["probabilities"][known]),
                epochs=self.config.distill_epochs,
                lr=self.config.distill_lr,
                clip=self.config.clip,
            )
        clients.fit(cross_entropy)
        predictions = clients.predict(public)
        clients.keep("predictions", {"probabilities": predictions, "known": predictions.new_ones(len(clients))})
