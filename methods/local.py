"""Local-only: no communication, the lower bound that every federated method has to beat.

One round, for sampled clients:

    train   theta_i = LOCAL(theta_i; D_i)     E_loc epochs from where the client's last round left it

evaluated on the schedule of the federated methods. Nothing is exchanged. Deployed: theta_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import Facts, Method, Plan
from .losses import cross_entropy
from .registry import method

if TYPE_CHECKING:
    from ..federation.cohort import Cohort
    from ..federation.rounds import Round


@dataclass(frozen=True)
class LocalConfig:
    """Local-only has no settings of its own; the run's `training` says all."""


@method("local")
class Local(Method[LocalConfig]):
    """Every client trains on its own data alone: the lower bound."""

    category = "bound"
    tolerates_absence = True

    def plan(self, facts: Facts) -> Plan:
        """Nothing is exchanged."""
        return Plan()

    def client_update(self, clients: Cohort, received: None, rnd: Round) -> None:
        """Train on private data."""
        clients.fit(cross_entropy)
