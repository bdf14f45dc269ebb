"""Cohorts: models of one architecture, stacked, and the clients (or server clusters) that own them.

Storage is always stacked: one tensor per parameter with a leading axis over models. A method reads and writes
whole trees, and trains with `fit`; the engine decides whether models are trained one after the other or together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F

from fl_bench.errors import Diverged

from .batches import PRIVATE, Teaching, steps_of
from .data import gathered
from .engine import CHUNK, bind, engine
from .evaluation import Deployed
from .models.dropout import with_counted_dropout
from .optimizers import Optimizer
from .payloads import Prototypes
from .phase import Objective, Phase, ResolvedStep, Step
from .trees import subtree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from .batches import Source
    from .data import FederatedData
    from .payloads import Tree
    from .settings import Execution, Training


class Models:
    """Stacked models of one architecture: parameters, buffers, optimizer moments and what methods keep with them."""

    def __init__(self, name: str, template: nn.Module, parameters: Tree, buffers: Tree) -> None:
        self.name = name
        self.template = template
        self.parameters = parameters
        self.buffers = buffers
        self.moments: dict[str, Tree] = {}
        """Optimizer state of `persist` phases: phase name to `<slot>:<parameter>` and `steps` trees."""
        self.kept: dict[str, Tree] = {}
        """What methods keep per model, by name (control variates, personal copies, ...)."""

    @classmethod
    def stacked(cls, name: str, modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype) -> Models:
        """The models of `modules`, on a device, floats in one format."""
        trees = [(dict(module.named_parameters()), dict(module.named_buffers())) for module in modules]
        parameters = {
            key: torch.stack([tree[key].detach().to(device, dtype) for tree, _ in trees]) for key in trees[0][0]
        }
        buffers = {
            key: torch.stack(
                [tree[key].to(device, dtype if tree[key].is_floating_point() else None) for _, tree in trees]
            )
            for key in trees[0][1]
        }
        template = with_counted_dropout(modules[0].to(device=device, dtype=dtype))
        return cls(name, template, parameters, buffers)

    def holding(self, tree: Tree) -> Models:
        """Models of the same architecture with the weights of `tree`, name to (models, ...), which they take over."""
        return Models(
            self.name,
            self.template,
            {key: tree[key] for key in self.parameters},
            {key: tree[key] for key in self.buffers},
        )

    def __len__(self) -> int:
        return next(iter(self.parameters.values())).shape[0]

    def first(self) -> Tree:
        """A copy of the first model's weights, name to (1, ...)."""
        return {name: tensor[:1].clone() for name, tensor in {**self.parameters, **self.buffers}.items()}

    def take_over(self, other: Models, sources: Tensor, continued: Tensor) -> None:
        """Become copies of models of `other`, which has the same architecture.

        Args:
            other: where weights come from.
            sources: the model of `other` that each model copies, shape (models,).
            continued: whether it goes on with that model's optimizer moments or with fresh ones, shape (models,), bool.
        """
        for name in ("parameters", "buffers"):
            for key, tensor in getattr(self, name).items():
                tensor.copy_(getattr(other, name)[key][sources])
        self.moments = {
            phase: {
                key: tensor[sources] * continued.view(-1, *[1] * (tensor.dim() - 1)) for key, tensor in tree.items()
            }
            for phase, tree in other.moments.items()
        }

    def kept_moments(self, name: str, trainable: Sequence[str], slots: Sequence[str]) -> Tree:
        """What `persist` phases left in optimizers under a name, one row per model; zeros at first.

        Args:
            name: of the phase, and of its step where there are several.
            trainable: names of the parameters.
            slots: names of the optimizer's moments.

        Returns:
            The storage itself, with `<slot>:<parameter>` for every moment and `steps:<parameter>` for every counter
            (and those of other parameters that phases of this name trained).
        """
        kept = self.moments.setdefault(name, {})
        for key in trainable:
            parameter = self.parameters[key]
            for slot in slots:
                if f"{slot}:{key}" not in kept:
                    kept[f"{slot}:{key}"] = torch.zeros_like(parameter)
            if f"steps:{key}" not in kept:
                kept[f"steps:{key}"] = torch.zeros(len(self), dtype=torch.float32, device=parameter.device)
        return kept

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors in plain dictionaries."""
        return {name: getattr(self, name) for name in ("parameters", "buffers", "moments", "kept")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for tree in ("parameters", "buffers"):
            for key, tensor in getattr(self, tree).items():
                tensor.copy_(state[tree][key])
        self.moments, self.kept = dict(state["moments"]), dict(state["kept"])


@dataclass(frozen=True)
class FitLog:
    """What one training phase did."""

    steps: tuple[int, ...]
    """Gradient evaluations of each member."""
    loss: Tensor
    """Mean objective of the first step over each member's batches, shape (members,); 0 for a member without batches."""


@dataclass
class WorkLog:
    """What training did in a round, over all cohorts; read once, at the round's end."""

    steps: Counter[str] = field(default_factory=Counter)
    """Steps by kind: `local`, `distill`, `server`."""
    losses: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """Mean objective of each member of each phase, by the same kinds."""

    def clear(self) -> None:
        """Forget, for a new round."""
        self.steps.clear()
        self.losses.clear()

    def mean_loss(self, kind: str) -> float | None:
        """Mean over members and phases; None where there was no such phase."""
        return float(torch.cat(self.losses[kind]).mean()) if self.losses[kind] else None


class Cohort:
    """The members of one architecture that act together: participating clients, or the server's cluster models.

    `ids` are client ids in ascending order (for server cohorts: cluster ids). All trees have one row per member,
    in that order. `keys` name the members' random streams; they are the ids unless a run renumbers its clients.
    """

    def __init__(
        self,
        models: Models,
        ids: Sequence[int],
        *,
        rows: Sequence[int],
        data: FederatedData,
        training: Training,
        execution: Execution,
        seed: int,
        work: WorkLog,
        private_rows: Sequence[Tensor] = (),
        label_counts: Tensor | None = None,
        side: Literal["client", "server"] = "client",
        keys: Sequence[int] | None = None,
    ) -> None:
        self.models = models
        self.ids = tuple(ids)
        self.keys = self.ids if keys is None else tuple(keys)
        self.rows = tuple(rows)
        self.data = data
        self.training = training
        self.execution = execution
        self.seed = seed
        """Of what training steps draw (`Seeds.batches`)."""
        self.round_index = 0
        self.work = work
        self.private_rows = tuple(private_rows)
        self.side = side
        self._label_counts = label_counts
        self._whole = self.rows == tuple(range(len(models)))

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, round_index: int) -> Cohort:
        """The same members in another round, which moves their batch orders on."""
        moved = copy(self)
        moved.round_index = round_index
        return moved

    def only(self, positions: Sequence[int]) -> Cohort:
        """The members at `positions` of this cohort, with the same storage."""
        return Cohort(
            self.models,
            [self.ids[position] for position in positions],
            rows=[self.rows[position] for position in positions],
            data=self.data,
            training=self.training,
            execution=self.execution,
            seed=self.seed,
            work=self.work,
            private_rows=[self.private_rows[position] for position in positions] if self.private_rows else (),
            label_counts=None if self._label_counts is None else self._label_counts[list(positions)],
            side=self.side,
            keys=[self.keys[position] for position in positions],
        ).at(self.round_index)

    def copy(self) -> Cohort:
        """The same members with weights of their own, to train on the side: no trace in the run's step counts."""
        models = self.models.holding({key: tensor.clone() for key, tensor in self.weights.items()})
        return Cohort(
            models,
            self.ids,
            rows=range(len(self)),
            data=self.data,
            training=self.training,
            execution=self.execution,
            seed=self.seed,
            work=WorkLog(),
            private_rows=self.private_rows,
            label_counts=self._label_counts,
            side=self.side,
            keys=self.keys,
        ).at(self.round_index)

    @property
    def architecture(self) -> str:
        """Name of the members' architecture."""
        return self.models.name

    @property
    def sizes(self) -> Tensor:
        """Number of private training samples of each member, shape (members,), float."""
        return torch.tensor([rows.numel() for rows in self.private_rows], dtype=self.data.dtype, device=self._device)

    @property
    def label_counts(self) -> Tensor:
        """Private samples of each member and class, shape (members, classes)."""
        if self._label_counts is None:
            raise TypeError("server models hold no private data")
        return self._label_counts

    @property
    def parameters(self) -> Tree:
        """Trainable tensors, name to (members, ...). To read; write with `load`."""
        return self._select(self.models.parameters)

    @property
    def weights(self) -> Tree:
        """Parameters and buffers (BatchNorm statistics), what parameter-averaging methods send."""
        return self._select({**self.models.parameters, **self.models.buffers})

    def snapshot(self) -> Tree:
        """A copy of `weights` that later training does not change."""
        return {name: tensor.clone() for name, tensor in self.weights.items()}

    def load(self, tree: Tree) -> None:
        """Overwrite the named tensors of every member; each tensor is (members, ...) or broadcasts to it."""
        for name, value in tree.items():
            storage = self.models.parameters.get(name)
            storage = self.models.buffers[name] if storage is None else storage
            if self._whole:
                storage.copy_(value)
            else:
                storage[self._index] = value.expand(len(self), *storage.shape[1:]).to(storage.dtype)

    def keep(self, name: str, tree: Tree) -> None:
        """Keep a tree with the members between rounds, under a name of the method's own; saved with the run."""
        kept = self.models.kept.setdefault(name, {})
        for key, value in tree.items():
            if key not in kept:
                kept[key] = value.new_zeros((len(self.models), *value.shape[1:]))
            kept[key][self._index] = value.detach()

    def kept(self, name: str) -> Tree | None:
        """What `keep` last stored for these members (zeros for a member never stored); None before any store."""
        return self._select(self.models.kept[name]) if name in self.models.kept else None

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
        taken, loss = engine(defaults.engine, self).fit(self, phase)
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
        logits = engine(self.training.engine, self).predict(self, inputs)
        return logits if as_ == "logits" else logits.softmax(dim=-1)

    def prototypes(self) -> Prototypes:
        """Mean features of each member's private samples by class: the body's output, in evaluation mode.

        Returns:
            values, shape (members, classes, features), zero where a member has no sample of a class, and which
            classes each member has.
        """
        module = self.models.template.eval()
        present = self.label_counts > 0
        rows = []
        with torch.inference_mode():
            for member, (inputs, labels) in enumerate(self._private()):
                bind(module, self.models.parameters, self.models.buffers, self.rows[member])
                body = module.get_submodule("body")
                features = torch.cat([body(piece) for piece in torch.split(inputs, CHUNK)])
                sums = features.new_zeros(present.shape[1], features.shape[1]).index_add_(0, labels, features)
                rows.append(sums / self.label_counts[member].clamp_min(1).to(sums)[:, None])
        return Prototypes(torch.stack(rows), present)

    def private_loss(self, tree: Tree) -> Tensor:
        """Mean cross-entropy of given models on each member's private training data, in evaluation mode.

        Args:
            tree: weights of this architecture, name to (models, ...).

        Returns:
            Shape (members, models).
        """
        module, models = self.models.template.eval(), self.models.holding(tree)
        losses = []
        with torch.inference_mode():
            for inputs, labels in self._private():
                for row in range(len(models)):
                    bind(module, models.parameters, models.buffers, row)
                    logits = torch.cat([module(piece) for piece in torch.split(inputs, CHUNK)])
                    losses.append(F.cross_entropy(logits, labels))
        return torch.stack(losses).view(len(self), len(models))

    def validation_accuracy(self) -> Tensor:
        """Share of each client's validation samples that its model classifies rightly, in evaluation mode.

        Returns:
            Shape (members,), in [0, 1]; not a number for a client without validation samples.
        """
        if self.side == "server":
            raise TypeError("server models hold no private data")
        module, held_out = self.models.template.eval(), self.data.validation.split()
        shares = torch.full((len(self),), torch.nan, dtype=self.data.dtype, device=self._device)
        with torch.inference_mode():
            for member, client in enumerate(self.ids):
                if not held_out[client].numel():
                    continue
                bind(module, self.models.parameters, self.models.buffers, self.rows[member])
                pieces = torch.split(held_out[client], CHUNK)
                found = torch.cat([module(self.data.inputs_of(piece)).argmax(dim=1) for piece in pieces])
                shares[member] = (found == gathered(self.data.labels, held_out[client])).to(shares).mean()
        return shares

    def private_gradient(self) -> Tree:
        """Gradient of the mean cross-entropy on all of each member's private training data, in evaluation mode.

        It is taken at the member's own weights, of samples as stored, and counts as one local pass in the run's steps.

        Returns:
            Name to (members, ...), for every parameter; zero where the output does not depend on it.
        """
        module, gradients = self.models.template.eval(), []
        for member, (inputs, labels) in enumerate(self._private()):
            bind(module, self.models.parameters, self.models.buffers, self.rows[member])
            own = {name: parameter.requires_grad_() for name, parameter in module.named_parameters()}
            sums = {name: torch.zeros_like(parameter) for name, parameter in own.items()}
            for piece, truth in zip(torch.split(inputs, CHUNK), torch.split(labels, CHUNK), strict=True):
                loss = F.cross_entropy(module(piece), truth, reduction="sum")
                found = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
                for name, gradient in zip(own, found, strict=True):
                    sums[name] += gradient
            gradients.append({name: total / len(labels) for name, total in sums.items()})
            self.work.steps["local"] += steps_of(1, len(labels), self.training.batch_size)
        return {name: torch.stack([tree[name] for tree in gradients]) for name in self.models.parameters}

    def deployed(self, index: Sequence[int] | np.ndarray | None = None, *, part: str = "") -> Deployed:
        """For evaluation: each member's own model; or, with `index`, the member that serves each client.

        Args:
            index: the member that serves each client.
            part: name of a submodule that is deployed instead of the whole ("personal").
        """
        serving = range(len(self)) if index is None else index
        return Deployed(
            self.models.template.get_submodule(part),
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
        return Deployed(self.models.template.get_submodule(part), tree, tuple(serving))

    def best_of(self) -> Deployed:
        """For `*_oracle` views only: whichever member is best on a client's *test* data serves it."""
        return Deployed(self.models.template, self.weights, None)

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
            [key for key in self.models.parameters if chosen is None or chosen(key)],
            step.optimizer or optimizer,
            step.repeat,
            step.within,
        )

    def _private(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Network inputs and labels of each member's private training samples, as stored: not augmented."""
        for rows in self.private_rows:
            yield self.data.inputs_of(rows), gathered(self.data.labels, rows)

    @property
    def _device(self) -> torch.device:
        return self.data.device

    @property
    def _index(self) -> Tensor:
        return torch.tensor(self.rows, device=self._device)

    def _select(self, tree: Tree) -> Tree:
        return tree if self._whole else {name: tensor[self._index] for name, tensor in tree.items()}
