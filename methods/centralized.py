"""Centralized training: upper bounds that pool private data, which no federated method may do.

`centralized` trains one model of the run's server architecture on the union of all D_i; `centralized-group` one
model per true latent group (an oracle: it opens the seal of the groups). Both take E_loc epochs over the pooled
data per round, or `epochs`, with the run's local optimizer, and are evaluated per client on T_i, so that the mean over
clients is comparable with every other method (pooled accuracy is not, where test sizes differ). `with_public` adds the
public pool under its true labels, another oracle. Nothing is exchanged, and no bytes are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.later import LATER
from fl_bench.lazy import np

from .base import Facts, Method, Plan, Requires, positive
from .losses import cross_entropy
from .planning import PlannedPhase
from .registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..federation.channel import Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.rounds import Federation, Round


@dataclass(frozen=True)
class CentralizedConfig:
    """Settings of the pooled bounds."""

    with_public: bool = False
    """Also train on the public pool with its true labels; opens their seal."""
    epochs: int | None = field(default=None, metadata=LATER)
    """Passes over the pooled data per round; null for as many as clients take over theirs, E_loc."""

    def __post_init__(self) -> None:
        positive("centralized", epochs=1 if self.epochs is None else self.epochs)


class Pooled(Method[CentralizedConfig]):
    """One model per list of clients. Keeps the models; clients and channel stay idle."""

    category = "bound"
    tolerates_absence = True
    requires = Requires(pooled_data=True)
    deployed_view = "pooled"
    deploys = "a model trained on the private data of several clients, its own among them"

    def needs(self) -> Requires:
        """Pooled data, and the public labels where asked for."""
        return replace(self.requires, public_labels=self.config.with_public)

    def plan(self, facts: Facts) -> Plan:
        """Nothing is exchanged; the steps are those of the models on pooled data."""
        samples: Literal["pooled", "pooled and public"] = "pooled and public" if self.config.with_public else "pooled"
        epochs = facts.local_epochs if self.config.epochs is None else self.config.epochs
        return Plan(work=(PlannedPhase("local", epochs, samples, models=self.models(facts)),))

    def models(self, facts: Facts) -> int:
        """How many models there are."""
        return 1

    def owners(self) -> np.ndarray:
        """The model of each client, shape (clients,)."""
        return np.zeros(self.federation.clients, dtype=np.int64)

    def setup(self, federation: Federation) -> None:
        """Make one model per list of clients."""
        self.owner = self.owners()
        members = [np.flatnonzero(self.owner == model).tolist() for model in range(int(self.owner.max()) + 1)]
        self.pool = federation.pooled(members, with_public_by=self.name if self.config.with_public else "")

    def client_update(self, clients: Cohort, received: None, rnd: Round) -> None:
        """Clients do nothing: their data are in the pool."""

    def server_update(self, uploads: Uploads, rnd: Round) -> None:
        """Train on the pooled data."""
        self.pool.at(rnd.index).fit(cross_entropy, epochs=self.config.epochs)
        self.pool.check_finite()

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The pooled model that covers each client."""
        return self.pool.deployed(index=self.owner[list(clients.ids)])

    def unseen(self, clients: Cohort, received: None, rnd: Round) -> Deployed | None:
        """A newcomer gets the model of all data as it is; where each group has one, nobody knows which."""
        return self.pool.deployed(index=[0] * len(clients)) if len(self.pool) == 1 else None

    def state_dict(self) -> dict[str, Any]:
        """The models."""
        return self.pool.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the models."""
        self.pool.load_state_dict(state)


@method("centralized")
class Centralized(Pooled):
    """One model on all private data pooled: an upper bound."""


@method("centralized-group")
class CentralizedGroup(Pooled):
    """One model on the pooled data of each true latent group: an upper bound by an oracle."""

    requires = Requires(pooled_data=True, groups=True)

    def models(self, facts: Facts) -> int:
        """One for each group."""
        return facts.groups or 1

    def owners(self) -> np.ndarray:
        """The true groups."""
        groups = self.federation.groups
        assert groups is not None  # `requires` says so, and runs without groups are refused before they start
        return groups.open(self.name)
