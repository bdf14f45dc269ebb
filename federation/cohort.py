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
from torch import nn

from fl_bench.errors import Diverged

from .batches import PRIVATE, PrivateData, Teaching
from .engine import Phase, engine
from .evaluation import Deployed
from .optimizers import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from .batches import Batch
    from .data import FederatedData
    from .payloads import Tree
    from .settings import Training

    Objective = Callable[[nn.Module, Batch], Tensor]


class Models:
    """Stacked models of one architecture: parameters, buffers, optimizer moments and what methods keep with them."""

    def __init__(self, name: str, modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype) -> None:
        self.name = name
        self.template = modules[0].to(device=device, dtype=dtype)
        trees = [(dict(module.named_parameters()), dict(module.named_buffers())) for module in modules]
        self.parameters: Tree = {
            key: torch.stack([tree[key].detach().to(device, dtype) for tree, _ in trees]) for key in trees[0][0]
        }
        self.buffers: Tree = {
            key: torch.stack(
                [tree[key].to(device, dtype if tree[key].is_floating_point() else None) for _, tree in trees]
            )
            for key in trees[0][1]
        }
        self.moments: dict[str, Tree] = {}
        """Optimizer state of `persist` phases: phase name to `<slot>:<parameter>` and `steps` trees."""
        self.kept: dict[str, Tree] = {}
        """What methods keep per model, by name (control variates, personal copies, ...)."""

    def __len__(self) -> int:
        return next(iter(self.parameters.values())).shape[0]

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
    """Steps of each member."""
    loss: Tensor
    """Mean objective over each member's steps, shape (members,); 0 for a member without steps."""


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
    in that order.
    """

    def __init__(
        self,
        models: Models,
        ids: Sequence[int],
        *,
        rows: Sequence[int],
        data: FederatedData,
        training: Training,
        seed: int,
        work: WorkLog,
        private_rows: Sequence[Tensor] = (),
        label_counts: Tensor | None = None,
        side: Literal["client", "server"] = "client",
    ) -> None:
        self.models = models
        self.ids = tuple(ids)
        self.rows = tuple(rows)
        self.data = data
        self.training = training
        self.seed = seed
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
            seed=self.seed,
            work=self.work,
            private_rows=[self.private_rows[position] for position in positions] if self.private_rows else (),
            label_counts=None if self._label_counts is None else self._label_counts[list(positions)],
            side=self.side,
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
        objective: Objective,
        *,
        on: PrivateData | Teaching = PRIVATE,
        epochs: int | None = None,
        lr: float | None = None,
        clip: float | None = None,
        optimizer: Optimizer | None = None,
        trainable: Callable[[str], bool] | None = None,
        per_client: Mapping[str, Tensor | Tree] | None = None,
        noise: bool = False,
        stream: str | None = None,
    ) -> FitLog:
        """Train every member for `epochs` passes.

        Args:
            objective: loss of one member on one batch, a scalar tensor, in plain PyTorch.
            on: `PRIVATE`, or public samples with what each member was told about them (`Teaching`).
            epochs: passes over the set; the run's local epochs by default. A member takes
                ceil(epochs * samples / batch_size) steps.
            lr: learning rate; the run's by default.
            clip: largest 2-norm of a member's gradient; the run's on private data by default, none on public.
            optimizer: the whole update rule, instead of the run's with `lr`.
            trainable: which parameters to train, by name ("head.weight"); all by default. The others stay
                untouched: no gradient, no momentum, no weight decay.
            per_client: tensors or trees with one row per member; the objective finds its row in `batch.extra`.
            noise: whether the objective needs `batch.noise`.
            stream: name of the random stream of batch orders; phases with one name, client and round draw the
                same batches. Default: `local` or `public`.

        Returns:
            Steps and mean loss of each member.

        """
        defaults = self.training
        if optimizer is None:
            optimizer = Optimizer(
                defaults.optimizer, defaults.lr if lr is None else lr, defaults.momentum, defaults.weight_decay
            )
        private = isinstance(on, PrivateData)
        phase = Phase(
            objective=objective,
            teaching=None if isinstance(on, PrivateData) else on,
            epochs=defaults.local_epochs if epochs is None else epochs,
            clip=defaults.clip if private and clip is None else clip,
            optimizer=optimizer,
            trainable=[key for key in self.models.parameters if trainable is None or trainable(key)],
            per_client=dict(per_client or {}),
            noise=noise,
            stream=stream or on.stream,
            persist=defaults.optimizer_state == "persist",
        )
        steps, loss = engine(defaults.engine, self._device).fit(self, phase)
        kind = "server" if self.side == "server" else on.work
        self.work.steps[kind] += sum(steps)
        self.work.losses[kind].append(loss)
        return FitLog(steps, loss)

    def predict(
        self,
        inputs: Tensor,
        *,
        as_: Literal["probabilities", "logits"] = "probabilities",
        chunk: int = 1024,
    ) -> Tensor:
        """Every member's output on shared inputs, evaluation mode, temperature 1.

        Args:
            inputs: network inputs, shape (samples, *shape).
            as_: what to return.
            chunk: samples per forward pass.

        Returns:
            Shape (members, samples, classes), without graph.
        """
        logits = engine(self.training.engine, self._device).predict(self, inputs, chunk)
        return logits if as_ == "logits" else logits.softmax(dim=-1)

    def deployed(self, index: Sequence[int] | np.ndarray | None = None) -> Deployed:
        """For evaluation: each member's own model; or, with `index`, the member that serves each client."""
        serving = range(len(self)) if index is None else index
        return Deployed(self.models.template, self.weights, tuple(int(member) for member in serving))

    def with_weights(self, tree: Tree) -> Deployed:
        """For evaluation: this architecture with other weights, name to (members, ...), or (1, ...) for all."""
        models = len(next(iter(tree.values())))
        return Deployed(self.models.template, tree, tuple(range(models) if models > 1 else [0] * len(self)))

    def best_of(self) -> Deployed:
        """For `*_oracle` views only: whichever member is best on a client's *test* data serves it."""
        return Deployed(self.models.template, self.weights, None)

    def check_finite(self) -> None:
        """Raise `Diverged` when a weight of a member is not finite (the only look at the device)."""
        healthy = torch.stack([tensor.isfinite().all() for tensor in self.parameters.values()]).all()
        if not bool(healthy):
            raise Diverged(f"a weight of {self.side} models {self.architecture} is not finite")

    @property
    def _device(self) -> torch.device:
        return self.data.inputs.device

    @property
    def _index(self) -> Tensor:
        return torch.tensor(self.rows, device=self._device)

    def _select(self, tree: Tree) -> Tree:
        return tree if self._whole else {name: tensor[self._index] for name, tensor in tree.items()}
