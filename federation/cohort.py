"""Cohorts: models of one architecture, stacked, and the clients (or server clusters) that own them.

Storage is always stacked: one tensor per parameter with a leading axis over models. A method reads and writes
whole trees, and trains with `fit`; the engine decides whether models are trained one after the other or together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from fl_bench.errors import Diverged

from . import private
from .batches import PRIVATE, Teaching, steps_of
from .deployed import Deployed
from .engine import engine
from .feeding import batches_of
from .forward import stacked_outputs
from .payloads import Prototypes
from .phase import Objective, Phase, ResolvedStep, Step, phase_name
from .trees import subtree
from .work import WorkLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from .batches import Source
    from .members import Members
    from .optimizers import Optimizer
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
        """The members at `positions` of this cohort, with the same storage: what they learn, this one learns."""
        counts = None if self._label_counts is None else self._label_counts[list(positions)]
        return Cohort(self.members.only(positions), self.work, counts)

    def copy(self) -> Cohort:
        """The same members with weights of their own, to train on the side and be scored.

        Steps on them count as `steps_aside` in the record, and not as local ones.
        """
        return Cohort(self.members.owning(self.weights), WorkLog(original=self.work), self._label_counts)

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
        """Whose models these are; it decides whether steps count as local or as the server's."""
        return self.members.side

    @property
    def architecture(self) -> str:
        """Name of the members' architecture."""
        return self._models.name

    @property
    def sizes(self) -> Tensor:
        """Number of private training samples of each member, shape (members,), float. The server learns them from a
        message: `Parameters(clients.weights, sizes=clients.sizes)`, one number each."""
        data, rows = self.members.data, self.members.private_rows
        return torch.tensor([own.numel() for own in rows], dtype=data.dtype, device=data.device)

    @property
    def label_counts(self) -> Tensor:
        """Private samples of each member and class, shape (members, classes), integers."""
        if self._label_counts is None:
            raise TypeError("server models hold no private data")
        return self._label_counts

    @property
    def parameters(self) -> Tree:
        """A copy of the trainable tensors, name to (members, ...), as they are now; write with `load`. Each reading
        copies: read once, outside of loops."""
        return self.members.copied(self._models.parameters)

    @property
    def weights(self) -> Tree:
        """The same with buffers (BatchNorm statistics), maybe integers: what parameter-averaging methods send."""
        return self.members.copied({**self._models.parameters, **self._models.buffers})

    def load(self, tree: Tree) -> None:
        """Overwrite the named tensors of every member; each tensor is (members, ...) or (1, ...) for all.

        Tensors that are not named stay. Optimizer moments that persist stay, too.
        """
        for name, value in tree.items():
            storage = self._models.parameters.get(name)
            storage = self._models.buffers[name] if storage is None else storage
            if self.members.whole:
                storage.copy_(value)
            else:
                storage[self.members.index] = value.expand(len(self), *storage.shape[1:]).to(storage.dtype)

    def keep(self, name: str, tree: Tree) -> None:
        """Keep a tree, name to (members, ...), with the members between rounds, under a name of the method's own.

        It is the client's memory: nothing is sent, the run saves it, and clients outside this cohort keep theirs.
        """
        kept = self._models.kept.setdefault(name, {})
        for key, value in tree.items():
            if key not in kept:
                kept[key] = value.new_zeros((len(self._models), *value.shape[1:]))
            kept[key][self.members.index] = value.detach()

    def kept(self, name: str) -> Tree | None:
        """A copy of what `keep` last stored for these members (zeros for a member never stored); None before that."""
        return self.members.copied(self._models.kept[name]) if name in self._models.kept else None

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
        """Restore what `state_dict` returned, into models of the same number and architecture."""
        self._models.load_state_dict(state)

    def module(self, part: str = "") -> nn.Module:
        """A network of the architecture, or its submodule `part`, to look at: the weights in it do not matter."""
        return self._models.template.get_submodule(part)

    def fit(
        self,
        objective: Objective | Sequence[Step],
        *,
        on: Source = PRIVATE,
        epochs: int | None = None,
        batches: int | None = None,
        lr: float | None = None,
        clip: float | Literal["run"] | None = "run",
        optimizer: Optimizer | None = None,
        fresh: bool = False,
        trainable: Callable[[str], bool] | None = None,
        per_client: Mapping[str, Tensor | Tree] | None = None,
        entries: Tree | None = None,
        noise: bool | Sequence[int] = False,
        stream: str | None = None,
        name: str | None = None,
    ) -> FitLog:
        """Train every member for `epochs` passes.

        Args:
            objective: loss of one member on one batch, a scalar tensor, in plain PyTorch; or several `Step`s that
                are taken in order on every batch.
            on: `PRIVATE`; private batches in `Pairs`; public samples with what each member was told about them
                (`Teaching`); private batches `Beside` public ones; or both sets `Together`.
            epochs: passes over the set; the run's local epochs by default. A member takes
                ceil(epochs * samples / batch_size) batches.
            batches: so many batches for every member that has samples, instead of epochs.
            lr: learning rate; the run's by default.
            clip: largest 2-norm of a member's gradient, None for no limit; by default "run": the run's
                (`training.clip`) where private data are seen, none on public data alone.
            optimizer: the whole update rule, instead of the run's with `lr`.
            fresh: start with new moments and counters even where the run lets optimizers persist between rounds.
            trainable: which parameters to train, by name ("head.weight"); all by default. The others stay
                untouched: no gradient, no momentum, no weight decay.
            per_client: tensors or trees with one row per member; the objective finds its row in `batch.extra`.
            entries: which entries of the trained parameters may change, name to bool (members, ...); all by
                default. It masks the update, momentum and weight decay included.
            noise: whether the objective needs `batch.noise`; or its shape per sample, where that is not the input's.
            stream: name of the random stream of batch orders; phases with one name, client and round draw the
                same batches. Default: `local`, `public` or `together`, by what it trains on.
            name: of the phase; its optimizer state is kept under it where the run lets optimizers persist. Default:
                made of the stream, the objectives and the trained parameters, so that phases that differ in one of
                them keep state of their own.

        Returns:
            Steps and mean loss of each member.

        Raises:
            ValueError: a target or something in `per_client` does not have a row for each member, or the first step
                is taken on some batches only.
        """
        self._check_rows(on, per_client or {})
        defaults = self.training
        if optimizer is None:
            usual = defaults.local_optimizer
            optimizer = usual if lr is None else replace(usual, lr=lr)
        limit = (None if isinstance(on, Teaching) else defaults.clip) if clip == "run" else clip
        updates = [Step(objective)] if callable(objective) else objective
        if updates[0].batches is not None:
            raise ValueError(
                f"the first step of a phase has batches={updates[0].batches}, but the phase's loss is that step's; "
                "use fit(batches=...) for a phase of so many batches, or put another step first"
            )
        steps = tuple(self._resolved(step, optimizer, trainable, limit) for step in updates)
        stream = stream or on.stream
        phase = Phase(
            steps=steps,
            on=on,
            epochs=defaults.local_epochs if epochs is None else epochs,
            batches=batches,
            per_client=dict(per_client or {}),
            entries=entries,
            noise=noise if isinstance(noise, bool) else tuple(noise),
            stream=stream,
            name=name or phase_name(stream, steps, len(self._models.parameters)),
            persist=defaults.optimizer_state == "persist" and not fresh,
        )
        if self.side == "client" and self.work.deadline is not None:
            phase = replace(phase, most=self._allowed(phase))
        done = engine(defaults.engine, self.members).fit(self.members, phase)
        kind = "server" if self.side == "server" else on.work
        self.work.add(kind, done)
        if self.side == "client":
            self.work.measure(self.ids, done)
            self.work.spend(self.ids, done.steps)
        return FitLog(done.steps, done.loss)

    def predict(
        self,
        inputs: Tensor,
        *,
        as_: Literal["probabilities", "logits"] = "probabilities",
        graph: bool = False,
    ) -> Tensor:
        """Every member's output on shared inputs, evaluation mode, temperature 1; chunk by chunk.

        One forward pass, no step; what it costs on the wire is decided by the message that it is put into.

        Args:
            inputs: network inputs, shape (samples, *shape).
            as_: what to return.
            graph: keep the graph from the inputs to the outputs, so that inputs can be optimized (DENSE); the weights
                get no gradient, and all samples go through at once.

        Returns:
            Shape (members, samples, classes); without graph unless asked for.
        """
        if graph:
            logits = stacked_outputs(self.module().eval(), self.members.weights, inputs, shared=True)
        else:
            logits = engine(self.training.engine, self.members).predict(self.members, inputs)
        return logits if as_ == "logits" else logits.softmax(dim=-1)

    def predict_private(self, *, as_: Literal["probabilities", "logits"] = "probabilities") -> Tensor:
        """Every member's output on its own private samples as stored, in evaluation mode, temperature 1.

        Returns:
            Shape (members, most samples of a member, classes), zeros behind a member's last sample: the order in which
            `PrivateData(target=...)` takes what members are told about their samples.
        """
        logits = private.outputs(self.members)
        return pad_sequence(logits if as_ == "logits" else [own.softmax(dim=-1) for own in logits], batch_first=True)

    def prototypes(self) -> Prototypes:
        """Mean features of each member's private samples by class: the body's output, in evaluation mode.

        Returns:
            A payload: values, shape (members, classes, features), zero where a member has no sample of a class, and
            which classes each member has. One forward pass, no step.
        """
        return Prototypes(private.class_means(self.members, self.label_counts), self.label_counts > 0)

    def private_loss(self, tree: Tree) -> Tensor:
        """Mean cross-entropy of given models on each member's private training data, in evaluation mode.

        Args:
            tree: weights of this architecture, name to (models, ...).

        Returns:
            Shape (members, models). One forward pass per model, no step.
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

        It is taken at the member's own weights, of samples as stored, and counts as one local pass in the run's steps,
        ceil(samples / batch_size).

        Returns:
            Name to (members, ...), for every parameter; zero where the output does not depend on it.
        """
        steps = [steps_of(1, rows.numel(), self.training.batch_size) for rows in self.members.private_rows]
        self.work.count("local", sum(steps))
        self.work.spend(self.ids, steps)
        return private.gradients(self.members)

    def note(self, name: str, values: Tensor | Sequence[float], how: Literal["mean", "sum"] = "mean") -> None:
        """Note a number of each member for the record, where no message carries it: a mixing weight, inner steps.

        The column `name` of a round is the mean, or sum, over all clients that have one. Nothing is sent.
        """
        self.work.note(name, torch.as_tensor(values), how)

    def deployed(self, index: Sequence[int] | np.ndarray | None = None, *, part: str = "") -> Deployed:
        """For evaluation: each member's own model; or, with `index`, the member that serves each client.

        Nothing is copied, sent or trained.

        Args:
            index: of server models, the member that serves each of the clients that are scored, in their order.
            part: name of a submodule that is deployed instead of the whole ("personal").
        """
        serving = range(len(self)) if index is None else index
        return Deployed(
            self.module(part),
            subtree(self.members.weights, part),
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
        """For `*_oracle` views only: whichever member is best on a client's *test* data serves it; carries a badge."""
        return Deployed(self.module(), self.members.weights, None)

    def check_finite(self) -> None:
        """Raise `Diverged` when a weight of a member is not finite (the only look at the device)."""
        # One pass without temporaries: an infinite weight is an extreme, and where one is nan so are both extremes.
        weights = self.members.selected(self._models.parameters).values()
        extremes = [end for tensor in weights if tensor.numel() for end in torch.aminmax(tensor)]
        if not bool(torch.stack(extremes).isfinite().all()):
            raise Diverged(f"a weight of {self.side} models {self.architecture} is not finite")

    def _check_rows(self, on: Source, per_client: Mapping[str, Tensor | Tree]) -> None:
        """Raise where something has not a row for each member, for which engines have no words, or none at all."""
        members = len(self)
        told = on if isinstance(on, Teaching) else getattr(on, "public", None)
        if told is not None and tuple(told.target.shape[:2]) != (members, len(told.inputs)):
            raise ValueError(
                f"the target of public samples has shape {tuple(told.target.shape)}; {members} members and "
                f"{len(told.inputs)} samples need shape ({members}, {len(told.inputs)}, ...)"
            )
        rows = {name: tree.values() if isinstance(tree, dict) else [tree] for name, tree in per_client.items()}
        for name, tensors in rows.items():
            short = next((tensor for tensor in tensors if tensor.shape[:1] != (members,)), None)
            if short is not None:
                raise ValueError(
                    f"per_client[{name!r}] has a tensor of shape {tuple(short.shape)}, which needs a row for each of "
                    f"{members} members; `tensor.expand({members}, ...)` repeats one without a copy"
                )

    def _allowed(self, phase: Phase) -> tuple[int, ...]:
        """Batches of each member that the deadline leaves it."""
        whole = [batches_of(self.members, phase, member) for member in range(len(self))]
        return tuple(
            self.work.allow(client, [phase.updates(count) for count in range(batches + 1)])
            for client, batches in zip(self.ids, whole, strict=True)
        )

    def _resolved(
        self, step: Step, optimizer: Optimizer, trainable: Callable[[str], bool] | None, clip: float | None
    ) -> ResolvedStep:
        chosen = step.trainable or trainable
        return ResolvedStep(
            step.objective,
            [key for key in self._models.parameters if chosen is None or chosen(key)],
            step.optimizer or optimizer,
            clip if step.clip == "phase" else step.clip,
            step.repeat,
            step.within,
            step.batches,
        )

    @property
    def _models(self) -> Models:
        return self.members.models
