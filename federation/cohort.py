"""Cohorts: models of one architecture, stacked, and the clients (or server clusters) that own them.

Storage is always stacked: one tensor per parameter with a leading axis over models. A method reads and writes
whole trees, and trains with `fit`; the engine decides whether models are trained one after the other or together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from fl_bench.errors import Diverged

from . import private
from .batches import PRIVATE, Teaching, steps_of
from .deployed import Deployed
from .engine import engine
from .optimizers import Optimizer
from .payloads import Prototypes
from .phase import Objective, Phase, ResolvedStep, Step
from .trees import subtree
from .work import WorkLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from .batches import Source
    from .members import Members
    from .payloads import Tree
    from .settings import Training
    from .storage import Models


@dataclass(frozen=True)
class FitLog:
    """What one training phase did."""

    steps: tuple[int, ...]
    """Gradient evaluations of each member."""
    loss: Tensor
    """Mean objective of the first step over each member's batches, shape (members,); 0 for a member without batches."""


class Cohort:
    """The members of one architecture that act together: participating clients, or the server's cluster models.

    `ids` are client ids in ascending order (for server cohorts: cluster ids). All trees have one row per member,
    in that order. `keys` name the members' random streams; they are the ids unless a run renumbers its clients.
    """

    def __init__(self, members: Members, work: WorkLog, label_counts: Tensor | None = None) -> None:
        self.members = members
        """What engines read; a method asks the cohort instead."""
        self.work = work
        self._label_counts = label_counts

    def __len__(self) -> int:
        return len(self.members)

    def at(self, round_index: int) -> Cohort:
        """The same members in another round, which moves their batch orders on."""
        return Cohort(self.members.at(round_index), self.work, self._label_counts)

    def only(self, positions: Sequence[int]) -> Cohort:
        """The members at `positions` of this cohort, with the same storage."""
        counts = None if self._label_counts is None else self._label_counts[list(positions)]
        return Cohort(self.members.only(positions), self.work, counts)

    def copy(self) -> Cohort:
        """The same members with weights of their own, to train on the side: no trace in the run's step counts."""
        return Cohort(self.members.owning(self.snapshot()), WorkLog(), self._label_counts)

    @property
    def ids(self) -> tuple[int, ...]:
        """Client ids in ascending order; of server models, their numbers."""
        return self.members.ids

    @property
    def keys(self) -> tuple[int, ...]:
        """What names each member's random streams: its id, unless a run renumbers its clients."""
        return self.members.keys

    @property
    def training(self) -> Training:
        """Rounds and local training of the run."""
        return self.members.training

    @property
    def seed(self) -> int:
        """Of what training steps draw (`Seeds.batches`)."""
        return self.members.seed

    @property
    def round_index(self) -> int:
        """The round that the cohort is in, from 0."""
        return self.members.round_index

    @property
    def side(self) -> Literal["client", "server"]:
        """Whose models these are."""
        return self.members.side

    @property
    def architecture(self) -> str:
        """Name of the members' architecture."""
        return self._models.name

    @property
    def sizes(self) -> Tensor:
        """Number of private training samples of each member, shape (members,), float."""
        data, rows = self.members.data, self.members.private_rows
        return torch.tensor([own.numel() for own in rows], dtype=data.dtype, device=data.device)

    @property
    def label_counts(self) -> Tensor:
        """Private samples of each member and class, shape (members, classes)."""
        if self._label_counts is None:
            raise TypeError("server models hold no private data")
        return self._label_counts

    @property
    def parameters(self) -> Tree:
        """Trainable tensors, name to (members, ...). To read; write with `load`."""
        return self.members.selected(self._models.parameters)

    @property
    def weights(self) -> Tree:
        """Parameters and buffers (BatchNorm statistics), what parameter-averaging methods send."""
        return self.members.weights

    def snapshot(self) -> Tree:
        """A copy of `weights` that later training does not change."""
        return {name: tensor.clone() for name, tensor in self.weights.items()}

    def load(self, tree: Tree) -> None:
        """Overwrite the named tensors of every member; each tensor is (members, ...) or broadcasts to it."""
        for name, value in tree.items():
            storage = self._models.parameters.get(name)
            storage = self._models.buffers[name] if storage is None else storage
            if self.members.whole:
                storage.copy_(value)
            else:
                storage[self.members.index] = value.expand(len(self), *storage.shape[1:]).to(storage.dtype)

    def keep(self, name: str, tree: Tree) -> None:
        """Keep a tree with the members between rounds, under a name of the method's own; saved with the run."""
        kept = self._models.kept.setdefault(name, {})
        for key, value in tree.items():
            if key not in kept:
                kept[key] = value.new_zeros((len(self._models), *value.shape[1:]))
            kept[key][self.members.index] = value.detach()

    def kept(self, name: str) -> Tree | None:
        """What `keep` last stored for these members (zeros for a member never stored); None before any store."""
        return self.members.selected(self._models.kept[name]) if name in self._models.kept else None

    def take_over(self, other: Cohort, sources: Tensor, continued: Tensor) -> None:
        """Become copies of models of `other`, server models of the same architecture.

        Args:
            other: where weights come from.
            sources: the model of `other` that each member copies, shape (members,).
            continued: whether the member goes on with that model's optimizer moments, bool, shape (members,).
        """
        self._models.take_over(other._models, sources, continued)

    def state_dict(self) -> dict[str, Any]:
        """All that changes of server models, for the method's own `state_dict`; those of clients a run saves itself."""
        return self._models.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._models.load_state_dict(state)

    def module(self, part: str = "") -> nn.Module:
        """A network of the architecture, or its submodule `part`; the weights in it do not matter."""
        return self._models.template.get_submodule(part)

    def fit(
        self,
        objective: Objective | Sequence[Step],
        *,
        on: Source = PRIVATE,
        epochs: int | None = None,
        batches: int | None = None,
        lr: float | None = None,
        clip: float | None = None,
        optimizer: Optimizer | None = None,
        trainable: Callable[[str], bool] | None = None,
        per_client: Mapping[str, Tensor | Tree] | None = None,
        entries: Tree | None = None,
        noise: bool = False,
        stream: str | None = None,
    ) -> FitLog:
        """Train every member for `epochs` passes.

        Args:
            objective: loss of one member on one batch, a scalar tensor, in plain PyTorch; or several `Step`s that
                are taken in order on every batch.
            on: `PRIVATE`; public samples with what each member was told about them (`Teaching`); private batches
                `Beside` public ones; or both sets `Together`.
            epochs: passes over the set; the run's local epochs by default. A member takes
                ceil(epochs * samples / batch_size) batches.
            batches: so many batches for every member that has samples, instead of epochs.
            lr: learning rate; the run's by default.
            clip: largest 2-norm of a member's gradient; the run's where private data are seen by default, none on
                public data alone.
            optimizer: the whole update rule, instead of the run's with `lr`.
            trainable: which parameters to train, by name ("head.weight"); all by default. The others stay
                untouched: no gradient, no momentum, no weight decay.
            per_client: tensors or trees with one row per member; the objective finds its row in `batch.extra`.
            entries: which entries of the trained parameters may change, name to bool (members, ...); all by
                default. It masks the update, momentum and weight decay included.
            noise: whether the objective needs `batch.noise`.
            stream: name of the random stream of batch orders; phases with one name, client and round draw the
                same batches. Default: `local`, `public` or `together`, by what it trains on.

        Returns:
            Steps and mean loss of each member.

        """
        defaults = self.training
        if optimizer is None:
            optimizer = Optimizer(
                defaults.optimizer, defaults.lr if lr is None else lr, defaults.momentum, defaults.weight_decay
            )
        steps = [Step(objective)] if callable(objective) else objective
        phase = Phase(
            steps=tuple(self._resolved(step, optimizer, trainable) for step in steps),
            on=on,
            epochs=defaults.local_epochs if epochs is None else epochs,
            batches=batches,
            clip=defaults.clip if clip is None and not isinstance(on, Teaching) else clip,
            per_client=dict(per_client or {}),
            entries=entries,
            noise=noise,
            stream=stream or on.stream,
            persist=defaults.optimizer_state == "persist",
        )
        taken, loss = engine(defaults.engine, self.members).fit(self.members, phase)
        kind = "server" if self.side == "server" else on.work
        self.work.steps[kind] += sum(taken)
        self.work.losses[kind].append(loss)
        return FitLog(taken, loss)

    def predict(
        self,
        inputs: Tensor,
        *,
        as_: Literal["probabilities", "logits"] = "probabilities",
    ) -> Tensor:
        """Every member's output on shared inputs, evaluation mode, temperature 1; chunk by chunk.

        Args:
            inputs: network inputs, shape (samples, *shape).
            as_: what to return.

        Returns:
            Shape (members, samples, classes), without graph.
        """
        logits = engine(self.training.engine, self.members).predict(self.members, inputs)
        return logits if as_ == "logits" else logits.softmax(dim=-1)

    def prototypes(self) -> Prototypes:
        """Mean features of each member's private samples by class: the body's output, in evaluation mode.

        Returns:
            values, shape (members, classes, features), zero where a member has no sample of a class, and which
            classes each member has.
        """
        return Prototypes(private.class_means(self.members, self.label_counts), self.label_counts > 0)

    def private_loss(self, tree: Tree) -> Tensor:
        """Mean cross-entropy of given models on each member's private training data, in evaluation mode.

        Args:
            tree: weights of this architecture, name to (models, ...).

        Returns:
            Shape (members, models).
        """
        return private.losses(self.members, tree)

    def validation_accuracy(self) -> Tensor:
        """Share of each client's validation samples that its model classifies rightly, in evaluation mode.

        Returns:
            Shape (members,), in [0, 1]; not a number for a client without validation samples.
        """
        if self.side == "server":
            raise TypeError("server models hold no private data")
        return private.validation_accuracy(self.members)

    def private_gradient(self) -> Tree:
        """Gradient of the mean cross-entropy on all of each member's private training data, in evaluation mode.

        It is taken at the member's own weights, of samples as stored, and counts as one local pass in the run's steps.

        Returns:
            Name to (members, ...), for every parameter; zero where the output does not depend on it.
        """
        size = self.training.batch_size
        self.work.steps["local"] += sum(steps_of(1, rows.numel(), size) for rows in self.members.private_rows)
        return private.gradients(self.members)

    def deployed(self, index: Sequence[int] | np.ndarray | None = None, *, part: str = "") -> Deployed:
        """For evaluation: each member's own model; or, with `index`, the member that serves each client.

        Args:
            index: the member that serves each client.
            part: name of a submodule that is deployed instead of the whole ("personal").
        """
        serving = range(len(self)) if index is None else index
        return Deployed(
            self.module(part),
            subtree(self.weights, part),
            tuple(int(member) for member in serving),
        )

    def with_weights(self, tree: Tree, *, part: str = "") -> Deployed:
        """For evaluation: this architecture (or its submodule `part`) with other weights.

        Args:
            tree: name, inside `part`, to (members, ...), or (1, ...) for all.
            part: name of the submodule.
        """
        models = len(next(iter(tree.values())))
        serving = range(models) if models > 1 else [0] * len(self)
        return Deployed(self.module(part), tree, tuple(serving))

    def best_of(self) -> Deployed:
        """For `*_oracle` views only: whichever member is best on a client's *test* data serves it."""
        return Deployed(self.module(), self.weights, None)

    def check_finite(self) -> None:
        """Raise `Diverged` when a weight of a member is not finite (the only look at the device)."""
        # One pass without temporaries: an infinite weight is an extreme, and where one is nan so are both extremes.
        extremes = [end for tensor in self.parameters.values() if tensor.numel() for end in torch.aminmax(tensor)]
        if not bool(torch.stack(extremes).isfinite().all()):
            raise Diverged(f"a weight of {self.side} models {self.architecture} is not finite")

    def _resolved(self, step: Step, optimizer: Optimizer, trainable: Callable[[str], bool] | None) -> ResolvedStep:
        chosen = step.trainable or trainable
        return ResolvedStep(
            step.objective,
            [key for key in self._models.parameters if chosen is None or chosen(key)],
            step.optimizer or optimizer,
            step.repeat,
            step.within,
        )

    @property
    def _models(self) -> Models:
        return self.members.models
