"""Local-only: no communication, the lower bound that every federated method has to beat.

Every client trains on its own data, E_loc epochs per round, evaluated on the schedule of the federated methods.
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

    def plan(self, facts: Facts) -> Plan:
        """Nothing is exchanged."""
        return Plan()

    def client_update(self, clients: Cohort, received: None, rnd: Round) -> None:
        """Train on private data."""
        clients.fit(cross_entropy)
