"""The server's models, one per cluster: K independent networks, or one backbone with K heads (methods.md 2.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import torch

from ..federation.batches import Teaching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Federation, Round
    from .clustering import Matching
    from .objectives import ConsistentDistillation

HEAD_WIDTHS = (512, 256)
"""Hidden widths of each head of the multi-head server: features - 512 - 256 - classes."""


@dataclass(frozen=True)
class ServerPhase:
    """How server models are trained in a round."""

    objective: ConsistentDistillation
    epochs: int
    lr: float | None
    clip: float | None
    fresh: bool = False
    """Whether optimizers start anew even where the run lets them persist between rounds."""


class ClusterModels(ABC):
    """K models that the server keeps over rounds, and the operations COSMOS needs on them."""

    cohort: Cohort
    count: int

    @abstractmethod
    def train(self, inputs: Tensor, targets: Tensor, active: Sequence[int], phase: ServerPhase, rnd: Round) -> None:
        """Train the models of the clusters `active` towards `targets`, shape (K, samples, classes)."""

    @abstractmethod
    def predict(self, inputs: Tensor) -> Tensor:
        """Class probabilities of every model, shape (K, samples, classes)."""

    @abstractmethod
    def regrouped(self, matching: Matching) -> ClusterModels:
        """New models for new clusters: model k starts as a copy of the present model `matching.sources[k]`."""

    @abstractmethod
    def restart(self) -> None:
        """Take all models back to their initial weights."""

    @abstractmethod
    def renew(self, clusters: Sequence[int], attempt: int) -> None:
        """Give the models of some clusters initial weights that they have not had: the set number `attempt`, from 1."""

    @abstractmethod
    def serving(self, clusters: np.ndarray) -> Deployed:
        """For evaluation: the model of each client's cluster."""

    @abstractmethod
    def best(self) -> Deployed:
        """For the oracle view: the model that is best on each client's test data."""

    def state_dict(self) -> dict[str, Any]:
        """The models' weights and moments."""
        return self.cohort.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.cohort.load_state_dict(state)


class SeparateModels(ClusterModels):
    """K independent networks of the server architecture."""

    def __init__(self, federation: Federation, count: int) -> None:
        self.federation = federation
        self.count = count
        self.cohort = federation.server_models(count)

    def train(self, inputs: Tensor, targets: Tensor, active: Sequence[int], phase: ServerPhase, rnd: Round) -> None:
        """See `ClusterModels.train`."""
        learners = self.cohort.at(rnd.index).only(active)
        learners.fit(
            phase.objective,
            on=Teaching(inputs, targets[list(active)]),
            epochs=phase.epochs,
            lr=phase.lr,
            clip=phase.clip,
            fresh=phase.fresh,
            noise=phase.objective.weight > 0,
            stream="server",
            name="server",
        )
        learners.check_finite()

    def predict(self, inputs: Tensor) -> Tensor:
        """See `ClusterModels.predict`."""
        return self.cohort.predict(inputs)

    def regrouped(self, matching: Matching) -> SeparateModels:
        """See `ClusterModels.regrouped`; clusters that go on keep their optimizer's moments, too."""
        models = SeparateModels(self.federation, len(matching.sources))
        device = self.federation.device
        models.cohort.take_over(
            self.cohort,
            torch.from_numpy(matching.sources).to(device),
            torch.from_numpy(matching.continued).to(device),
        )
        return models

    def restart(self) -> None:
        """See `ClusterModels.restart`."""
        self.cohort = self.federation.server_models(self.count)

    def renew(self, clusters: Sequence[int], attempt: int) -> None:
        """See `ClusterModels.renew`."""
        fresh = self.federation.server_models(self.count * (attempt + 1)).weights
        rows = [self.count * attempt + cluster for cluster in clusters]
        self.cohort.only(clusters).load({name: tensor[rows] for name, tensor in fresh.items()})

    def serving(self, clusters: np.ndarray) -> Deployed:
        """See `ClusterModels.serving`."""
        return self.cohort.deployed(clusters)

    def best(self) -> Deployed:
        """See `ClusterModels.best`."""
        return self.cohort.best_of()


class SharedBackbone(ClusterModels):
    """One backbone of the server architecture and a small multi-layer head for each cluster.

    Args:
        joint: whether every step sums the losses of all heads; else the clusters take turns, `sweeps` times a
            round, and later ones overwrite the backbone of earlier ones, as in the authors' code.
    """

    def __init__(self, federation: Federation, count: int, *, joint: bool, sweeps: int) -> None:
        from .heads import with_heads  # defines networks, so it imports torch

        self.federation = federation
        self.count = count
        self.joint = joint
        self.sweeps = sweeps
        self._wrap = lambda net, key: with_heads(net, count, federation.classes, HEAD_WIDTHS, key)
        self.cohort = federation.server_models(1, wrap=self._wrap)

    def train(self, inputs: Tensor, targets: Tensor, active: Sequence[int], phase: ServerPhase, rnd: Round) -> None:
        """See `ClusterModels.train`."""
        cohort = self.cohort.at(rnd.index)
        turns = {"server": tuple(active)}
        if not self.joint:
            turns = {f"server {sweep} {cluster}": (cluster,) for sweep in range(self.sweeps) for cluster in active}
        for stream, heads in turns.items():
            cohort.fit(
                replace(phase.objective, active=heads),
                on=Teaching(inputs, targets.transpose(0, 1)[None]),
                epochs=phase.epochs,
                lr=phase.lr,
                clip=phase.clip,
                fresh=phase.fresh,
                noise=phase.objective.weight > 0,
                stream=stream,
                name=stream,
            )
        cohort.check_finite()

    def predict(self, inputs: Tensor) -> Tensor:
        """See `ClusterModels.predict`."""
        return self.cohort.predict(inputs)[0].transpose(0, 1)

    def regrouped(self, matching: Matching) -> SharedBackbone:
        """See `ClusterModels.regrouped`; the backbone goes on, heads are copied, moments start afresh."""
        sources = matching.sources.tolist()
        models = SharedBackbone(self.federation, len(sources), joint=self.joint, sweeps=self.sweeps)
        present = self.cohort.weights
        tree: Tree = {name: tensor for name, tensor in present.items() if not name.startswith("heads.")}
        for cluster, source in enumerate(sources):
            old, new = f"heads.{source}.", f"heads.{cluster}."
            tree |= {new + name.removeprefix(old): value for name, value in present.items() if name.startswith(old)}
        models.cohort.load(tree)
        return models

    def restart(self) -> None:
        """See `ClusterModels.restart`."""
        self.cohort = self.federation.server_models(1, wrap=self._wrap)

    def renew(self, clusters: Sequence[int], attempt: int) -> None:
        """See `ClusterModels.renew`; the backbone, which others need, goes on, and heads start again."""
        fresh = self.federation.server_models(attempt + 1, wrap=self._wrap).weights
        heads = tuple(f"heads.{cluster}." for cluster in clusters)
        self.cohort.load({name: tensor[attempt:] for name, tensor in fresh.items() if name.startswith(heads)})

    def serving(self, clusters: np.ndarray) -> Deployed:
        """See `ClusterModels.serving`."""
        return replace(self.best(), index=tuple(int(cluster) for cluster in clusters))

    def best(self) -> Deployed:
        """See `ClusterModels.best`: K networks that share the backbone's numbers."""
        from ..federation.deployed import Deployed
        from .heads import ManyHeads

        present, weights = self.cohort.weights, {}
        for name, tensor in present.items():
            if not name.startswith("heads."):
                weights[name] = tensor.expand(self.count, *tensor.shape[1:])
            elif name.startswith("heads.0."):
                layer = name.removeprefix("heads.0.")
                weights[f"head.{layer}"] = torch.cat([present[f"heads.{k}.{layer}"] for k in range(self.count)])
        template = self.cohort.module()
        assert isinstance(template, ManyHeads)
        return Deployed(template.one_headed(), weights, None)
